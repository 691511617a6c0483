"""The worker's side of what is said about a job while it is under way: `jobs` has who says what."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator

from host_bridge.tools.web.jobs import Answer, Part, Wanted
from host_bridge.tools.web.problems import WebTimeoutError


class Talk:
    """What is said about one job besides the job and its answer.

    Args:
        job: Which.
        seconds: How long it may take.
        say: Tells the session something; waits while the session takes nothing.
    """

    def __init__(self, job: int, seconds: float, say: Callable[[Answer], None]) -> None:
        self._job = job
        self._deadline = time.monotonic() + seconds
        self._parts: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.say = say

    def take(self, part: Part) -> None:
        """Take what the session says, on the thread that reads it."""
        self._parts.put(part.data)

    def parts(self, size: int) -> Iterator[bytes]:
        """Give the request's body, each part when it is wanted.

        Raises:
            WebTimeoutError: The session gave none in time.
        """
        while size > 0:
            self.say(Wanted(job=self._job))
            try:
                part = self._parts.get(timeout=max(0.0, self._deadline - time.monotonic()))
            except queue.Empty:
                raise WebTimeoutError("the request's body was not there in time") from None
            size -= len(part)
            yield part
