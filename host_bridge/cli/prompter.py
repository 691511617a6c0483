"""Asks the person at the terminal about a call whose rule says `ask`: one question at a time, with the progress bar away."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from host_bridge.control import Asked

TERMINAL = "/dev/tty"


class TerminalQuestions:
    """Asks on the process's terminal; what waits behind another question keeps its own deadline.

    Args:
        paused: Makes a context manager that keeps others from writing to the terminal meanwhile.
    """

    def __init__(self, paused: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext) -> None:
        self._paused = paused
        self._turn = threading.Lock()

    def __call__(self, question: Asked) -> str:
        """Give one of `control.ANSWERS`, or `""` when nobody answered in time."""
        import msgspec

        from host_bridge.policy.prompter import terminal_prompter

        deadline = time.monotonic() + question.timeout_seconds
        if not self._turn.acquire(timeout=max(0.0, question.timeout_seconds)):
            return ""
        try:
            with self._paused():
                discard_typed_ahead()
                left = max(0.0, deadline - time.monotonic())
                return terminal_prompter(msgspec.structs.replace(question, timeout_seconds=left))
        finally:
            self._turn.release()


def discard_typed_ahead() -> None:
    """Forget what was typed before the question was seen: it is no answer to it."""
    with contextlib.suppress(OSError, termios.error):
        terminal = os.open(TERMINAL, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            termios.tcflush(terminal, termios.TCIFLUSH)
        finally:
            os.close(terminal)


def is_attended() -> bool:
    """Whether somebody seems to sit at the terminal. A standard input that is none (cron, CI, a pipe) says no."""
    return sys.stdin is not None and sys.stdin.isatty() and Path(TERMINAL).exists()
