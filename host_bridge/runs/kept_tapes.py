"""Tapes of earlier runs to the same output: kept in their runs' folders when a later run's takes their place.

A tape that lies beside an output is where a kernel can reach it. So what is kept is a copy, of what the run is known to have
left: it has the size and the root hash that the index holds.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from host_bridge.errors import TapeError
from host_bridge.locks import LockBusyError, locked
from host_bridge.runs import index
from host_bridge.runs.index import RunEntry, RunsError
from host_bridge.tape.reader import TapeReader

_LOCK_NAME = ".tapes"
_PATIENCE_SECONDS = 60.0  # it is held while tapes are copied, which may be large
_PIECE_BYTES = 2**20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Keep other processes from moving tapes, and from writing where they are.

    Raises:
        RunsError: The folder for runs can't be used.
    """
    path = index.runs_folder() / _LOCK_NAME
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, _PATIENCE_SECONDS))
        except LockBusyError as error:
            raise RunsError(
                f"{error.holder or 'another process'} keeps {path} locked; see what it does, and end it"
            ) from None
        except OSError as error:
            raise RunsError(f"{path} can't be opened: {error.strerror}; make room there") from None
        yield


def put_beside(entry: RunEntry, path: str, write: Callable[[Iterator[bytes]], None], most: int) -> None:
    """Put a run's tape beside its output, and keep the one of an earlier run that lies there.

    Args:
        entry: The run's; says then where its tape is.
        path: Where to; absolute and canonical.
        write: Replaces what is there.
        most: How many tapes of earlier runs to this path are kept; the oldest are let go.

    Raises:
        RunsError: There is no room to keep what lies there. It stays then, and this run's tape is where it was.
        OutputError: Nothing can be written there; the same.
    """
    written = index.tape_path(entry.run_id)
    with turn():
        _make_way(path, entry.run_id, most)
        write(_pieces(written))
        entry.tape, entry.tape_bytes = path, written.stat().st_size
        with contextlib.suppress(RunsError):  # it is said again when the run is over
            index.write(entry)
    written.unlink()


def _make_way(path: str, run_id: str, most: int) -> None:
    known = index.entries()
    for entry in known:
        if entry.tape == path and entry.run_id != run_id:
            _keep(entry, run_id)
    kept = [entry for entry in known if entry.tape_was == path and entry.tape]
    for entry in kept[most:]:
        _let_go(entry, most)


def _keep(entry: RunEntry, run_id: str) -> None:
    path, target = entry.tape, index.tape_path(entry.run_id)
    new = target.with_name(f".{index.TAPE_NAME}")
    try:
        _copy(entry, new)
        _check(entry, str(new))
        new.replace(target)
        entry.tape, entry.tape_was = str(target), path
    except TapeError as error:
        entry.tape = ""
        entry.tape_gone = f"the run {entry.run_id} has no tape any more: {error}, before run {run_id} put its own there"
    except OSError as error:
        raise RunsError(
            f"the tape {path} of run {entry.run_id} can't be kept: {error.strerror}; make room in {target.parent}"
        ) from None
    finally:
        new.unlink(missing_ok=True)
    index.write(entry)


def _copy(entry: RunEntry, new: Path) -> None:
    try:
        source = os.open(entry.tape, _FLAGS)
    except OSError as error:
        raise TapeError(f"{entry.tape} was moved, or replaced by what can't be read ({error.strerror})") from None
    with open(source, "rb") as file:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or (entry.tape_bytes and status.st_size != entry.tape_bytes):
            raise TapeError(f"{entry.tape} was replaced by something else")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as copy:
            left = status.st_size  # it may grow while it is read
            while left and (piece := file.read(min(left, _PIECE_BYTES))):
                copy.write(piece)
                left -= len(piece)


def _check(entry: RunEntry, copy: str) -> None:
    """See that a copy is what the run left.

    Raises:
        TapeError: It is another run's, or was changed.
    """
    with TapeReader(copy) as tape:
        if tape.facts().get("run_id") != entry.run_id or tape.root() != entry.tape_root:
            raise TapeError(f"{entry.tape} was replaced by something else")


def _let_go(entry: RunEntry, most: int) -> None:
    with contextlib.suppress(OSError):
        index.tape_path(entry.run_id).unlink(missing_ok=True)
    entry.tape = ""
    entry.tape_gone = (
        f"the tape of run {entry.run_id} was let go: of earlier runs to one output {most} are kept ([runs] kept_tapes)"
    )
    index.write(entry)


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
