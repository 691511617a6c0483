"""A thing that can be polled and woken: how a thread that waits for its reply is told that it is there."""

from __future__ import annotations

import contextlib
import os
import select
import threading


class Waker:
    """One thread's alarm. `wake` may be called from any thread or signal handler, any number of times.

    Attributes:
        descriptor: Readable while woken.
    """

    __slots__ = ("_alone", "_write_descriptor", "descriptor", "poller", "polls")

    def __init__(self) -> None:
        self._write_descriptor = -1
        if hasattr(os, "eventfd"):
            self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._write_descriptor = self.descriptor
        else:
            self.descriptor, self._write_descriptor = os.pipe()
            os.set_blocking(self.descriptor, False)
            os.set_blocking(self._write_descriptor, False)
        self._alone = select.poll()
        self._alone.register(self.descriptor, select.POLLIN)
        self.poller = self._alone
        self.polls: object = None

    def wake(self) -> None:
        """Make `descriptor` readable."""
        with contextlib.suppress(BlockingIOError):  # full: it is readable already
            os.write(self._write_descriptor, b"\1\0\0\0\0\0\0\0")

    def clear(self) -> None:
        """Make it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)

    def wait(self, milliseconds: float) -> None:
        """Wait until woken, at most so long."""
        if self._alone.poll(milliseconds):
            self.clear()

    def wait_for(self, owner: object, descriptors: tuple[int, ...], milliseconds: float) -> None:
        """Wait until woken or until one of `descriptors`, which belong to `owner`, is readable."""
        if self.polls is not owner:
            self.poller = select.poll()
            for descriptor in (self.descriptor, *descriptors):
                self.poller.register(descriptor, select.POLLIN)
            self.polls = owner
        for descriptor, _events in self.poller.poll(milliseconds):
            if descriptor == self.descriptor:
                self.clear()

    def __del__(self) -> None:
        # getattr: interpreter shutdown may find a half-made object
        for descriptor in {getattr(self, "descriptor", -1), getattr(self, "_write_descriptor", -1)} - {-1}:
            with contextlib.suppress(OSError):
                os.close(descriptor)


_local = threading.local()


def thread_waker() -> Waker:
    """Give the calling thread's alarm."""
    waker: Waker | None = getattr(_local, "waker", None)
    if waker is None:
        waker = _local.waker = Waker()
    return waker


def after_fork_in_child() -> None:
    """Forget the parent's alarms: their descriptors are shared with it."""
    global _local
    _local = threading.local()
