"""One file in the user's state folder by which somebody's yes outlives a process: whole or not there, and its owner's own.

Whoever can write to such a file says yes for the user. So a link, another's file and one that others can write are refused; so
is what is too long, damaged, or of another version. A change is made with the folder locked, and replaces the file in one step:
whoever reads needs no lock.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from host_bridge.errors import ConfigurationError, StateBusyError
from host_bridge.locks import LockBusyError, locked

MAX_BYTES = 16 * 2**20
PATIENCE_SECONDS = 5.0  # a change holds the lock for milliseconds


class Versioned(Protocol):
    """What such a file holds: a struct that says which version it is of."""

    @property
    def version(self) -> int:
        """The version that is known here, unless another release wrote it."""


Content = TypeVar("Content", bound=Versioned)


class State(NamedTuple):
    """Which file was read: another one, or a changed one, is in another state."""

    inode: int
    modified: int
    size: int


class StateFile:
    """The file. Several processes may use it at once.

    Args:
        path: Where it lies; it need not exist.
        version: The version of its content that is known here.
        what: What it says, as a sentence about it begins: `what was accepted`.
        remedy: What to do after the file was moved away, because it can't be used.
        private: Whether nobody else may even read it, or reach it by another name.
    """

    def __init__(self, path: Path, *, version: int, what: str, remedy: str, private: bool) -> None:
        self.path = path
        self._version = version
        self._what = what
        self._remedy = remedy
        self._private = private

    def read(self, known: State | None = None) -> tuple[State | None, bytes | None]:
        """Give the state the file is in, and its bytes: none if that state is `known`. Without a file, there is neither.

        Raises:
            ConfigurationError: It can't be read, or not relied on.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            raise self.unusable(f"can't be read: {error.strerror}") from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise self.unusable("is not a file")
        with open(descriptor, "rb") as file:
            self._check_owner(status)
            state = State(status.st_ino, status.st_mtime_ns, status.st_size)
            if state == known:
                return state, None
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise self.unusable(f"is over {MAX_BYTES} bytes")
        return state, data

    def decode(self, data: bytes, kind: type[Content]) -> Content:
        """Give what the bytes say.

        Raises:
            ConfigurationError: They say nothing of that kind, or another version of it.
        """
        try:
            content = msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self.unusable(f"is damaged ({error})") from None
        if content.version != self._version:
            raise self.unusable(f"is of version {content.version}, and {self._version} is known here")
        return content

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing the file, between reading it and replacing it.

        Raises:
            StateBusyError: Another process keeps it from being changed for longer than any change takes.
            ConfigurationError: It can't be changed.
        """
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(folder / ".lock", PATIENCE_SECONDS):
                yield
        except LockBusyError as error:
            raise self._busy(error.holder) from None
        except OSError as error:
            raise self.unusable(f"can't be written: {error.strerror}") from None

    def replace(self, content: Versioned) -> None:
        """Put the content in the file's place, on the disk too. Only while `changing`.

        Raises:
            OSError: It can't be written, so the file is as it was. `changing` says so.
        """
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(content))
                file.flush()
                os.fsync(descriptor)
            beside.replace(self.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def unusable(self, problem: str) -> ConfigurationError:
        """Give the error that says what is wrong with the file, and what to do."""
        return ConfigurationError(
            f"{self.path}: {self._what} {problem}; move the file away, and {self._remedy}", path=str(self.path)
        )

    def _busy(self, holder: str) -> StateBusyError:
        place = self.path.parent / ".lock"
        who = f"see what it does (ps -fp {holder.split()[1]})" if holder else f"find out which (fuser -v {place})"
        return StateBusyError(
            f"{self.path}: {self._what} can't be changed: {holder or 'another process'} has kept {place} locked for more than "
            f"{PATIENCE_SECONDS:g} s; {who}, end it if it hangs, and try again",
            path=str(self.path),
        )

    def _check_owner(self, status: os.stat_result) -> None:
        is_foreign = status.st_uid != os.getuid()
        if self._private and (is_foreign or status.st_mode & 0o077 or status.st_nlink != 1):
            raise self.unusable("can be reached by others; run chmod 600 if it was you who wrote it")
        if is_foreign or status.st_mode & 0o022:
            raise self.unusable("can be written by others")
