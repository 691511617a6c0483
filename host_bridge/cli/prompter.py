"""Asks the person at the terminal about a call whose rule says `ask`: one question at a time, with the progress bar away."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from host_bridge.control import Answer, Asked

TERMINAL = "/dev/tty"
_KEPT_IDS = 256  # a question can be over before its thread has begun
_LOOK_SECONDS = 0.2  # how often one that waits its turn looks whether it still has to be asked


class TerminalQuestions:
    """Asks on the process's terminal; what waits behind another question keeps its own deadline.

    Args:
        paused: Makes a context manager that keeps others from writing to the terminal meanwhile.
    """

    def __init__(self, paused: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext) -> None:
        self._paused = paused
        self._turn = threading.Lock()
        self._changing = threading.Lock()
        self._open: dict[str, int] = {}  # what is written to end a question, by its id
        self._too_early: collections.deque[str] = collections.deque(maxlen=_KEPT_IDS)

    def __call__(self, question: Asked) -> str | Answer:
        """Give an answer, or `""` when nobody answered while an answer was waited for."""
        deadline = time.monotonic() + question.timeout_seconds
        with self._listening(question.question_id) as over:
            if not self._wait_turn(deadline, over):
                return ""
            try:
                with self._paused():
                    return self._ask(question, max(0.0, deadline - time.monotonic()), over)
            finally:
                self._turn.release()

    def withdraw(self, question_id: str, reason: str) -> None:
        """Take a question off the terminal: nobody waits for the answer any more."""
        with self._changing:
            if (end := self._open.get(question_id)) is not None:
                os.write(end, b"x")
            else:
                self._too_early.append(question_id)

    def _ask(self, question: Asked, seconds: float, over: int) -> str | Answer:
        import msgspec

        from host_bridge.policy.prompter import terminal_prompter

        discard_typed_ahead()
        return terminal_prompter(msgspec.structs.replace(question, timeout_seconds=seconds), over=over)

    def _wait_turn(self, deadline: float, over: int) -> bool:
        while not select.select([over], [], [], 0)[0]:
            left = deadline - time.monotonic()
            if self._turn.acquire(timeout=max(0.0, min(_LOOK_SECONDS, left))):
                if not select.select([over], [], [], 0)[0]:
                    return True
                self._turn.release()
            elif left <= 0:
                return False
        return False

    @contextlib.contextmanager
    def _listening(self, question_id: str) -> Iterator[int]:
        over, end = os.pipe()
        with self._changing:
            self._open[question_id] = end
            if question_id in self._too_early:
                os.write(end, b"x")
        try:
            yield over
        finally:
            with self._changing:
                del self._open[question_id]
            os.close(end)
            os.close(over)


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
