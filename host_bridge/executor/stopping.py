"""How a run is asked to end before its time: by a signal to the process, or by another thread."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

BY_PERSON = "a person stopped the run"
"""The reason when the answer to a question was `stop`."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Set once, and seen by a poll loop at once: its descriptor is readable from then on.

    Attributes:
        reason: Who asked, for people; empty while nobody has.
        signal_number: The signal it came by, None if by none.
        is_urgent: Asked a second time: don't wait for anybody.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.signal_number: int | None = None
        self.is_urgent = False
        # Counted in one step: a signal's handler can interrupt another's at any other, and both would be the first.
        self._requests = itertools.count()
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)

    def __bool__(self) -> bool:
        return bool(self.reason)

    def fileno(self) -> int:
        """The descriptor to poll. What made it readable may be no request: look, and `drain` it."""
        return self._readable

    @property
    def wakeup_descriptor(self) -> int:
        """What to write to so that who polls looks up."""
        return self._writable

    def request(self, reason: str, signal_number: int | None = None) -> None:
        """Ask for the end. May be called from a signal handler and from any thread."""
        if next(self._requests):
            self.is_urgent = True
        self.reason = self.reason or reason
        self.signal_number = self.signal_number or signal_number
        with contextlib.suppress(OSError):  # full (it is readable then) or closed (the run is over)
            os.write(self._writable, b"x")

    def drain(self) -> None:
        """Have the descriptor readable by what comes next only."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._readable, 4096)

    def close(self) -> None:
        """Give the descriptors back."""
        writable, self._writable = self._writable, -1
        os.close(writable)
        os.close(self._readable)


@contextlib.contextmanager
def signals_stop(stop: StopRequest) -> Iterator[None]:
    """Have the signals that end a process end the run instead, so that it can save what it has.

    Only the main thread can hear signals; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.request(f"the executor got {signal.Signals(number).name}", number)

    previous = {}
    # A handler runs between two steps of Python. One whose signal comes just before a poll would wait for the poll's end, if
    # the signal itself didn't write something for it.
    waking = signal.set_wakeup_fd(stop.wakeup_descriptor, warn_on_full_buffer=False)
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if handler is not None and handler is not signal.SIG_IGN:  # nohup's wish is kept
            previous[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(waking)
