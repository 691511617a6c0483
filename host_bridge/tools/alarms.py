"""Actions at a time, for when the thread that would do them may be waiting elsewhere.

A command's time passes even while its output waits for a kernel that reads nothing, so the end of a command can't depend on
the thread that forwards that output.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Alarm:
    """One action to come. Cancelling it is free and always possible."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Have the action not done, unless it has begun."""
        self._action = None

    def ring(self) -> None:
        """Do the action, unless cancelled."""
        if (action := self._action) is not None:
            action()


class Alarms:
    """A clock with one thread, started when there is something to wait for. Actions must be quick and must not raise."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def after(self, seconds: float, action: Callable[[], None]) -> Alarm:
        """Have `action` done in so many seconds, on the clock's thread."""
        alarm = Alarm(action)
        when = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._due, (when, next(self._order), alarm))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
                self._thread.start()
            elif self._due[0][2] is alarm:  # the clock sleeps until something later
                self._changed.notify()
        return alarm

    def close(self) -> None:
        """Stop the clock; what was due later is never done."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()

    def _run(self) -> None:
        while (alarm := self._next()) is not None:
            alarm.ring()

    def _next(self) -> Alarm | None:
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
