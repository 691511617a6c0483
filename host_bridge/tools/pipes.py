"""The descriptors between this process and a command."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import termios
from collections.abc import Iterator

from host_bridge.tools.launching import Launch

_READ_BYTES = 65_536  # a pipe's usual capacity
_PTY_SIZE = (24, 80)


class Pipes:
    """The descriptors between us and a command: its ends, until it has them, and ours."""

    def __init__(self, launch: Launch) -> None:
        self._ours: set[int] = set()
        self._theirs: set[int] = set()
        self.streams: dict[int, str] = {}
        self.input: int | None = None
        self.terminal_name = ""
        self.child_input: int = subprocess.DEVNULL
        try:
            if launch.terminal:
                self._open_terminal(launch)
            else:
                self._open_pipes(launch)
        except BaseException:
            self.close()
            raise

    def keep_parent_ends(self) -> None:
        """The command has its ends now: drop ours of them."""
        for descriptor in self._theirs:
            os.close(descriptor)
        self._theirs.clear()

    def close_input(self) -> None:
        """Close the standard input's end, once."""
        if self.input is not None and self.input not in self.streams:
            self._ours.discard(self.input)
            os.close(self.input)
        self.input = None

    def close(self) -> None:
        """Close everything."""
        self.keep_parent_ends()
        for descriptor in self._ours:
            os.close(descriptor)
        self._ours.clear()
        self.streams.clear()
        self.input = None

    def _open_pipes(self, launch: Launch) -> None:
        self.child_output = self._stream("stdout")
        self.child_errors = self.child_output if launch.merged else self._stream("stderr")
        if launch.input == "pipe":
            self.child_input, self.input = os.pipe()
            self._theirs.add(self.child_input)
            self._ours.add(self.input)
            os.set_blocking(self.input, False)

    def _open_terminal(self, launch: Launch) -> None:
        ours, theirs = os.openpty()
        self._ours.add(ours)
        self._theirs.add(theirs)
        termios.tcsetwinsize(theirs, _PTY_SIZE)
        os.set_blocking(ours, False)
        self.terminal_name = os.ttyname(theirs)
        self.streams[ours] = "stdout"
        self.child_output = self.child_errors = theirs
        if launch.input == "pipe":
            self.child_input, self.input = theirs, ours

    def _stream(self, name: str) -> int:
        ours, theirs = os.pipe()
        self._ours.add(ours)
        self._theirs.add(theirs)
        os.set_blocking(ours, False)
        self.streams[ours] = name
        return theirs


def read(descriptor: int) -> bytes | None:
    """Give what there is: empty at the end, None if there is nothing yet."""
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # how a pseudo terminal says that nobody has it open any more
            return b""
        raise


def rest(descriptor: int) -> Iterator[bytes]:
    """Give what a stream of an ended command still holds: at most its capacity, whoever else may be writing."""
    left = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) if _is_pipe(descriptor) else _READ_BYTES
    while left > 0 and (data := read(descriptor)):
        left -= len(data)
        yield data


def _is_pipe(descriptor: int) -> bool:
    return hasattr(fcntl, "F_GETPIPE_SZ") and not os.isatty(descriptor)
