"""Heads kept elsewhere: what shows that a log's end was cut off, or that all of a log was written anew.

A file of its own, beside the logs' folder and not in it, to which every session appends: the number and the hash of its last
record, at most every few seconds while it works, and once more when it ends. A record whose head was kept can't be taken back
unnoticed by whoever reaches the logs and not this file; keep it on another disk, or append-only (`chattr +a`), and that is
nobody but an administrator.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from host_bridge.errors import AuditError

KEEP_SECONDS = 5.0  # how much of a log's end a killed session may leave without a head
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MAX_LINE_BYTES = 16_384  # a path is at most a quarter of that


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the file.

    Attributes:
        session_id: Whose log it is.
        log: The log's first file, absolute.
        seq: The last record's number.
        hash: The last record's hash.
        time: RFC 3339, UTC; for people.
        event: `pruned` where the log was removed on purpose: a tombstone.
    """

    session_id: str
    log: str
    seq: int
    hash: str
    time: str = ""
    event: Literal["", "closed", "pruned"] = ""


class HeadFile:
    """The file, open for appending. Thread-safe as far as one `write` is.

    Raises:
        AuditError: It can't be written, or isn't a file of the user's own.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, _FLAGS, 0o600)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else "its path holds a NUL character"
            if isinstance(error, OSError) and error.errno == errno.ELOOP:
                problem = "it is a symbolic link; name the file itself"
            raise AuditError(
                f"{path}: heads can't be kept here: {problem}; set audit.heads in the configuration"
            ) from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise AuditError(
                f"{path}: heads can't be kept here: not a regular file; set audit.heads in the configuration"
            )

    def append(self, head: Head) -> None:
        """Write one head.

        Raises:
            OSError: It was not written, or not whole.
        """
        # Begins with a line break of its own, as whoever wrote last may have been killed in the middle of a line.
        line = b"\n" + msgspec.json.encode(head) + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Let go of the file. A second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class HeadKeeper:
    """Keeps one log's head, now and then. For the log, which calls it with its lock held.

    A head that can't be written (a full disk) is written with one of the next records, since the next one includes it.

    Args:
        file: Where to.
        session_id: Whose log it is.
        log: The log's first file.
    """

    def __init__(self, file: HeadFile, session_id: str, log: str) -> None:
        self._file = file
        self._session_id = session_id
        self._log = log
        self._kept = -1
        self._seq = -1
        self._hash = ""
        self._due = 0.0
        self._failed = False

    def note(self, seq: int, digest: str) -> None:
        """Take a new last record."""
        self._seq, self._hash = seq, digest
        if time.monotonic() >= self._due:
            self.keep()

    def keep(self, *, closed: bool = False) -> None:
        """Write the head now, unless it is kept already."""
        if self._seq == self._kept and not closed:
            return
        self._due = time.monotonic() + KEEP_SECONDS
        head = Head(
            session_id=self._session_id,
            log=self._log,
            seq=self._seq,
            hash=self._hash,
            time=now(),
            event="closed" if closed else "",
        )
        try:
            self._file.append(head)
        except OSError as error:
            if not self._failed:
                print(f"{self._file.path}: the log's head can't be kept: {error.strerror}", file=sys.stderr, flush=True)
            self._failed = True
        else:
            self._kept, self._failed = self._seq, False

    def waiting_seconds(self) -> float | None:
        """How long until a head that isn't kept may be; None if it is."""
        return None if self._seq == self._kept else max(0.0, self._due - time.monotonic())

    def close(self) -> None:
        """Keep the last head, and let go of the file."""
        if self._seq >= 0:
            self.keep(closed=True)
        self._file.close()


def read_heads(path: str | os.PathLike[str]) -> list[Head]:
    """Give the heads in a file, oldest first. Lines that are none are left out: a session was killed while it wrote one.

    Raises:
        AuditError: The file can't be read. One that doesn't exist has no heads.
    """
    heads = []
    try:
        with open(path, "rb") as file:
            while line := file.readline(_MAX_LINE_BYTES):
                with contextlib.suppress(msgspec.DecodeError, UnicodeError):
                    heads.append(msgspec.json.decode(line, type=Head))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AuditError(f"{os.fspath(path)}: can't be read: {error.strerror}") from None
    return heads


def heads_of(heads: Iterable[Head], sessions: Iterable[str], log: str) -> list[Head]:
    """Give the heads of one log: by its sessions, wherever it lies now, or by where it lay."""
    wanted = frozenset(sessions)
    return [head for head in heads if head.session_id in wanted or (not wanted and head.log == log)]


def now() -> str:
    """The time as heads have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
