"""Waiting in an event loop: how a task is woken, and how a loop takes in what arrives while its tasks wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref

from hermes_runtime._client import Client
from hermes_runtime._deferral import Deferral
from hermes_runtime._transport import Link


class LoopWaiter:
    """Lets a task of one event loop wait until a call is woken, from whatever thread."""

    __slots__ = ("_future", "_loop", "_thread", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    def wake(self) -> None:
        """See `Waiter`."""
        if threading.get_ident() == self._thread:
            self._set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits in it any more
                self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait until woken, at most so long."""
        if not self._woken:
            self._future = self._loop.create_future()
            alarm = self._loop.call_later(max(0.0, seconds), self._set)
            try:
                await self._future
            finally:
                alarm.cancel()
                self._future = None
        self._woken = False


class Watch:
    """One event loop's watch over a link: takes in what arrives while calls of the loop wait.

    It watches copies of the link's descriptors, because the link may be closed by another thread, and its numbers be given
    to another file, while this loop still has them. It doesn't keep the loop alive, and must be used in its thread.
    """

    def __init__(self) -> None:
        self._client: Client | None = None
        self._link: Link | None = None
        self._descriptors: list[int] = []
        self.waiting = 0

    def over(self, client: Client, link: Link | None) -> None:
        """Watch this link from now on."""
        if link is self._link:
            return
        self.stop()
        self._client, self._link = client, link
        if link is not None and link.failure is None:
            loop = asyncio.get_running_loop()
            self._descriptors = [os.dup(descriptor) for descriptor in link.descriptors]
            for descriptor in self._descriptors:
                loop.add_reader(descriptor, self._take_in)

    def stop(self) -> None:
        """Watch nothing."""
        loop = asyncio.get_running_loop()
        for descriptor in self._descriptors:
            loop.remove_reader(descriptor)
        self.close()

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        self._client = self._link = None

    def __del__(self) -> None:
        self.close()  # the loop is gone, and its selector with it

    def _take_in(self) -> None:
        if self._client is None or self._link is None or self._link.failure is not None or not self.waiting:
            self.stop()  # nobody here waits: what arrives is somebody else's, and the next call watches again
            return
        with Deferral():
            self._client.drain(self._link)


class Watches:
    """The watches of all event loops of the process."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, loop: asyncio.AbstractEventLoop) -> Watch:
        """Give a loop's watch. Closed loops have no use for theirs any more."""
        with self._lock:
            watch = self._by_loop.get(loop)
            if watch is None:
                for other in [other for other in self._by_loop if other.is_closed()]:
                    self._by_loop.pop(other).close()
                watch = self._by_loop[loop] = Watch()
            return watch


_watches = Watches()


def watch_of(loop: asyncio.AbstractEventLoop) -> Watch:
    """Give an event loop's watch."""
    return _watches.of(loop)


def _after_fork_in_child() -> None:
    global _watches
    _watches = Watches()


os.register_at_fork(after_in_child=_after_fork_in_child)
