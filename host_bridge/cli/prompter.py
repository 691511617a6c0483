"""Asks the person at the terminal about a call whose rule says `ask`."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from host_bridge.cli.output import plain
from host_bridge.policy.display import one_line

if TYPE_CHECKING:
    from host_bridge.control import Asked

_ANSWERS = {"y": "once", "yes": "once", "s": "session", "session": "session"}
_CHOICES = "[y] once  [s] this call for the rest of the session  [N] no > "


class TerminalPrompter:
    """Shows a call and reads y or s; anything else, and silence, is a no.

    Only one question is on the screen at a time; the others wait their turn within their own deadlines.

    Args:
        terminal: A descriptor of the terminal, open for reading and writing.
        paused: Makes a context manager that keeps others (a progress bar) from writing meanwhile.
    """

    def __init__(
        self,
        terminal: int,
        *,
        paused: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._terminal = terminal
        self._paused = paused
        self._turn = threading.Lock()
        self._ended, self._end = os.pipe()

    def __call__(self, question: Asked) -> str:
        """Give `"once"`, `"session"` or `"no"`."""
        deadline = time.monotonic() + question.timeout_seconds
        if not self._turn.acquire(timeout=max(0.0, question.timeout_seconds)):
            return "no"
        try:
            with self._paused():
                return self._ask(question, deadline)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Answer no to the question on the screen and all that wait, then let go of the terminal."""
        os.close(self._end)
        with self._turn:
            os.close(self._ended)
            os.close(self._terminal)
            self._terminal = -1

    def _ask(self, question: Asked, deadline: float) -> str:
        if self._terminal < 0:
            return "no"
        # What was typed before the question was seen is no answer to it.
        termios.tcflush(self._terminal, termios.TCIFLUSH)
        self._write(f"\n{describe(question)}\n{_CHOICES}")
        answer = self._read_line(deadline)
        if answer is None:
            self._write("\nno answer in time: denied\n")
            return "no"
        return _ANSWERS.get(answer.strip().lower(), "no")

    def _read_line(self, deadline: float) -> str | None:
        ready, _, _ = select.select([self._terminal, self._ended], [], [], max(0.0, deadline - time.monotonic()))
        # In a terminal's line mode, readable means a whole line.
        return os.read(self._terminal, 4096).decode(errors="replace") if self._terminal in ready else None

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._terminal, data) :]


def describe(question: Asked) -> str:
    """Give the text a person decides by: nothing the notebook wrote can forge or hide a part of it."""
    where = f" in cell {question.cell_index}" if question.cell_index is not None else ""
    lines = [f"{one_line(question.principal)} asks{where}: {one_line(question.tool)}"]
    for name, value in question.shown.items():
        text = plain(value if isinstance(value, str) else repr(value))
        # Every line of a value is marked, so that none can pass for one of ours.
        lines.append(f"  {one_line(name)}: {text}".replace("\n", "\n  | "))
    reason = f" ({one_line(question.reason)})" if question.reason else ""
    lines.append(f"  rule: {one_line(question.rule_id)}{reason}")
    return "\n".join(lines)


@contextlib.contextmanager
def terminal_prompter(
    paused: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Iterator[TerminalPrompter | None]:
    """Give a prompter on the process's terminal, None where nobody could answer.

    It uses the controlling terminal itself, so it works while the output goes to a file; but a standard input that is no
    terminal (cron, CI, a pipe) says that nobody sits there.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC) if sys.stdin.isatty() else -1
    except OSError:  # a process without a controlling terminal
        terminal = -1
    if terminal < 0:
        yield None
        return
    prompter = TerminalPrompter(terminal, paused=paused)
    try:
        yield prompter
    finally:
        prompter.close()
