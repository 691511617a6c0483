"""What search_files finds, and that neither a pattern nor a tree can hold it up or lead it astray."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host_bridge.errors import CallCancelledError, CallError, CallTimeoutError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access, PathResource
from host_bridge.tools import search_files
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.search_files import SearchFiles

Caller = Callable[..., ToolOutput]
TOOL = SearchFiles()


@pytest.fixture
def workspace(session: Any) -> Path:
    workspace = Path(session.workspace)
    files = {
        "a.py": "import os\n\ndef find():\n    return os\n",
        "sub/b.py": "# find me\n",
        "sub/c.txt": "find\r\nFIND\r\n",
        ".hidden/d.py": "find\n",
        ".env": "find=1\n",
        "empty": "",
    }
    for path, text in files.items():
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_bytes(text.encode())
    return workspace


def found(output: ToolOutput) -> list[tuple[str, int, str]]:
    return [(match["path"], match["line"], match["text"]) for match in output.value["matches"]]


class TestContent:
    def test_matching_lines_come_with_their_place(self, call: Caller, workspace: Path) -> None:
        output = call(TOOL, pattern="find")
        assert found(output) == [
            ("a.py", 3, "def find():"),
            ("sub/b.py", 1, "# find me"),
            ("sub/c.txt", 1, "find"),
        ]
        assert output.value == {
            "matches": output.value["matches"],
            "files": [],
            "counts": {},
            "total": 3,
            "truncated": False,
            "skipped_files": 0,
        }

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            (r"^find$", [("sub/c.txt", 1)]),
            (r"(?i)find$", [("sub/c.txt", 1), ("sub/c.txt", 2)]),
            (r"os\b", [("a.py", 1), ("a.py", 4)]),
            (r"^$", [("a.py", 2)]),
            (r"\s{4}", [("a.py", 4)]),
            (r"(?<=# )find", [("sub/b.py", 1)]),
            ("--help", []),
            ("-rf", []),
        ],
    )
    def test_patterns_are_regular_expressions_over_single_lines(
        self, call: Caller, workspace: Path, pattern: str, expected: list[tuple[str, int]]
    ) -> None:
        assert [(path, line) for path, line, _ in found(call(TOOL, pattern=pattern))] == expected

    def test_text_is_read_as_utf_8_and_case_is_that_of_all_letters(self, call: Caller, workspace: Path) -> None:
        (workspace / "u").write_bytes("\ufeffGRÖSSE äöü\n\udcff".encode(errors="surrogateescape"))
        assert found(call(TOOL, pattern=r"(?i)^grösse ÄÖÜ$")) == [("u", 1, "GRÖSSE äöü")]
        assert found(call(TOOL, pattern="\ufffd")) == [("u", 2, "\ufffd")]

    def test_lines_around_a_match_come_on_request(self, call: Caller, workspace: Path) -> None:
        (match,) = call(TOOL, pattern="def", context=2).value["matches"]
        assert (match["before"], match["after"]) == (["import os", ""], ["    return os"])

    def test_a_long_line_is_shortened_and_says_so(self, call: Caller, workspace: Path) -> None:
        (workspace / "long").write_text("x" * 5000 + "y")
        (match,) = call(TOOL, pattern="xy$").value["matches"]
        assert match["text"] == "x" * 2000 + "… [3001 more characters]"

    def test_offset_and_limit_choose_and_the_total_stays(self, call: Caller, workspace: Path) -> None:
        (workspace / "many").write_text("".join(f"n{number}\n" for number in range(100)))
        output = call(TOOL, pattern=r"^n\d", offset=10, limit=3)
        assert [text for _, _, text in found(output)] == ["n10", "n11", "n12"]
        assert (output.value["total"], output.value["truncated"]) == (100, True)
        assert call(TOOL, pattern=r"^n\d", offset=97, limit=3).value["truncated"] is False
        assert call(TOOL, pattern=r"^n\d", offset=1000).value["matches"] == []

    def test_files_and_counts_instead_of_lines(self, call: Caller, workspace: Path) -> None:
        output = call(TOOL, pattern="(?i)find", output_mode="files_only")
        assert (output.value["files"], output.value["total"]) == (["a.py", "sub/b.py", "sub/c.txt"], 3)
        output = call(TOOL, pattern="(?i)find", output_mode="count", offset=1)
        assert (output.value["counts"], output.value["total"]) == ({"sub/b.py": 1, "sub/c.txt": 2}, 3)

    def test_a_glob_chooses_files_and_may_name_hidden_ones(self, call: Caller, workspace: Path) -> None:
        assert call(TOOL, pattern="find", file_glob="*.py", output_mode="files_only").value["files"] == [
            "a.py",
            "sub/b.py",
        ]
        assert call(TOOL, pattern="find", file_glob=".env*", output_mode="files_only").value["files"] == [".env"]

    def test_a_hidden_folder_is_searched_by_who_names_it(self, call: Caller, workspace: Path) -> None:
        assert found(call(TOOL, pattern="find", path=".hidden")) == [(".hidden/d.py", 1, "find")]

    def test_a_single_file_is_searched_whatever_its_name(self, call: Caller, workspace: Path, tmp_path: Path) -> None:
        (workspace / ".gitignore").write_text("*\n")
        for path in (".env", "./.env", f"{workspace}/.env"):
            assert found(call(TOOL, pattern="find", path=path, file_glob="*.py")) == [(".env", 1, "find=1")]
        assert found(call(TOOL, pattern="FIND", path="sub/c.txt")) == [("sub/c.txt", 2, "FIND")]
        (tmp_path / "outside.txt").write_text("find\n")
        assert found(call(TOOL, pattern="find", path=f"{tmp_path}/outside.txt"))[0][0] == f"{tmp_path}/outside.txt"

    def test_what_is_ignored_by_git_is_left_out(self, call: Caller, session: Any, workspace: Path) -> None:
        (workspace / ".gitignore").write_text("*.txt\n")
        assert "sub/c.txt" not in [path for path, _, _ in found(call(TOOL, pattern="find"))]
        assert found(call(TOOL, pattern="find", path="sub")) == [("sub/b.py", 1, "# find me")]
        session.settings["search_files"] = {"gitignore": False}
        assert "sub/c.txt" in [path for path, _, _ in found(call(TOOL, pattern="find"))]

    def test_binary_and_huge_files_are_not_looked_into(self, call: Caller, session: Any, workspace: Path) -> None:
        (workspace / "binary").write_bytes(b"find\0find")
        (workspace / "huge").write_bytes(b"find\n" * 1000)
        session.settings["search_files"] = {"max_file_bytes": 1000}
        output = call(TOOL, pattern="find", file_glob="{binary,huge}")
        assert (output.value["matches"], output.value["skipped_files"]) == ([], 1)

    def test_files_without_a_size_are_read(self, call: Caller, workspace: Path) -> None:
        assert found(call(TOOL, pattern="^MemTotal", path="/proc/meminfo"))[0][:2] == ("/proc/meminfo", 1)

    def test_a_result_too_large_for_a_reply_is_cut(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search_files, "MAX_RESULT_BYTES", 10_000)
        (workspace / "many").write_text("x" * 500 + "\n" * 1)
        (workspace / "many").write_text(("x" * 500 + "\n") * 100)
        output = call(TOOL, pattern="xxx", limit=1000)
        assert len(json.dumps(output.value)) < 10_500
        assert output.value["truncated"] is True
        assert output.value["total"] == 100


class TestNames:
    def test_names_are_found_by_glob(self, call: Caller, workspace: Path) -> None:
        output = call(TOOL, pattern="*.py", target="files")
        assert output.value["files"] == ["a.py", "sub/b.py"]
        assert call(TOOL, pattern="sub/*", target="files", limit=1).value == {
            "matches": [],
            "files": ["sub/b.py"],
            "counts": {},
            "total": 2,
            "truncated": True,
            "skipped_files": 0,
        }

    def test_many_names_are_asked_about_in_several_rounds(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "many").mkdir()
        for number in range(600):
            (workspace / "many" / f"{number:03}").write_bytes(b"")
        context = make_context(allow=lambda resource: resource.relative != "many/100")
        output = call(TOOL, within=context, pattern="many/*", target="files", limit=1000)
        assert output.value["total"] == 599
        assert "many/100" not in output.value["files"]


class TestPolicy:
    def test_a_file_the_policy_denies_is_neither_shown_nor_counted(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        for mode in ("content", "files_only", "count"):
            context = make_context(allow=lambda resource: resource.relative != "sub/b.py")
            output = call(TOOL, within=context, pattern="find", output_mode=mode)
            assert output.value["total"] == 2
            assert "sub/b.py" not in json.dumps(output.value)

    def test_the_folder_or_the_file_is_what_is_decided_about(self, session: Any, workspace: Path) -> None:
        for path, relative in {"./sub": "sub", "sub/b.py": "sub/b.py", ".": ""}.items():
            call = TOOL.prepare(msgspec.convert({"pattern": "x", "path": path}, SearchFiles.Arguments), session)
            assert call.resources == (PathResource(str(workspace / relative), relative, Access.READ),)
            assert call.shown["path"] == (relative or ".")
            call.close()

    def test_a_file_nobody_may_see_is_not_even_matched(self, call: Caller, workspace: Path, make_context: Any) -> None:
        (workspace / "secret").write_text("a" * 60 + "!\n")  # matching it would take for ever
        context = make_context(timeout=10, allow=lambda resource: resource.relative != "secret")
        assert call(TOOL, within=context, pattern="(a+)+$").value["total"] == 0

    def test_a_single_file_that_was_approved_is_searched_though_its_folder_is_not(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        context = make_context(allow=lambda resource: False)
        assert call(TOOL, within=context, pattern="find", path="sub/b.py").value["total"] == 1

    def test_links_are_not_followed(self, call: Caller, workspace: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("find\n")
        (workspace / "link").symlink_to(tmp_path / "secret")
        (workspace / "folder").symlink_to(tmp_path)
        assert [path for path, _, _ in found(call(TOOL, pattern="find"))] == ["a.py", "sub/b.py", "sub/c.txt"]

    def test_no_swap_meanwhile_finds_what_is_outside(self, call: Caller, workspace: Path, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        for name in ("b.py", "c.txt"):
            (tmp_path / "outside" / name).write_text("find the secret\n")
        for number in range(50):
            (workspace / f"{number}.txt").write_text("find\n")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                (workspace / "sub").rename(workspace / "real")
                (workspace / "sub").symlink_to(tmp_path / "outside")
                (workspace / "sub").unlink()
                (workspace / "real").rename(workspace / "sub")

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for _ in range(10):
                assert "secret" not in json.dumps(call(TOOL, pattern="find", limit=1000).value)
        finally:
            stop.set()
            swapper.join()


class TestBounds:
    def test_a_pattern_that_takes_for_ever_is_ended_with_its_time(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "bad").write_text("a" * 60 + "!\n")
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            call(TOOL, within=make_context(timeout=1.5), pattern="(a+)+$")
        assert time.monotonic() - started < 10

    def test_a_search_that_is_cancelled_ends(self, call: Caller, workspace: Path, make_context: Any) -> None:
        (workspace / "bad").write_text("a" * 60 + "!\n")
        context = make_context()
        failures: list[type[BaseException]] = []

        def search() -> None:
            try:
                call(TOOL, within=context, pattern="(a+)+$")
            except BaseException as error:
                failures.append(type(error))

        searcher = threading.Thread(target=search)
        searcher.start()
        while not context.asked:  # the policy is asked about the folder once the worker is there
            context.check()
        context.cancel()
        searcher.join(20)
        assert failures == [CallCancelledError]

    def test_a_long_search_gives_what_it_has_when_its_time_is_nearly_up(
        self, call: Caller, workspace: Path, make_context: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search_files, "_SHARE_OF_TIME", 0.0)
        output = call(TOOL, within=make_context(), pattern="find")
        assert output.value["truncated"] is True

    @pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<x>a)(?P<x>b)", "a{99999999999}", "(" * 4000, r"\q"])
    def test_what_is_no_pattern_says_so(self, call: Caller, workspace: Path, pattern: str) -> None:
        with pytest.raises(InvalidCallError, match="pattern: "):
            call(TOOL, pattern=pattern)

    @pytest.mark.parametrize("arguments", [{"target": "files", "pattern": "{a"}, {"pattern": "x", "file_glob": "{a"}])
    def test_what_is_no_glob_says_so(self, call: Caller, workspace: Path, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidCallError, match="is not a glob"):
            call(TOOL, **arguments)

    def test_what_is_not_there_is_not_found(self, call: Caller, workspace: Path) -> None:
        with pytest.raises(NotFoundError):
            call(TOOL, pattern="x", path="missing")

    def test_a_pipe_is_not_searched(self, call: Caller, workspace: Path) -> None:
        os.mkfifo(workspace / "pipe")
        with pytest.raises(CallError):
            call(TOOL, pattern="x", path="pipe")
        assert found(call(TOOL, pattern="^find$")) == [("sub/c.txt", 1, "find")]

    def test_a_module_planted_in_the_workspace_is_not_imported(self, call: Caller, workspace: Path) -> None:
        for name in ("json.py", "re.py", "sitecustomize.py", "host_bridge.py", "pathspec.py"):
            (workspace / name).write_text("open('planted', 'w')\n")
        (workspace / ".gitignore").write_text("x\n")
        call(TOOL, pattern="find")
        assert not (workspace / "planted").exists()

    def test_nothing_stays_open_or_running(self, call: Caller, workspace: Path) -> None:
        call(TOOL, pattern="find")
        before = len(list(Path("/proc/self/fd").iterdir()))
        call(TOOL, pattern="find", path="a.py")
        with pytest.raises(InvalidCallError):
            call(TOOL, pattern="(")
        assert len(list(Path("/proc/self/fd").iterdir())) == before
