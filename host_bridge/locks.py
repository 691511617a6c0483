"""Waiting for a lock that another process holds: never without end, and whoever gives up knows who has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_RETRY_SECONDS = 0.01


class LockBusyError(Exception):
    """The lock wasn't free in time. Whoever waited says it in their own words.

    Attributes:
        holder: Who has it, as `process 17 (python)`; empty where the system doesn't tell.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock of a file that is there for nothing else, and made where it isn't.

    Raises:
        LockBusyError, OSError: As `lock`, or the file can't be used.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        lock(descriptor, seconds)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, seconds: float) -> None:
    """Lock a file or folder against other processes, until the descriptor is closed.

    Args:
        descriptor: Of what is locked.
        seconds: How long to wait for it.

    Raises:
        LockBusyError: Another process has it for longer than that.
        OSError: It can't be locked at all.
    """
    deadline = 0.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            deadline = deadline or time.monotonic() + seconds
            if time.monotonic() > deadline:
                raise LockBusyError(_holder(descriptor)) from None
            time.sleep(_RETRY_SECONDS)  # flock has no timeout of its own


def _holder(descriptor: int) -> str:
    """Say who holds the lock on a file, as far as the system tells."""
    status = os.fstat(descriptor)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):  # no such thing here, or the process has just gone
        for line in Path("/proc/locks").read_text().splitlines():
            _, *fields = line.split()
            if fields[:1] == ["FLOCK"] and fields[4:5] == [device] and fields[3].isdecimal():
                name = Path(f"/proc/{fields[3]}/comm").read_text(errors="replace").strip()
                return f"process {fields[3]} ({name})"
    return ""
