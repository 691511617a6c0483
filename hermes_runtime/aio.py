"""The tools for use with `await`: the same names and parameters as in `hermes`, for cells with top-level await.

    results = await asyncio.gather(*(hermes.aio.terminal(f"ping -c1 {host}") for host in hosts))

Calls of one event loop, of several, and of threads share the process's connection and run at the same time. Cancelling the
task that awaits a call cancels the call on the host.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from hermes_runtime import _commands, _tools
from hermes_runtime._call_site import call_site
from hermes_runtime._calls import Call, Operation
from hermes_runtime._client import Client, consume, current, finish
from hermes_runtime._commands import DEFAULT_SECONDS, ProcessLog, ProcessState
from hermes_runtime._deferral import Deferral
from hermes_runtime._errors import ToolTimeoutError
from hermes_runtime._transport import Link

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class _LoopWaiter:
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
        elif not self._loop.is_closed():
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


class _Watch:
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


class _Watches:
    """The watches of all event loops of the process."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, loop: asyncio.AbstractEventLoop) -> _Watch:
        """Give a loop's watch. Closed loops have no use for theirs any more."""
        with self._lock:
            watch = self._by_loop.get(loop)
            if watch is None:
                for other in [other for other in self._by_loop if other.is_closed()]:
                    self._by_loop.pop(other).close()
                watch = self._by_loop[loop] = _Watch()
            return watch


_watches = _Watches()


def _after_fork_in_child() -> None:
    global _watches
    _watches = _Watches()


os.register_at_fork(after_in_child=_after_fork_in_child)


async def run(operation: Operation[R_co]) -> R_co:
    """Do an operation and await its result.

    Raises:
        HermesError: Whatever ended it otherwise.
        asyncio.CancelledError: The task was cancelled, and the bridge told to stop the call.
    """
    __tracebackhide__ = True
    loop = asyncio.get_running_loop()
    watch = _watches.of(loop)
    client = current()
    waiter = _LoopWaiter(loop)
    call = Call(operation, waiter, time.monotonic() + operation.timeout_seconds, call_site(), blocking=False)
    watch.waiting += 1
    try:
        while True:
            with Deferral():
                ready = client.step(call)
            if not ready:
                watch.over(client, call.link)
                await waiter.wait(call.wait_until - time.monotonic())
                continue
            consume(call)
            if call.is_done:
                break
    except BaseException:
        with Deferral():
            client.abandon(call)
        raise
    finally:
        watch.waiting -= 1
    value: R_co = finish(call, client)
    return value


class AwaitableTool(Protocol[P, R_co]):
    """A tool as a coroutine function."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R_co]:
        """Do it; await the result."""


def _awaitable(tool: Any) -> Any:
    build: Callable[..., Operation[Any]] = tool.operation

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return await run(build(*args, **kwargs))

    return call


class Process:
    """A command that runs in the background on the host; as `hermes.Process`, with methods to await.

    Attributes:
        session_id: What `process(…)` knows it by.
        pid: Its process id on the host.
        command: The command line.
    """

    def __init__(self, process: _commands.Process) -> None:
        self._process = process
        self.session_id = process.session_id
        self.pid = process.pid
        self.command = process.command

    async def poll(self) -> ProcessState:
        """Give its state now."""
        return await self._do("poll")

    async def wait(self, timeout: float = DEFAULT_SECONDS) -> ProcessState:
        """Wait until it ends.

        Raises:
            ToolTimeoutError: It still runs after `timeout` seconds; it goes on running.
        """
        state = await self._do("wait", timeout=timeout)
        if state.running:
            raise ToolTimeoutError(f"{self!r} still runs after {timeout:g} s; wait again, or kill() it", result=state)
        return state

    async def read(self, offset: int = 0, limit: int | None = None) -> ProcessLog:
        """Give its output, both streams together, from byte `offset` on (from the end if negative)."""
        log: ProcessLog = await run(_commands.process_operation("log", self.session_id, offset=offset, limit=limit))
        return log

    log = read

    async def write(self, data: str) -> ProcessState:
        """Write text to its standard input."""
        return await self._do("write", data=data)

    async def submit(self, data: str) -> ProcessState:
        """Write a line to its standard input: `data` and a newline."""
        return await self._do("submit", data=data)

    async def close(self) -> ProcessState:
        """Close its standard input."""
        return await self._do("close")

    async def kill(self) -> ProcessState:
        """End it, with everything it started."""
        return await self._do("kill")

    async def _do(self, action: str, **arguments: Any) -> ProcessState:
        state: ProcessState = await run(_commands.process_operation(action, self.session_id, **arguments))
        return state

    def __repr__(self) -> str:
        return repr(self._process)


_terminal = _awaitable(_tools.terminal)


@functools.wraps(_tools.terminal)
async def terminal(*args: Any, **kwargs: Any) -> Any:
    """Run a command line on the host; see `hermes.terminal`."""
    __tracebackhide__ = True
    result = await _terminal(*args, **kwargs)
    return Process(result) if isinstance(result, _commands.Process) else result


process = _awaitable(_tools.process)
read_file = _awaitable(_tools.read_file)
read_bytes = _awaitable(_tools.read_bytes)
write_file = _awaitable(_tools.write_file)
patch = _awaitable(_tools.patch)
list_files = _awaitable(_tools.list_files)
search_files = _awaitable(_tools.search_files)
web_search = _awaitable(_tools.web_search)
web_extract = _awaitable(_tools.web_extract)
call = _awaitable(_tools.call)
tools = _awaitable(_tools.tools)
budget = _awaitable(_tools.budget)
status = _awaitable(_tools.status)

__all__ = [
    "Process",
    "budget",
    "call",
    "list_files",
    "patch",
    "process",
    "read_bytes",
    "read_file",
    "search_files",
    "status",
    "terminal",
    "tools",
    "web_extract",
    "web_search",
    "write_file",
]


def __getattr__(name: str) -> Any:
    from hermes_runtime import _discovery

    return _awaitable(_discovery.find_tool(name, __name__))
