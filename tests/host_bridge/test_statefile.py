from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from host_bridge.errors import ConfigurationError, StateBusyError
from host_bridge.statefile import MAX_BYTES, StateFile


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int = 1
    names: tuple[str, ...] = ()


def state_file(path: Path, *, private: bool = True) -> StateFile:
    return StateFile(path, version=1, what="what was said", remedy="say it again", private=private)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "names.json"


def names(file: StateFile) -> tuple[str, ...]:
    _, data = file.read()
    return () if data is None else file.decode(data, Names).names


def add(file: StateFile, name: str) -> None:
    with file.changing():
        file.replace(Names(names=(*names(file), name)))


def test_what_one_process_writes_the_next_one_reads_and_nobody_else(path):
    assert names(state_file(path)) == ()
    add(state_file(path), "ann")
    assert names(state_file(path)) == ("ann",)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_in_a_known_state_is_not_read_again_and_a_changed_one_is(path):
    file = state_file(path)
    assert file.read() == (None, None)
    add(file, "ann")
    known, data = file.read()
    assert data is not None
    assert file.read(known) == (known, None)
    add(file, "bob")
    changed, data = file.read(known)
    assert changed != known
    assert file.decode(data, Names).names == ("ann", "bob")


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("kind", ["link", "writable", "folder", "pipe", "too long"])
def test_a_file_that_others_may_have_written_or_that_is_none_is_refused(path, tmp_path, kind, private):
    file = state_file(path, private=private)
    add(file, "ann")
    if kind == "link":
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    elif kind == "writable":
        path.chmod(0o622)
    elif kind == "too long":
        os.truncate(path, MAX_BYTES + 1)
    else:
        path.unlink()
        path.mkdir(mode=0o700) if kind == "folder" else os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match=r"what was said .*; move the file away, and say it again"):
        names(file)


def test_a_private_file_has_one_name_and_one_reader(path, tmp_path):
    add(state_file(path), "ann")
    path.chmod(0o644)
    assert names(state_file(path, private=False)) == ("ann",)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        names(state_file(path))
    path.chmod(0o600)
    os.link(path, tmp_path / "other")
    assert names(state_file(path, private=False)) == ("ann",)
    with pytest.raises(ConfigurationError, match="can be reached by others"):
        names(state_file(path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 2}', b'{"name": []}', b"\xff" * 99])
def test_what_is_damaged_or_of_another_version_is_refused_and_stays_as_it_is(path, content):
    file = state_file(path)
    add(file, "ann")
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"is (damaged|of version 2)"):
        add(file, "bob")
    assert path.read_bytes() == content


def test_those_who_write_at_once_lose_nothing_and_leave_nothing_beside(path):
    threads = [threading.Thread(target=add, args=(state_file(path), str(number))) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(names(state_file(path))) == set(map(str, range(16)))
    assert {entry.name for entry in path.parent.iterdir()} == {".lock", "names.json"}


def test_who_keeps_it_locked_is_named_and_nothing_is_waited_for_without_end(path, monkeypatch):
    file = state_file(path)
    add(file, "ann")
    monkeypatch.setattr("host_bridge.statefile.PATIENCE_SECONDS", 0.05)
    holding = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, path.parent / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()  # it has the lock
        with pytest.raises(StateBusyError) as raised:
            add(file, "bob")
        assert names(file) == ("ann",)
        other.stdin.close()
    assert raised.value.path == str(path)
    assert str(path.parent / ".lock") in str(raised.value)
    assert re.search(rf"process {other.pid} \(.+\)|fuser -v", str(raised.value))
    add(file, "bob")
    assert names(file) == ("ann", "bob")


def test_what_cannot_be_encoded_leaves_the_file_as_it_was(path):
    file = state_file(path)
    add(file, "ann")
    with pytest.raises(TypeError), file.changing():
        file.replace(Names(names=(object(),)))
    assert names(file) == ("ann",)
    assert {entry.name for entry in path.parent.iterdir()} == {".lock", "names.json"}


def test_a_folder_that_cannot_be_made_is_said(path):
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"can't be (written|read)"):
        add(state_file(path), "ann")
