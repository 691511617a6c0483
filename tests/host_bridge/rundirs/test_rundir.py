from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from host_bridge.errors import SessionError
from host_bridge.rundirs import rundir
from host_bridge.rundirs.processes import identify
from host_bridge.rundirs.rundir import MAX_SOCKET_PATH_BYTES, OwnerRecord, RunDirectory, remove_tree


@pytest.fixture
def directory() -> Iterator[RunDirectory]:
    made = RunDirectory()
    yield made
    made.remove()


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_it_is_private_and_says_whose_it_is(directory: RunDirectory) -> None:
    assert mode(directory.path) == 0o700
    folders = {entry.name: mode(entry) for entry in Path(directory.path).iterdir() if entry.is_dir()}
    assert folders.keys() >= {"s", "b", "k"}
    assert set(folders.values()) == {0o700}
    directory.record(connection_file="/r/kernel-1.json")
    record = msgspec.json.decode(Path(directory.path, "owner.json").read_bytes(), type=OwnerRecord)
    assert record.host == identify(os.getpid())
    assert record.connection_file == "/r/kernel-1.json"


def test_a_ticket_is_readable_by_the_user_alone_and_replaces_an_unread_one(directory: RunDirectory) -> None:
    directory.write_ticket("first")
    directory.write_ticket("second")
    assert Path(directory.ticket_path).read_text() == "second"
    assert mode(directory.ticket_path) == 0o600


def test_removing_it_leaves_nothing_and_may_be_repeated() -> None:
    directory = RunDirectory()
    Path(directory.path, "s", "k-1").write_text("")
    directory.remove()
    directory.remove()
    assert not Path(directory.path).exists()


def test_a_long_temporary_folder_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 150)
    long.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    directory = RunDirectory()
    try:
        longest = max(f"{directory.channels}-99999", directory.bridge_endpoint.removeprefix("ipc://"), key=len)
        assert len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES
        assert not directory.path.startswith(str(long))
    finally:
        directory.remove()


def test_a_private_runtime_folder_is_preferred_and_a_public_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        inside = RunDirectory()
        inside.remove()
        Path(runtime).chmod(0o755)
        outside = RunDirectory()
        outside.remove()
        assert Path(inside.path).parent == Path(runtime)
        assert Path(outside.path).parent != Path(runtime)


def test_where_there_is_no_place_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 150)
    long.mkdir()
    monkeypatch.setattr(rundir, "bases", lambda: iter([str(long)]))
    with pytest.raises(SessionError, match=r"too long.*XDG_RUNTIME_DIR"):
        RunDirectory()


@pytest.mark.parametrize(
    "end", ["", "import os\nif os.fork() == 0: raise SystemExit\nos.wait()\nprint(os.path.isdir(d.path))"]
)
def test_the_folder_goes_with_the_process_that_made_it_and_with_no_other(end: str) -> None:
    script = f"from host_bridge.rundirs.rundir import RunDirectory\nd = RunDirectory()\nprint(d.path)\n{end}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    path, *survived_the_child = done.stdout.split()
    assert survived_the_child == (["True"] if end else [])
    assert not Path(path).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="modes mean nothing to root")
def test_folders_without_permissions_are_removed_too(tmp_path: Path) -> None:
    closed = tmp_path / "top" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("")
    closed.chmod(0)
    remove_tree(str(tmp_path / "top"))
    assert not (tmp_path / "top").exists()


def test_a_link_inside_is_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("")
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(outside)
    remove_tree(str(top))
    assert not top.exists()
    assert (outside / "file").exists()
