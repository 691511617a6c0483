"""The inbox's files: private, whole or not there, changed by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from host_bridge.errors import QuestionError

LOCK_NAME = ".lock"
LOCK_SECONDS = 10.0  # a change takes milliseconds; whoever holds it longer was stopped
_LOCK_POLL_SECONDS = 0.01


def make_private(folder: Path) -> None:
    """Make the folder if it is missing.

    Raises:
        QuestionError: It can't be made, or others may look into it.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise QuestionError(f"the folder for questions {folder} can't be made: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise QuestionError(f"the folder for questions {folder} has to be yours alone; run: chmod 700 {folder}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who changes something, among processes and threads. A process that dies lets go.

    Raises:
        QuestionError: Somebody else doesn't let go.
    """
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise QuestionError(f"the folder for questions {folder} can't be used: {error.strerror}") from error
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise QuestionError(
                    f"{folder / LOCK_NAME} was held for {LOCK_SECONDS:g} s; end the process that holds it"
                )
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(lock)


def read(path: Path, limit: int) -> bytes | None:
    """Read a file that isn't a link and not over the limit; None if there is none.

    Raises:
        QuestionError: It can't be read, or isn't such a file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise QuestionError(f"{path} can't be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise QuestionError(f"{path} is not a file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise QuestionError(f"{path} is over {limit} bytes, so it is no question; remove it")
    return data


def write(path: Path, data: bytes) -> None:
    """Put a file in its place in one step, on the disk too: a question has to survive the machine.

    Raises:
        QuestionError: It can't be written.
    """
    new = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _synchronise(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise QuestionError(f"{path} can't be written: {error.strerror}") from error


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
