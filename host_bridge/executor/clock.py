"""The time a run may take, which stands still while a person is asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class RunClock:
    """Seconds since the run began, without those spent waiting for a person. Any thread may pause it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._started = now()
        self._paused_seconds = 0.0
        self._pauses = 0
        self._paused_at = 0.0

    def seconds(self) -> float:
        """The run's own time."""
        with self._lock:
            now = self._paused_at if self._pauses else self._now()
            return now - self._started - self._paused_seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock; pauses that overlap count once."""
        with self._lock:
            if not self._pauses:
                self._paused_at = self._now()
            self._pauses += 1
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
                if not self._pauses:
                    self._paused_seconds += self._now() - self._paused_at
