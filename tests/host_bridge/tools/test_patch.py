"""What patch changes: exactly what it was asked to, in all files or in none."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host_bridge.errors import CallError, CallTimeoutError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access, PathResource
from host_bridge.tools import patch as patch_module
from host_bridge.tools.atomic import Change
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.patch import Patch

Caller = Callable[..., ToolOutput]
TOOL = Patch()


@pytest.fixture
def workspace(session: Any) -> Path:
    return Path(session.workspace)


def prepare(session: Any, **arguments: Any) -> Any:
    return TOOL.prepare(msgspec.convert(arguments, Patch.Arguments), session)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def text(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


class TestReplacing:
    def test_the_one_occurrence_is_replaced_and_the_change_shown(self, call: Caller, workspace: Path) -> None:
        (workspace / "f.py").write_bytes(b"a = 1\r\nb = 2\r\nc = 3")
        (workspace / "f.py").chmod(0o750)
        output = call(TOOL, path="f.py", old_string="b = 2", new_string="b = 20")
        assert (workspace / "f.py").read_bytes() == b"a = 1\r\nb = 20\r\nc = 3"
        assert stat.S_IMODE((workspace / "f.py").stat().st_mode) == 0o750
        assert output.value["files"] == [
            {"path": "f.py", "action": "update", "added_lines": 1, "removed_lines": 1, "replacements": 1}
        ]
        assert output.value["diff"] == (
            "--- a/f.py\n+++ b/f.py\n@@ -1,3 +1,3 @@\n a = 1\r\n-b = 2\r\n+b = 20\r\n c = 3\n"
            "\\ No newline at end of file\n"
        )

    def test_an_ambiguous_text_changes_nothing(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"x\nx\n")
        with pytest.raises(CallError, match=r"'f': old_string is in the file more than once, at lines 1, 2"):
            call(TOOL, path="f", old_string="x", new_string="y")
        assert (workspace / "f").read_bytes() == b"x\nx\n"

    def test_all_occurrences_are_replaced_on_request(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"x y x\nx\n")
        output = call(TOOL, path="f", old_string="x", new_string="", replace_all=True)
        assert (workspace / "f").read_bytes() == b" y \n\n"
        assert output.value["files"][0]["replacements"] == 3

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"path": "f", "old_string": "x"}, "needs path, old_string and new_string"),
            ({"old_string": "x", "new_string": "y"}, "needs path, old_string and new_string"),
            ({"path": "f", "old_string": "", "new_string": "y"}, "old_string is empty"),
            ({"path": "f", "old_string": "x", "new_string": "x"}, "are the same"),
            ({"path": "f", "old_string": "x", "new_string": "y", "patch": "z"}, "for mode='patch'"),
            ({"path": "f", "old_string": "\ud800", "new_string": "y"}, "surrogate"),
            ({"mode": "patch"}, "needs patch"),
            ({"mode": "patch", "patch": "x", "path": "f"}, "takes nothing but patch"),
            ({"mode": "patch", "patch": "x"}, "begins with"),
        ],
    )
    def test_arguments_that_make_no_sense_say_what_would(
        self, call: Caller, workspace: Path, arguments: dict[str, Any], problem: str
    ) -> None:
        (workspace / "f").write_bytes(b"x")
        with pytest.raises(InvalidCallError, match=problem):
            call(TOOL, **arguments)

    def test_links_hard_links_and_missing_files_are_not_changed(
        self, call: Caller, workspace: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "outside").write_bytes(b"x")
        (workspace / "link").symlink_to(tmp_path / "outside")
        (workspace / "hard").hardlink_to(tmp_path / "outside")
        for path in ("link", "hard"):
            with pytest.raises(DeniedError):
                call(TOOL, path=path, old_string="x", new_string="y")
        with pytest.raises(NotFoundError):
            call(TOOL, path="missing", old_string="x", new_string="y")
        assert (tmp_path / "outside").read_bytes() == b"x"

    def test_a_file_over_the_limit_is_left_to_programs(self, call: Caller, session: Any, workspace: Path) -> None:
        session.settings["patch"] = {"max_file_bytes": 10}
        (workspace / "f").write_bytes(b"x" * 11)
        with pytest.raises(CallError, match="larger than 10 bytes"):
            call(TOOL, path="f", old_string="x", new_string="y", replace_all=True)

    def test_a_huge_diff_is_cut_and_says_so(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"x\n" * 60_000)
        output = call(TOOL, path="f", old_string="x", new_string="y", replace_all=True)
        assert len(output.value["diff"]) < patch_module.MAX_DIFF_CHARACTERS + 200
        assert "too long to be shown whole" in output.value["diff"]
        assert (workspace / "f").read_bytes() == b"y\n" * 60_000

    def test_patches_of_one_file_from_many_threads_all_count(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"".join(b"<%d>\n" % number for number in range(20)))
        threads = [
            threading.Thread(
                target=lambda number=number: call(TOOL, path="f", old_string=f"<{number}>", new_string=f"[{number}]")
            )
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (workspace / "f").read_bytes() == b"".join(b"[%d]\n" % number for number in range(20))

    def test_waiting_for_another_patch_ends_with_the_time(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        tool = Patch()
        (workspace / "f").write_bytes(b"x")
        with tool._turn, pytest.raises(CallTimeoutError):
            call(tool, within=make_context(timeout=0.05), path="f", old_string="x", new_string="y")


class TestPatching:
    def test_several_files_change_as_one(self, call: Caller, workspace: Path) -> None:
        (workspace / "a").write_bytes(b"1\n2\n3\n")
        (workspace / "old").write_bytes(b"x\n")
        (workspace / "old").chmod(0o700)
        (workspace / "gone").write_bytes(b"y\n")
        patch = text(
            "*** Update File: a",
            "@@ 1",
            "-2",
            "+two",
            "*** Update File: old",
            "*** Move to: dir/new",
            "-x",
            "+X",
            "*** Add File: dir/added",
            "+hello",
            "*** Delete File: gone",
        )
        output = call(TOOL, mode="patch", patch=patch)
        assert tree(workspace) == {"a": b"1\ntwo\n3\n", "dir/new": b"X\n", "dir/added": b"hello\n"}
        assert stat.S_IMODE((workspace / "dir/new").stat().st_mode) == 0o700
        assert [(file["action"], file["path"]) for file in output.value["files"]] == [
            ("update", "a"),
            ("move", "old"),
            ("add", "dir/added"),
            ("delete", "gone"),
        ]
        assert output.value["files"][1]["moved_to"] == "dir/new"
        assert output.value["diff"].count("--- ") == 4
        assert "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-y\n" in output.value["diff"]

    def test_every_file_is_decided_about(self, session: Any, workspace: Path) -> None:
        (workspace / "a").write_bytes(b"x")
        (workspace / "b").write_bytes(b"x")
        patch = text("*** Update File: ./a", "*** Move to: c/d", "*** Delete File: b", "*** Add File: e", "+x")
        call = prepare(session, mode="patch", patch=patch)
        assert call.resources == tuple(
            PathResource(str(workspace / name), name, Access.WRITE) for name in ("a", "c/d", "b", "e")
        )
        assert call.shown == {
            "mode": "patch",
            "files": [
                {"action": "update", "paths": ["a", "c/d"]},
                {"action": "delete", "paths": ["b"]},
                {"action": "add", "paths": ["e"]},
            ],
            "patch": patch,
        }
        call.close()

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            (["*** Update File: a", "-1", "+one", "*** Update File: b", "-nothing", "+x"], "'b': hunk 1"),
            (["*** Update File: a", "-1", "+one", "*** Delete File: missing"], "'missing' does not exist"),
            (["*** Update File: a", "-1", "+one", "*** Add File: b", "+x"], "'b' exists"),
            (["*** Update File: a", "*** Move to: b"], "'b' exists"),
            (["*** Update File: a", "-1", "+one", "*** Add File: dir", "+x"], "'dir' exists"),
            (["*** Update File: a", "-1", "+one", "*** Delete File: ./a"], "named twice"),
            (["*** Add File: ../x", "+x"], "leads out"),
            (["*** Update File: a", "*** Move to: ~/x"], "not expanded"),
        ],
    )
    def test_what_can_not_be_done_whole_is_not_begun(
        self, call: Caller, workspace: Path, lines: list[str], problem: str
    ) -> None:
        (workspace / "a").write_bytes(b"1\n")
        (workspace / "b").write_bytes(b"2\n")
        (workspace / "dir").mkdir()
        with pytest.raises(CallError, match=problem):
            call(TOOL, mode="patch", patch=text(*lines))
        assert tree(workspace) == {"a": b"1\n", "b": b"2\n"}

    @pytest.mark.parametrize("failing", range(5))
    def test_a_failure_in_the_middle_restores_what_was_changed_before(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch, failing: int
    ) -> None:
        for name in "abcd":
            (workspace / name).write_bytes(b"old\n")
        inodes = {name: (workspace / name).stat().st_ino for name in "abcd"}
        before = tree(workspace)
        commits = 0
        real = Change.commit

        def commit(change: Change) -> None:
            nonlocal commits
            commits += 1
            if commits == failing + 1:
                raise CallError("no space")
            real(change)

        monkeypatch.setattr(Change, "commit", commit)
        patch = text(
            *("*** Update File: a", "-old", "+new", "*** Delete File: b"),
            *("*** Update File: c", "*** Move to: x/c", "*** Add File: y/z", "+new"),
        )
        with pytest.raises(CallError, match="no space"):
            call(TOOL, mode="patch", patch=patch)
        assert tree(workspace) == before
        assert {name: (workspace / name).stat().st_ino for name in "abcd"} == inodes
        assert sorted(path.name for path in workspace.iterdir()) == ["a", "b", "c", "d"]

    def test_without_hard_links_a_failure_is_taken_back_as_well(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (workspace / "a").write_bytes(b"old\n")
        (workspace / "b").write_bytes(b"old\n")
        real_rename = os.rename

        def link(*arguments: object, **options: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        def rename(source: str, destination: str, **options: int) -> None:
            if destination == "b" and not source.startswith(".hermes-restored") and not done:
                done.append(destination)
                raise OSError(errno.EIO, "broken")
            real_rename(source, destination, **options)

        done: list[str] = []
        monkeypatch.setattr("host_bridge.tools.atomic._O_TMPFILE", 0)
        monkeypatch.setattr(os, "link", link)
        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(CallError, match="broken"):
            call(TOOL, mode="patch", patch=text("*** Update File: a", "-old", "+1", "*** Update File: b", "-old", "+2"))
        assert tree(workspace) == {"a": b"old\n", "b": b"old\n"}

    def test_a_file_that_changed_since_it_was_read_is_left_alone(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (workspace / "a").write_bytes(b"1\n")
        (workspace / "b").write_bytes(b"2\n")
        real = patch_module._commit

        def commit(changes: Any) -> None:
            (workspace / "b").write_bytes(b"somebody else's\n")
            real(changes)

        monkeypatch.setattr(patch_module, "_commit", commit)
        with pytest.raises(CallError, match="'b' changed meanwhile"):
            call(TOOL, mode="patch", patch=text("*** Update File: a", "-1", "+one", "*** Delete File: b"))
        assert tree(workspace) == {"a": b"1\n", "b": b"somebody else's\n"}

    def test_a_name_taken_since_the_decision_is_not_overwritten(
        self, session: Any, workspace: Path, make_context: Any
    ) -> None:
        call = prepare(session, mode="patch", patch=text("*** Add File: f", "+mine"))
        (workspace / "f").write_bytes(b"theirs")
        with pytest.raises(CallError, match="exists by now"):
            call.run(make_context())
        call.close()
        assert tree(workspace) == {"f": b"theirs"}

    def test_what_lies_outside_is_not_looked_at_before_the_decision(
        self, session: Any, workspace: Path, tmp_path: Path, make_context: Any
    ) -> None:
        (tmp_path / "secret").write_bytes(b"x")
        (tmp_path / "link").symlink_to("secret")
        for name in ("secret", "missing", "link"):
            path = f"{tmp_path}/{name}"
            for lines in (["*** Add File: " + path, "+x"], ["*** Delete File: " + path]):
                prepare(session, mode="patch", patch=text(*lines)).close()
        call = prepare(session, mode="patch", patch=text(f"*** Add File: {tmp_path}/secret", "+y"))
        with pytest.raises(CallError, match="exists"):
            call.run(make_context())
        call.close()
        assert (tmp_path / "secret").read_bytes() == b"x"

    def test_nothing_stays_open(self, call: Caller, workspace: Path) -> None:
        (workspace / "a").write_bytes(b"1\n")
        call(TOOL, path="a", old_string="1", new_string="2")
        before = len(list(Path("/proc/self/fd").iterdir()))
        call(TOOL, mode="patch", patch=text("*** Update File: a", "-2", "+3", "*** Add File: x/y/z", "+1"))
        for lines in (["*** Delete File: missing"], ["*** Update File: a", "-q", "+z"], ["*** Add File: a", "+z"]):
            with pytest.raises(CallError):
                call(TOOL, mode="patch", patch=text("*** Add File: new", "+x", *lines))
        assert len(list(Path("/proc/self/fd").iterdir())) == before
