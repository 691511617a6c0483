"""Waiting for another process's lock: an end, and a name."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_bridge.locks import LockBusyError, lock
from host_bridge.runs import index, kept_tapes
from host_bridge.runs.index import RunsError

HOLD = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Have another process hold a file's lock; give its number."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()  # it has the lock
        yield other.pid
        other.stdin.close()


def test_a_lock_that_is_free_is_had_at_once_and_one_that_is_not_names_its_holder_in_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with open(path) as file:
        with held(path) as holder:
            with pytest.raises(LockBusyError) as raised:
                lock(file.fileno(), 0.05)
            assert re.fullmatch(rf"process {holder} \(.+\)|", raised.value.holder)
        lock(file.fileno(), 0.0)
        lock(file.fileno(), 0.0)  # it is this process's own by now


def test_whoever_moves_tapes_and_hangs_holds_up_no_other_run_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(kept_tapes, "_PATIENCE_SECONDS", 0.05)
    index.runs_folder().mkdir(parents=True)
    path = index.runs_folder() / ".tapes"
    path.touch()
    with held(path), pytest.raises(RunsError, match=re.escape(f"keeps {path} locked")), kept_tapes.turn():
        pytest.fail("two have the lock")
    with kept_tapes.turn():
        assert path.exists()
