"""Writes the audit log: one line per record, appended whole, or an error and then nothing happens.

A log belongs to one process at a time (an exclusive lock), is readable by its owner only, and is never rewritten. What a
killed process left unfinished stays where it is: the next one continues behind it and records that. A log that grew large goes
on in another file (`audit.files`), and where its end is, is noted elsewhere (`audit.heads`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from host_bridge.audit.chain import GENESIS, link, read_link
from host_bridge.audit.files import files_of, next_path
from host_bridge.audit.heads import HeadFile, HeadKeeper
from host_bridge.audit.reading import Entry, LogSummary, Problem, Report, calls, find, read, verify
from host_bridge.audit.records import CallDecided, LogContinued, LogRotated, Record, TornWrite
from host_bridge.audit.redaction import MAX_RECORD_BYTES, Redactor
from host_bridge.errors import AuditError

__all__ = ["AuditLog", "Entry", "LogSummary", "Problem", "Report", "calls", "find", "read", "verify"]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_SYNC = getattr(os, "fdatasync", os.fsync)  # macOS has the latter only
_TAIL_BYTES = 2 * MAX_RECORD_BYTES  # holds the last whole line and what may stand behind it


class AuditLog:
    """An open log. Thread-safe. Make one with `open`."""

    def __init__(
        self,
        path: str,
        descriptor: int,
        redactor: Redactor,
        *,
        keeps_arguments: bool,
        fsync: bool,
        rotate_bytes: int = 0,
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._redactor = redactor
        self._keeps_arguments = keeps_arguments
        self._fsync = fsync
        self._lock = threading.Lock()
        self._seq, self._head = 0, GENESIS
        self._rotate_bytes = rotate_bytes
        self._keeper: HeadKeeper | None = None
        self._size = 0
        self._broken = ""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        secrets: Sequence[str] = (),
        arguments: str | Literal["full", "digest"] = "full",
        fsync: bool = False,
        rotate_bytes: int = 0,
    ) -> AuditLog:
        """Create a log, or continue one.

        Args:
            path: The file. Its folder must exist.
            secrets: Values that must not be written, whatever carries them.
            arguments: `"digest"` leaves the calls' arguments out.
            fsync: Whether each record must have reached the disk before the act. Costs milliseconds a call; without it a
                crash of the machine (not of the process) can lose the last records.
            rotate_bytes: The size beyond which the log goes on in another file; 0 for never.

        Raises:
            AuditError: It can't be written, somebody else writes it, or its end isn't a record of ours.
        """
        name = os.fspath(path)
        if arguments not in ("full", "digest"):
            raise AuditError(f"audit arguments are kept as 'full' or 'digest', not {arguments!r}")
        files = files_of(name) if Path(name).is_file() else [name]
        name = files[-1]
        descriptor = _open(name)
        try:
            log = cls(
                name,
                descriptor,
                Redactor(secrets),
                keeps_arguments=arguments == "full",
                fsync=fsync,
                rotate_bytes=rotate_bytes,
            )
            log._continue(files[-2] if len(files) > 1 else "")
        except BaseException:
            os.close(descriptor)
            raise
        return log

    def keep_heads(self, path: str, session_id: str) -> None:
        """Have the log's head kept elsewhere from now on, at most every few seconds and at the end.

        Args:
            path: The file to append heads to.
            session_id: Whose log this is.

        Raises:
            AuditError: Heads can't be kept there.
        """
        file = HeadFile(path)
        with self._lock:
            self._keeper = HeadKeeper(file, session_id, os.path.abspath(files_of(self._path)[0]))  # noqa: PTH100

    def keep_head(self) -> float | None:
        """Keep the head, if one is due; give how long until one will be, None for no time soon."""
        keeper = self._keeper
        # Looked at without the lock, which somebody may hold who writes a record: what is a moment old is good enough.
        if keeper is None or (left := keeper.waiting_seconds()) is None or left > 0:
            return None if keeper is None else left
        with self._lock:
            if self._descriptor >= 0:
                keeper.keep()
        return keeper.waiting_seconds()

    @property
    def head(self) -> str:
        """The last record's hash. Kept elsewhere, it shows whether the log's end was cut off."""
        return self._head

    def hide(self, secret: str) -> None:
        """Keep a value out of every record from now on."""
        with self._lock:
            self._redactor = self._redactor.knowing(secret)

    def append(self, record: Record) -> None:
        """Write one record. When this returns, the system has it.

        Raises:
            AuditError: It was not written; what it is about must not happen.
        """
        if not self._keeps_arguments and type(record) is CallDecided:
            record = msgspec.structs.replace(record, arguments=None, about=None)
        try:
            body = self._redactor.encode(record)
        except (ValueError, TypeError, RecursionError) as error:
            raise AuditError(f"a {type(record).__name__} can't be recorded: {type(error).__name__}") from None
        with self._lock:
            if self._broken:
                raise AuditError(f"{self._path}: {self._broken}")
            if self._rotate_bytes and self._size > self._rotate_bytes:
                self._rotate()
            line, digest = link(self._seq, _now(), body, self._head)
            self._write(line)
            self._size += len(line)
            self._seq += 1
            self._head = digest
            if self._keeper is not None:
                self._keeper.note(self._seq - 1, digest)

    def close(self) -> None:
        """Let go of the file. A second time does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                if self._keeper is not None:
                    self._keeper.close()
            self._descriptor = -1
            self._broken = "the log is closed"

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):  # the disk is about to be full: the rest fails, and says why
                written += os.write(self._descriptor, line[written:])
            if self._fsync:
                _SYNC(self._descriptor)
        except OSError as error:
            self._take_back()
            raise AuditError(f"{self._path}: can't be written: {error.strerror}; make room and try again") from None

    def _take_back(self) -> None:
        """Remove the part of a line that was written; where that fails, the log ends here."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            self._broken = f"ends in an incomplete record after a failed write ({error.strerror}); start a new session"

    def _rotate(self) -> None:
        """Go on in another file: say so at this one's end, and there at the beginning. Both are written, or neither."""
        path = next_path(self._path)
        descriptor = _open(path)
        if os.fstat(descriptor).st_size:
            os.close(descriptor)
            raise AuditError(f"{self._path}: should go on in {path}, which is something else; move that away")
        old, old_path, old_size = self._descriptor, self._path, self._size
        rotated = self._redactor.encode(LogRotated(next_file=Path(path).name))
        continued = self._redactor.encode(LogContinued(previous_file=Path(old_path).name))
        last, last_digest = link(self._seq, _now(), rotated, self._head)
        first, first_digest = link(self._seq + 1, _now(), continued, last_digest)
        try:
            self._write(last)
            self._size, self._descriptor, self._path = 0, descriptor, path
            self._write(first)
        except AuditError:
            self._size, self._descriptor, self._path = old_size, old, old_path
            self._take_back()
            os.unlink(path)  # noqa: PTH108
            os.close(descriptor)
            raise
        os.close(old)
        self._size = len(first)
        self._seq, self._head = self._seq + 2, first_digest

    def _continue(self, previous: str) -> None:
        """Go on behind what is there.

        Args:
            previous: The file before this one, empty where this is the first.
        """
        self._size = os.fstat(self._descriptor).st_size
        if self._size == 0 and previous:  # whoever made this file died before it wrote in it
            self._take_end(previous, Path(previous).read_bytes()[-_TAIL_BYTES:])
            self.append(LogContinued(previous_file=Path(previous).name))
        elif self._size:
            tail = os.pread(self._descriptor, _TAIL_BYTES, max(0, self._size - _TAIL_BYTES))
            if torn := self._take_end(self._path, tail):
                with contextlib.suppress(AuditError):  # if there is no room for a line break, the record below says so
                    self._write(b"\n")
                self._size = os.fstat(self._descriptor).st_size
                self.append(TornWrite(lost_bytes=len(torn), lost_digest=hashlib.sha256(torn).hexdigest()))

    def _take_end(self, path: str, tail: bytes) -> bytes:
        """Take number and hash of a file's last record; give what stands behind it."""
        whole, _, torn = tail.rpartition(b"\n")
        last = read_link(whole.rpartition(b"\n")[2]) if whole else None
        if last is None and (whole or len(torn) == _TAIL_BYTES):
            raise AuditError(f"{path}: doesn't end in an audit record; name another file, or look at this one")
        if last is not None:
            if last.real_hash != last.stated_hash:
                raise AuditError(f"{path}: its last record was changed; keep it, and name another file")
            self._seq, self._head = last.seq + 1, last.stated_hash
        return torn


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        problem = (
            "is a symbolic link; name the file itself"
            if error.errno == errno.ELOOP
            else f"can't be opened: {error.strerror}"
        )
        raise AuditError(f"{path}: {problem}") from None
    except ValueError:
        raise AuditError("the audit log's path holds a NUL character") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AuditError(f"{path}: not a regular file, so nothing in it could be shown later; name another")
        if status.st_nlink != 1:
            raise AuditError(f"{path}: has another name (a hard link), by which it could be changed; name another file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    except BlockingIOError:
        os.close(descriptor)
        raise AuditError(f"{path}: another process writes this log; give each session its own") from None
    except OSError as error:
        os.close(descriptor)
        raise AuditError(f"{path}: can't be kept to its owner: {error.strerror}") from None
    except AuditError:
        os.close(descriptor)
        raise
    return descriptor


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _now() -> str:
    # Formatting the date anew for every record of a second costs as much as hashing it.
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06d}Z"
