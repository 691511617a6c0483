"""Waiting for jupyter_client's coroutines from code that is not asynchronous, wherever that runs.

jupyter_client's own way leaves an event loop behind in every thread it was used from.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Callable
from typing import Any


class OwnLoop:
    """An event loop that runs only while something is waited for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def wait_for(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function, asynchronous or not, and give its result."""

        async def call() -> Any:
            result = function(*arguments, **options)
            return await result if inspect.isawaitable(result) else result

        if not _is_inside_a_loop():
            return self._loop.run_until_complete(call())
        # Called from a coroutine, as in a notebook that runs notebooks: this thread has a loop running already.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(self._loop.run_until_complete, call()).result()

    def close(self) -> None:
        """End it, and the threads it started."""
        if not self._loop.is_closed():
            self.wait_for(self._loop.shutdown_default_executor)
            self._loop.close()


def _is_inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
