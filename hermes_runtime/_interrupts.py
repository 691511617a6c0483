"""Making an interrupt reach a kernel whose event loop is asleep.

Python runs its signal handlers between two instructions of the main thread. While a cell awaits at top level, the main
thread is inside `select()`, so nothing runs until something else wakes the loop: an interrupt of `await asyncio.sleep(60)`
was seen to do nothing for a minute. A descriptor that the system's signal handler writes to, and that the loop watches,
wakes it at once.
"""

from __future__ import annotations

import asyncio
import signal
import socket


class SignalWakeup:
    """Wakes an event loop whenever a signal arrives, until the process ends. Make it and use it in the main thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._loop = loop
        loop.add_reader(self._reader.fileno(), self._drain)

    def arm(self) -> None:
        """Have signals wake the loop, unless somebody else already has them wake something.

        A cell that calls `loop.add_signal_handler` has asyncio do the same by its own descriptor: that one stays.
        """
        # A full buffer means the loop is about to wake anyway.
        other = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if other not in (-1, self._writer.fileno()):
            signal.set_wakeup_fd(other, warn_on_full_buffer=False)

    def _drain(self) -> None:
        # Which signal it was is the Python handler's business, and it runs as soon as this thread is awake.
        try:
            while self._reader.recv(4096):
                pass
        except (BlockingIOError, InterruptedError):
            return
