"""What list_files shows, and that it never leaves the folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host_bridge.errors import CallCancelledError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access, PathResource
from host_bridge.tools import list_files, tree
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.list_files import ListFiles

Caller = Callable[..., ToolOutput]
TOOL = ListFiles()


@pytest.fixture
def workspace(session: Any) -> Path:
    """A workspace with a bit of everything."""
    workspace = Path(session.workspace)
    for path in ("b.txt", "a/x.py", "a/deep/y.py", "a/.hidden/z.py", ".env", "a-b", "c/d"):
        (workspace / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace / path).write_text(path)
    return workspace


def paths(output: ToolOutput) -> list[str]:
    return [entry["path"] for entry in output.value["entries"]]


class TestListing:
    def test_a_folder_is_listed_by_name_without_what_is_hidden(self, call: Caller, workspace: Path) -> None:
        output = call(TOOL)
        assert paths(output) == ["a", "a-b", "b.txt", "c"]
        assert output.value["truncated"] is False

    def test_each_entry_says_what_it_is(self, call: Caller, workspace: Path, tmp_path: Path) -> None:
        (workspace / "link").symlink_to(tmp_path)
        os.mkfifo(workspace / "pipe")
        os.utime(workspace / "b.txt", (1, 1.5))
        entries = {entry["path"]: entry for entry in call(TOOL).value["entries"]}
        assert entries["b.txt"] == {"path": "b.txt", "type": "file", "size_bytes": 5, "modified": 1.5}
        assert {path: entry["type"] for path, entry in entries.items() if entry["type"] != "file"} == {
            "a": "folder",
            "c": "folder",
            "link": "link",
            "pipe": "other",
        }

    def test_recursion_gives_each_folder_before_what_is_in_it_and_follows_no_link(
        self, call: Caller, workspace: Path
    ) -> None:
        (workspace / "a" / "up").symlink_to("..")
        assert paths(call(TOOL, recursive=True)) == [
            *("a", "a/deep", "a/deep/y.py", "a/up", "a/x.py", "a-b", "b.txt", "c", "c/d")
        ]

    def test_hidden_names_come_on_request_or_when_a_pattern_names_them(self, call: Caller, workspace: Path) -> None:
        assert ".env" in paths(call(TOOL, hidden=True))
        assert "a/.hidden/z.py" in paths(call(TOOL, hidden=True, recursive=True))
        assert paths(call(TOOL, pattern=".e*")) == [".env"]

    def test_paths_start_from_the_workspace_whatever_folder_is_listed(self, call: Caller, workspace: Path) -> None:
        (workspace / "to-a").symlink_to("a")
        for path in ("a", "./a/", "to-a", f"{workspace}/a"):
            assert paths(call(TOOL, path=path)) == ["a/deep", "a/x.py"]

    def test_outside_of_the_workspace_they_start_as_the_folder_was_named(
        self, call: Caller, workspace: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "f").write_bytes(b"")
        assert paths(call(TOOL, path=f"{tmp_path}/other")) == [f"{tmp_path}/other/f"]

    def test_a_pattern_chooses_by_name_or_by_path(self, call: Caller, workspace: Path) -> None:
        assert paths(call(TOOL, pattern="*.py", recursive=True)) == ["a/deep/y.py", "a/x.py"]
        assert paths(call(TOOL, pattern="a/*.py", recursive=True)) == ["a/x.py"]
        assert paths(call(TOOL, path="a", pattern="deep/*", recursive=True)) == ["a/deep/y.py"]

    def test_a_limit_cuts_the_list_and_says_so(self, call: Caller, workspace: Path) -> None:
        output = call(TOOL, limit=2)
        assert (paths(output), output.value["truncated"]) == (["a", "a-b"], True)
        assert call(TOOL, limit=4).value["truncated"] is False

    def test_a_list_too_large_for_a_reply_is_cut(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(list_files, "MAX_RESULT_BYTES", 150)
        output = call(TOOL)
        assert (len(paths(output)), output.value["truncated"]) == (2, True)

    def test_names_that_are_no_text_are_shown_as_well_as_can_be(self, call: Caller, workspace: Path) -> None:
        (workspace / "c" / os.fsdecode(b"\xffx")).write_bytes(b"")
        assert paths(call(TOOL, path="c")) == ["c/d", "c/\ufffdx"]

    def test_very_deep_trees_end_somewhere_and_say_so(self, call: Caller, workspace: Path) -> None:
        here = os.open(workspace, os.O_RDONLY)
        for _ in range(tree.MAX_DEPTH + 20):
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(here)
        output = call(TOOL, path="d", recursive=True)
        assert (len(paths(output)), output.value["truncated"]) == (tree.MAX_DEPTH + 1, True)

    def test_a_folder_with_too_many_entries_is_cut(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tree, "MAX_FOLDER_ENTRIES", 3)
        output = call(TOOL)
        assert (paths(output), output.value["truncated"]) == (["a", "a-b", "b.txt"], True)


class TestRefusing:
    def test_what_is_no_folder_is_not_listed(self, call: Caller, workspace: Path) -> None:
        with pytest.raises(InvalidCallError, match="not a folder"):
            call(TOOL, path="b.txt")
        with pytest.raises(NotFoundError):
            call(TOOL, path="missing")
        with pytest.raises(DeniedError):
            call(TOOL, path="..")
        with pytest.raises(InvalidCallError, match="pattern: "):
            call(TOOL, pattern="{a")

    def test_a_cancelled_call_stops(self, call: Caller, workspace: Path, make_context: Any) -> None:
        context = make_context()
        context.cancel()
        with pytest.raises(CallCancelledError):
            call(TOOL, within=context)

    def test_folders_the_policy_denies_are_named_and_not_entered(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        def allow(resource: Any) -> bool:
            return resource.relative != "a"

        context = make_context(allow=allow)
        output = call(TOOL, within=context, recursive=True)
        assert paths(output) == ["a", "a-b", "b.txt", "c", "c/d"]

    def test_the_folder_itself_is_what_is_decided_about(self, session: Any, workspace: Path) -> None:
        call = TOOL.prepare(msgspec.convert({"path": "./a", "pattern": "*"}, ListFiles.Arguments), session)
        assert call.resources == (PathResource(str(workspace / "a"), "a", Access.READ),)
        assert call.shown == {"path": "a", "pattern": "*", "recursive": False, "hidden": False, "limit": 1000}
        call.close()

    def test_no_swap_meanwhile_shows_what_is_outside(self, call: Caller, workspace: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                (workspace / "a").rename(workspace / "real")
                (workspace / "a").symlink_to(outside)
                (workspace / "a").unlink()
                (workspace / "real").rename(workspace / "a")

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for _ in range(500):
                assert not any("secret" in path for path in paths(call(TOOL, recursive=True)))
        finally:
            stop.set()
            swapper.join()

    def test_nothing_stays_open(self, call: Caller, workspace: Path) -> None:
        call(TOOL)
        before = len(list(Path("/proc/self/fd").iterdir()))
        call(TOOL, recursive=True)
        call(TOOL, recursive=True, limit=1)
        with pytest.raises(InvalidCallError):
            call(TOOL, path="b.txt")
        assert len(list(Path("/proc/self/fd").iterdir())) == before
