"""Signals that end a program: what it does then, and the one code it exits with.

While a notebook runs, they end the run (`executor.stopping`), which says so in its result. At all other times they raise, as
Ctrl-C does by itself, so that what was begun is cleared away on the way out.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

_RAISING = (signal.SIGTERM, signal.SIGHUP)


class EndedBySignal(SystemExit):
    """The program was told to end. Unless somebody says it better, it ends with the code that shells give for it.

    Attributes:
        signal_number: The signal it came by.
        reason: What was ended, for people.
    """

    def __init__(self, signal_number: int, reason: str = "") -> None:
        super().__init__(exit_code(signal_number))
        self.signal_number = signal_number
        self.reason = reason or f"it got {signal.Signals(signal_number).name}"


def exit_code(signal_number: int | None) -> int:
    """Give the code for a signal; what nobody sent a signal for, a person ended otherwise, which counts as Ctrl-C."""
    return 128 + (signal_number or signal.SIGINT)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Have the signals that would end the process at once raise `EndedBySignal`, once: a second one doesn't wait.

    What is ignored stays so (nohup's wish), and whoever has a handler keeps it. Only the main thread can hear signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: FrameType | None) -> NoReturn:
        for handled in replaced:
            signal.signal(handled, signal.SIG_DFL)
        raise EndedBySignal(number)

    replaced = [number for number in _RAISING if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def heed_cancellation(result: Mapping[str, Any], *, what: str = "") -> None:
    """End what a run was only a part of, if the run was cancelled: whoever ended it meant all.

    Args:
        result: What the run gave (`NotebookExecutor.execute`).
        what: What was ended, and what there is of it.

    Raises:
        KeyboardInterrupt: By Ctrl-C, or by a person's answer.
        EndedBySignal: By another signal.
    """
    if result.get("state") == "cancelled":
        raise ending(result["signal"], "; ".join(filter(None, (str(result["error"]), what))))


def ending(signal_number: int | None, reason: str) -> BaseException:
    """Give what to raise for a signal, or for what a person ended otherwise."""
    if signal_number in (None, signal.SIGINT):
        return KeyboardInterrupt(reason)
    return EndedBySignal(signal_number, reason)
