"""Asks a person at a terminal: the question (`question_text`), the choices (`choices`), and a bounded wait for a line."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from host_bridge.policy.choices import choices, confirmation, is_confirmed, meaning
from host_bridge.policy.question_text import describe

if TYPE_CHECKING:
    from host_bridge.control import Answer, Asked

_TTY = "/dev/tty"
_MAX_ANSWER_BYTES = 512  # whatever is longer is no yes


class Input(Protocol):
    """Where an answer comes from."""

    def fileno(self) -> int: ...  # noqa: D102 - as of every file

    def readline(self) -> str: ...  # noqa: D102


class Output(Protocol):
    """Where a question goes."""

    def write(self, text: str, /) -> object: ...  # noqa: D102

    def flush(self) -> object: ...  # noqa: D102


def terminal_prompter(
    asked: Asked, stream_in: Input | None = None, stream_out: Output | None = None, *, over: int | None = None
) -> str | Answer:
    """Ask on the terminal and wait for an answer.

    Args:
        asked: The question.
        stream_in: Where the answer comes from; the process's terminal if there is one, else standard input.
        stream_out: Where the question goes; the terminal, else standard error.
        over: A descriptor that is readable once nobody waits for the answer any more.

    Returns:
        The answer; `""` when none came while one was waited for. The end of the input, Ctrl-C and anything else than a clear
        yes are a no.
    """
    with contextlib.ExitStack() as stack:
        if stream_in is None or stream_out is None:
            terminal = stack.enter_context(_terminal())
            stream_in = stream_in or terminal or sys.stdin
            stream_out = stream_out or terminal or sys.stderr
        try:
            deadline = time.monotonic() + asked.timeout_seconds
            line = _ask(f"\n{describe(asked)}\n{choices(asked)}", stream_in, stream_out, deadline, over)
            answer: str | Answer = "" if line is None else meaning(asked, line)
            if line is not None and (more := confirmation(meaning(asked, line))):
                line = _ask(more, stream_in, stream_out, deadline, over)
                if line is None or not is_confirmed(line):
                    answer = "" if line is None else meaning(asked, "no")
        except (KeyboardInterrupt, OSError, ValueError):  # Ctrl-C; a terminal that went away; a closed stream
            line = ""
            answer = meaning(asked, "no")
        with contextlib.suppress(OSError, ValueError):
            missing = "no answer is needed any more" if _is_readable(over) else "no answer in time: denied"
            stream_out.write(f"\n{missing}\n" if line is None else "\n" if not line else "")
            stream_out.flush()
        return answer


def _ask(text: str, stream_in: Input, stream_out: Output, deadline: float, over: int | None) -> str | None:
    _forget_input(stream_in)
    stream_out.write(text)
    stream_out.flush()
    return _read_line(stream_in, deadline, over)


@contextlib.contextmanager
def _terminal() -> Iterator[_Terminal | None]:
    try:
        descriptor = os.open(_TTY, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # no terminal: a service, cron, CI
        yield None
        return
    try:
        yield _Terminal(descriptor)
    finally:
        os.close(descriptor)


class _Terminal:
    """Just enough of a text stream for a question on a terminal; Python's own can't both read and write one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def readline(self) -> str:
        return os.read(self._descriptor, 4096).decode("utf-8", "replace")

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def _forget_input(stream: Input) -> None:
    """What was typed before the question was seen is no answer to it."""
    with contextlib.suppress(OSError, ValueError, termios.error):
        if os.isatty(stream.fileno()):
            termios.tcflush(stream.fileno(), termios.TCIFLUSH)


def _is_readable(descriptor: int | None) -> bool:
    return descriptor is not None and bool(select.select([descriptor], [], [], 0)[0])


def _read_line(stream: Input, deadline: float, over: int | None) -> str | None:
    """Give a line without waiting longer than anybody does; None when there was none, `""` at the end of the input."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # text in memory: nothing to wait for
        return stream.readline()
    line = b""
    while not line.endswith(b"\n") and len(line) < _MAX_ANSWER_BYTES:
        watched = [descriptor] if over is None else [descriptor, over]
        ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
        if descriptor not in ready:
            return None
        # Byte by byte: what follows the answer belongs to whoever reads next.
        byte = os.read(descriptor, 1)
        if not byte:
            return ""
        line += byte
    return line.decode("utf-8", "replace")
