"""Files through a real session under the default profile, with nobody to ask: what a hostile kernel gets."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from bare_kernel import BareKernel, Host, open_host, open_kernel

from host_bridge import control

SECRET = b"the secret"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with open_host() as host:
        host.expect(control.Ready)
        (host.folder / "outside.txt").write_bytes(SECRET)
        yield host


@pytest.fixture
def workspace(host: Host) -> Iterator[Path]:
    """The session's workspace, empty again afterwards."""
    workspace = Path(host.config.workspace)
    (workspace / "a.txt").write_bytes(b"a")
    yield workspace
    for entry in workspace.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@pytest.fixture
def kernel(host: Host, workspace: Path) -> Iterator[BareKernel]:
    with open_kernel(host) as kernel:
        kernel.greet()
        yield kernel
        # Whatever happened, the session still serves.
        assert kernel.call("read_file", path="a.txt").content == b"a"


@pytest.fixture
def refused(host: Host, kernel: BareKernel) -> Callable[..., str]:
    """Make a call that must end in a refusal; gives its code. It leaves one record, and no text names the host's paths."""

    def check(tool: str, *, named: str = "", **fields: Any) -> str:
        before = _decided(host)
        answer = kernel.call(tool, **fields)
        assert answer.reply.failure is not None, answer.reply
        text = f"{answer.reply.failure.message} {answer.reply.failure.remedy}"
        assert str(host.folder) not in text or named.startswith(str(host.folder))
        assert text.isprintable()
        assert SECRET.decode() not in text
        assert _decided(host) == before + 1
        return answer.code

    return check


def _decided(host: Host) -> int:
    return len(host.records("call_decided"))


class TestReading:
    @pytest.mark.parametrize(
        "path",
        [
            *("../x", "../outside.txt", "a/../../outside.txt", "./../workspace/a.txt", "/etc/passwd", "/etc/shadow"),
            *("~/.ssh/id_rsa", "~root/.ssh/id_rsa", "/proc/self/environ", "/proc/1/environ", "/root/.bashrc"),
            *("/proc/self/root/etc/passwd", "/proc/self/cwd/a.txt", "/proc/self/fd/0", "/missing/file", "//etc/passwd"),
        ],
    )
    def test_what_lies_outside_is_denied_whether_or_not_it_exists(self, refused: Callable[..., str], path: str) -> None:
        assert refused("read_file", path=path) == "denied"

    @pytest.mark.parametrize("path", ["./.env", ".env", "a//.env", "a/../.env", "a/id_rsa", ".ENV"])
    def test_what_sounds_secret_is_denied_in_every_spelling(
        self, refused: Callable[..., str], workspace: Path, path: str
    ) -> None:
        (workspace / "a").mkdir()
        for name in (".env", "a/.env", "a/id_rsa", ".ENV"):
            (workspace / name).write_bytes(SECRET)
        assert refused("read_file", path=path) == "denied"

    @pytest.mark.parametrize(
        "path",
        [
            *("a\0.txt", "a\n.txt", "a\r.txt", "a\u202etxt.a", "a\u200b.txt", "\u2066a.txt", "x" * 5000, ""),
            *(["a.txt"], 3, None, {"path": "a.txt"}, True),
        ],
    )
    def test_what_is_no_path_is_refused(self, refused: Callable[..., str], path: Any) -> None:
        assert refused("read_file", path=path) == "invalid_request"

    def test_links_out_are_denied_and_long_chains_too(self, refused: Callable[..., str], workspace: Path) -> None:
        (workspace / "shadow").symlink_to("/etc/shadow")
        (workspace / "up").symlink_to("..")
        (workspace / "0").symlink_to("a.txt")
        for number in range(1, 51):
            (workspace / str(number)).symlink_to(str(number - 1))
        for path in ("shadow", "up/outside.txt", "50"):
            assert refused("read_file", path=path) == "denied"

    def test_a_link_to_a_secret_of_the_workspace_is_no_way_to_it(
        self, refused: Callable[..., str], workspace: Path
    ) -> None:
        (workspace / ".env").write_bytes(SECRET)
        (workspace / "plain.txt").symlink_to(".env")
        assert refused("read_file", path="plain.txt") == "denied"

    def test_what_is_no_file_ends_within_a_second(self, refused: Callable[..., str], workspace: Path) -> None:
        os.mkfifo(workspace / "pipe")
        (workspace / "device").symlink_to("/dev/zero")
        (workspace / "folder").mkdir()
        with open(workspace / "sparse", "wb") as file:
            file.truncate(2**40)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(workspace / "socket"))
            started = time.monotonic()
            for path in ("pipe", "device", "folder", "sparse", "socket", "/dev/zero", "/dev/stdin"):
                refused("read_file", path=path)
        assert time.monotonic() - started < 3

    @pytest.mark.parametrize("path", ["-rf", "--help", "-", "--", "-e"])
    def test_a_path_that_begins_with_a_dash_is_a_path(self, kernel: BareKernel, workspace: Path, path: str) -> None:
        (workspace / path).write_bytes(b"dash")
        assert kernel.call("read_file", path=path).content == b"dash"
        assert kernel.call("search_files", pattern="dash", path=path).reply.result["total"] == 1
        assert kernel.call("search_files", pattern=path).reply.failure is None

    def test_a_gigabyte_nobody_takes_costs_no_memory(self, host: Host, workspace: Path) -> None:
        with open(workspace / "big", "wb") as file:
            file.truncate(2**30)
        process = psutil.Process(host.process.pid)
        before = process.memory_info().rss
        with open_kernel(host) as leaving:
            leaving.greet()
            for _ in range(4):
                leaving.ask("read_file", path="big", timeout=60, window_bytes=4 << 20)
            leaving.receive()
            assert process.memory_info().rss - before < 64 << 20
        with open_kernel(host) as next_one:
            next_one.greet()
            assert next_one.call("read_file", path="a.txt").content == b"a"


class TestWriting:
    @pytest.mark.parametrize(
        "path",
        [
            *("../x", "/tmp/hermes-attack", "~/x", "a/../../x", "/etc/cron.d/x"),
            *(".git/hooks/x", ".GIT/hooks/x", ".git/config", "sub/.Git/hooks/x", ".vscode/tasks.json", ".envrc"),
            *(".mcp.json", "hermes.toml", "jupyter/kernels/x/kernel.json", ".g\u0131t/../.git/x"),
        ],
    )
    def test_what_must_not_be_written_is_not(
        self, host: Host, refused: Callable[..., str], workspace: Path, path: str
    ) -> None:
        before = _names(host.folder)
        code = refused("write_file", path=path, bulk=("content",), contents=[b"x"])
        assert code == "denied" or (code == "not_found" and "/.." in path)
        assert _names(host.folder) == before
        patch = f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch"
        refused("patch", mode="patch", patch=patch)
        assert _names(host.folder) == before

    def test_links_and_hard_links_are_not_written_through(
        self, host: Host, refused: Callable[..., str], workspace: Path
    ) -> None:
        (workspace / "link").symlink_to(host.folder / "outside.txt")
        (workspace / "inner").symlink_to("a.txt")
        (workspace / "hard").hardlink_to(host.folder / "outside.txt")
        for path in ("link", "inner", "hard"):
            assert refused("write_file", path=path, bulk=("content",), contents=[b"x"]) == "denied"
            assert refused("patch", path=path, old_string="a", new_string="b") == "denied"
        assert (host.folder / "outside.txt").read_bytes() == SECRET

    def test_a_folder_that_leads_to_a_protected_one_is_no_way_to_it(
        self, refused: Callable[..., str], workspace: Path
    ) -> None:
        (workspace / ".git" / "hooks").mkdir(parents=True)
        (workspace / "innocent").symlink_to(".git")
        assert refused("write_file", path="innocent/hooks/x", bulk=("content",), contents=[b"x"]) == "denied"

    def test_no_swap_of_folders_meanwhile_gets_anything_out_or_in(
        self, host: Host, kernel: BareKernel, workspace: Path
    ) -> None:
        outside = host.folder / "outside"
        outside.mkdir()
        (outside / "f").write_bytes(SECRET)
        (workspace / "d").mkdir()
        (workspace / "d" / "f").write_bytes(b"inside")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                (workspace / "d").rename(workspace / "e")
                (workspace / "d").symlink_to(outside)
                (workspace / "d").unlink()
                (workspace / "e").rename(workspace / "d")

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for number in range(300):
                read = kernel.call("read_file", path="d/f")
                assert read.reply.failure is not None or read.content == b"inside"
                kernel.call("write_file", path=f"d/{number}", create_parents=False, bulk=("content",), contents=[b"x"])
        finally:
            stop.set()
            swapper.join()
        assert [path.name for path in outside.iterdir()] == ["f"]
        shutil.rmtree(outside)


class TestSearching:
    def test_neither_names_nor_lines_of_secrets_turn_up(self, kernel: BareKernel, workspace: Path) -> None:
        (workspace / "id_rsa").write_bytes(SECRET)
        (workspace / "notes.txt").write_bytes(b"not the secret itself")
        for arguments in ({"pattern": "secret"}, {"pattern": "**/*", "target": "files"}, {"pattern": ".", "path": "."}):
            result = kernel.call("search_files", **arguments).reply.result
            assert "id_rsa" not in json.dumps(result)
            assert result["total"] >= 1

    def test_folders_outside_are_denied(self, refused: Callable[..., str]) -> None:
        for path in ("..", "/etc", "/", "/proc/self/root", "~"):
            assert refused("search_files", pattern="root", path=path) == "denied"
            assert refused("list_files", path=path) == "denied"

    def test_a_pattern_that_takes_for_ever_delays_nobody_and_ends(self, kernel: BareKernel, workspace: Path) -> None:
        (workspace / "bad").write_bytes(b"a" * 60 + b"!\n")
        slow = kernel.ask("search_files", pattern="(a+)+$", timeout=3.0)
        started = time.monotonic()
        assert kernel.call("read_file", path="a.txt").content == b"a"
        assert time.monotonic() - started < 2
        assert kernel.answer(slow).code == "timed_out"


def _names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if not re.search(r"/(audit|bridge)", str(path))}
