"""What write_file leaves behind: the new content whole, or everything as it was."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host_bridge.errors import CallCancelledError, CallError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access, PathResource
from host_bridge.tools import atomic
from host_bridge.tools.interface import ToolOutput, Upload
from host_bridge.tools.write_file import WriteFile

Caller = Callable[..., ToolOutput]
TOOL = WriteFile()


@pytest.fixture
def workspace(session: Any) -> Path:
    return Path(session.workspace)


@pytest.fixture(params=["nameless", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a file system that has files without a name."""
    if request.param == "named":
        monkeypatch.setattr(atomic, "_O_TMPFILE", 0)


def prepare(session: Any, **arguments: Any) -> Any:
    return TOOL.prepare(msgspec.convert(arguments, WriteFile.Arguments, builtin_types=(bytes,)), session)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.usefixtures("way")
class TestWriting:
    def test_a_file_is_created_with_its_folders(self, call: Caller, workspace: Path) -> None:
        output = call(TOOL, path="a/b/c.bin", content=b"\0\xff\n")
        assert output.value == {"bytes_written": 3, "created": True}
        assert (workspace / "a/b/c.bin").read_bytes() == b"\0\xff\n"
        assert tree(workspace) == {"a", "a/b", "a/b/c.bin"}

    def test_a_new_file_is_as_an_editor_would_make_it(self, call: Caller, workspace: Path) -> None:
        umask = os.umask(0o027)
        try:
            call(TOOL, path="f", content=b"")
        finally:
            os.umask(umask)
        assert stat.S_IMODE((workspace / "f").stat().st_mode) == 0o640

    @pytest.mark.parametrize("mode", [0o600, 0o755, 0o444])
    def test_a_replaced_file_keeps_its_mode(self, call: Caller, workspace: Path, mode: int) -> None:
        (workspace / "f").write_bytes(b"old and longer")
        (workspace / "f").chmod(mode)
        assert call(TOOL, path="f", content=b"new").value == {"bytes_written": 3, "created": False}
        assert (workspace / "f").read_bytes() == b"new"
        assert stat.S_IMODE((workspace / "f").stat().st_mode) == mode
        assert tree(workspace) == {"f"}

    def test_set_user_id_does_not_survive_other_content(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"old")
        (workspace / "f").chmod(0o4755)
        call(TOOL, path="f", content=b"new")
        assert stat.S_IMODE((workspace / "f").stat().st_mode) == 0o755

    @pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
    def test_a_replaced_file_keeps_its_owner(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"old")
        os.chown(workspace / "f", 1234, 5678)
        call(TOOL, path="f", content=b"new")
        status = (workspace / "f").stat()
        assert (status.st_uid, status.st_gid) == (1234, 5678)

    def test_an_upload_is_written_piece_by_piece(self, call: Caller, workspace: Path, make_context: Any) -> None:
        context = make_context(upload=[b"one ", b"", b"two ", b"three"])
        output = call(TOOL, within=context, path="f", content={})
        assert output.value["bytes_written"] == 13
        assert (workspace / "f").read_bytes() == b"one two three"

    def test_durable_writes_are_confirmed_by_the_disk(
        self, call: Caller, session: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        confirmed: list[int] = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda descriptor: (confirmed.append(descriptor), real(descriptor)))
        call(TOOL, path="f", content=b"x")
        assert confirmed == []
        session.settings["write_file"] = {"durable": True}
        call(TOOL, path="f", content=b"x")
        assert len(confirmed) == 2  # the file, then the folder that names it

    def test_readers_see_the_old_or_the_new_content_and_nothing_between(self, call: Caller, workspace: Path) -> None:
        contents = [bytes([letter]) * 100_000 for letter in b"ab"]
        call(TOOL, path="f", content=contents[0])
        stop = threading.Event()

        def write() -> None:
            for content in itertools.cycle(contents):
                if stop.is_set():
                    return
                call(TOOL, path="f", content=content)

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(300):
                assert (workspace / "f").read_bytes() in contents
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert tree(workspace) == {"f"}


@pytest.mark.usefixtures("way")
class TestFailing:
    def test_a_cancelled_upload_leaves_nothing(
        self, call: Caller, workspace: Path, make_context: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (workspace / "f").write_bytes(b"old")
        context = make_context()

        def body() -> Iterator[bytes]:
            yield b"half"
            context.cancel()
            context.check()

        monkeypatch.setattr(context, "body", body)
        for path in ("f", "new/deep/g"):
            with pytest.raises(CallCancelledError):
                call(TOOL, within=context, path=path, content={})
        assert tree(workspace) == {"f"}
        assert (workspace / "f").read_bytes() == b"old"

    @pytest.mark.parametrize("name", ["write", "rename", "link", "fchmod"])
    def test_a_system_call_that_fails_leaves_everything_as_it_was(
        self, call: Caller, workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (workspace / "f").write_bytes(b"old")
        if name == "link" and not atomic._O_TMPFILE:
            pytest.skip("a file with a name needs no link")

        def fail(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(workspace))

        monkeypatch.setattr(os, name, fail)
        for path in ("f", "new/g"):
            if name == "fchmod" and path != "f":
                continue
            with pytest.raises(CallError, match="no space is left") as caught:
                call(TOOL, path=path, content=b"new")
            assert str(workspace) not in str(caught.value)
        monkeypatch.undo()
        assert tree(workspace) == {"f"}
        assert (workspace / "f").read_bytes() == b"old"

    def test_content_over_the_limit_is_refused_whole(
        self, call: Caller, session: Any, workspace: Path, make_context: Any
    ) -> None:
        session.settings["write_file"] = {"max_bytes": 10}
        with pytest.raises(CallError, match="over the host's limit of 10 bytes"):
            call(TOOL, within=make_context(upload=itertools.repeat(b"1234", 10**6)), path="f", content={})
        assert tree(workspace) == set()

    def test_missing_folders_are_made_only_if_asked(self, call: Caller, workspace: Path) -> None:
        with pytest.raises(NotFoundError, match="create_parents"):
            call(TOOL, path="a/f", content=b"", create_parents=False)
        assert tree(workspace) == set()

    def test_nothing_stays_open(self, call: Caller, workspace: Path) -> None:
        call(TOOL, path="f", content=b"")
        (workspace / "link").symlink_to("f")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in ("f", "a/b/c", "link", "f/x", ".", "a/b", "~/x", "/missing/f"):
            try:
                call(TOOL, path=path, content=b"x", create_parents=not path.startswith("/"))
            except CallError:
                continue
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.usefixtures("way")
class TestRefusing:
    def test_links_and_hard_links_are_not_written_through(self, call: Caller, workspace: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_bytes(b"old")
        (workspace / "hard").hardlink_to(outside)
        (workspace / "link").symlink_to(outside)
        (workspace / "dangling").symlink_to(tmp_path / "new")
        (workspace / "inner").symlink_to("f")
        for path in ("hard", "link", "dangling", "inner"):
            with pytest.raises(DeniedError):
                call(TOOL, path=path, content=b"new")
        assert outside.read_bytes() == b"old"
        assert tree(tmp_path) == {"outside", "workspace", *(f"workspace/{name}" for name in tree(workspace))}

    def test_what_is_no_file_is_not_replaced(self, call: Caller, workspace: Path) -> None:
        (workspace / "folder").mkdir()
        os.mkfifo(workspace / "pipe")
        for path in ("folder", "folder/", ".", "/"):
            with pytest.raises(InvalidCallError, match="is a folder"):
                call(TOOL, path=path, content=b"")
        with pytest.raises(DeniedError, match="a pipe"):
            call(TOOL, path="pipe", content=b"")
        assert stat.S_ISFIFO((workspace / "pipe").stat().st_mode)

    def test_a_folder_swapped_for_a_link_after_the_decision_takes_nothing(
        self, session: Any, workspace: Path, tmp_path: Path, make_context: Any
    ) -> None:
        (workspace / "dir").mkdir()
        (tmp_path / "outside").mkdir()
        call = prepare(session, path="dir/f", content=b"new")
        (workspace / "dir").rename(workspace / "moved")
        (workspace / "dir").symlink_to(tmp_path / "outside")
        with pytest.raises(CallError, match="was moved"):
            call.run(make_context())
        call.close()
        assert tree(tmp_path / "outside") == set()
        assert tree(workspace / "moved") == set()

    def test_a_folder_moved_to_a_protected_place_takes_nothing(
        self, session: Any, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "dir").mkdir()
        (workspace / ".git").mkdir()
        call = prepare(session, path="dir/new/pre-commit", content=b"#!/bin/sh")
        (workspace / "dir").rename(workspace / ".git" / "hooks")
        (workspace / "dir").symlink_to(".git/hooks")
        with pytest.raises(CallError, match="was moved"):
            call.run(make_context())
        call.close()
        assert tree(workspace / ".git") == {"hooks"}

    def test_a_missing_folder_that_turns_up_as_a_link_is_not_entered(
        self, session: Any, workspace: Path, tmp_path: Path, make_context: Any
    ) -> None:
        (tmp_path / "outside").mkdir()
        call = prepare(session, path="dir/f", content=b"new")
        (workspace / "dir").symlink_to(tmp_path / "outside")
        with pytest.raises(CallError):
            call.run(make_context())
        call.close()
        assert tree(tmp_path / "outside") == set()

    def test_a_link_that_took_the_name_after_the_decision_is_left_alone(
        self, session: Any, workspace: Path, tmp_path: Path, make_context: Any
    ) -> None:
        (tmp_path / "outside").write_bytes(b"old")
        call = prepare(session, path="f", content=b"new")
        (workspace / "f").symlink_to(tmp_path / "outside")
        with pytest.raises(CallError, match="was replaced"):
            call.run(make_context())
        call.close()
        assert (tmp_path / "outside").read_bytes() == b"old"
        assert tree(workspace) == {"f"}

    def test_no_swap_of_folders_meanwhile_puts_a_file_outside(
        self, call: Caller, workspace: Path, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (workspace / "dir").mkdir()
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                (workspace / "dir").rename(workspace / "real")
                (workspace / "dir").symlink_to(outside)
                (workspace / "dir").unlink()
                (workspace / "real").rename(workspace / "dir")
                for _ in range(100):  # leave it in place for a while, so that some writes get through
                    (workspace / "dir").stat()

        swapper = threading.Thread(target=swap)
        swapper.start()
        written = 0
        try:
            for number in range(1000):
                try:
                    call(TOOL, path=f"dir/{number}", content=b"x", create_parents=False)
                    written += 1
                except CallError:
                    continue
        finally:
            stop.set()
            swapper.join()
        assert tree(outside) == set()
        assert written > 0
        assert len(tree(workspace / "dir")) == written


class TestPreparing:
    def test_what_is_decided_about_is_where_the_file_will_be(self, session: Any, workspace: Path) -> None:
        (workspace / "dir").mkdir()
        (workspace / "link").symlink_to("dir")
        call = prepare(session, path="link/./new/f", content=b"text")
        assert call.resources == (PathResource(str(workspace / "dir/new/f"), "dir/new/f", Access.WRITE),)
        assert call.shown == {
            "path": "dir/new/f",
            "content": {"sha256": hashlib.sha256(b"text").hexdigest(), "size_bytes": 4, "text": "text"},
            "create_parents": True,
        }
        assert tree(workspace) == {"dir", "link"}
        call.close()

    def test_large_or_unreadable_content_is_shown_as_its_digest(self, session: Any) -> None:
        for content in (b"x" * 5000, b"\xff"):
            call = prepare(session, path="f", content=content)
            assert "text" not in call.shown["content"]
            call.close()
        call = prepare(session, path="f", content=msgspec.to_builtins(Upload()))
        assert call.shown["content"] == {"upload": "bytes that are sent after the answer"}
        call.close()
