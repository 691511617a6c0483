"""The tools for use with `await`: the same names and parameters as in `hermes`, for cells with top-level await.

    results = await asyncio.gather(*(hermes.aio.terminal(f"ping -c1 {host}") for host in hosts))

Calls of one event loop, of several, and of threads share the process's connection and run at the same time. Cancelling the
task that awaits a call cancels the call on the host.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hermes_runtime import _processes, _tools
from hermes_runtime._call_site import call_site
from hermes_runtime._calls import Call, Operation
from hermes_runtime._client import current
from hermes_runtime._commands import DEFAULT_SECONDS
from hermes_runtime._deferral import Deferral
from hermes_runtime._errors import ToolTimeoutError
from hermes_runtime._loops import LoopWaiter, watch_of
from hermes_runtime._narrow import narrow
from hermes_runtime._processes import ProcessLog, ProcessState, process_operation
from hermes_runtime._running import consume, finish

R_co = TypeVar("R_co", covariant=True)


async def run(operation: Operation[R_co]) -> R_co:
    """Do an operation and await its result.

    Raises:
        HermesError: Whatever ended it otherwise.
        asyncio.CancelledError: The task was cancelled, and the bridge told to stop the call.
    """
    __tracebackhide__ = True
    loop = asyncio.get_running_loop()
    watch = watch_of(loop)
    client = current()
    waiter = LoopWaiter(loop)
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

    def __init__(self, process: _processes.Process) -> None:
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
        log: ProcessLog = await run(process_operation("log", self.session_id, offset=offset, limit=limit))
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
        state: ProcessState = await run(process_operation(action, self.session_id, **arguments))
        return state

    def __repr__(self) -> str:
        return repr(self._process)


_terminal = _awaitable(_tools.terminal)


@functools.wraps(_tools.terminal)
async def terminal(*args: Any, **kwargs: Any) -> Any:
    """Run a command line on the host; see `hermes.terminal`."""
    __tracebackhide__ = True
    result = await _terminal(*args, **kwargs)
    return Process(result) if isinstance(result, _processes.Process) else result


process = _awaitable(_tools.process)
read_file = _awaitable(_tools.read_file)
read_bytes = _awaitable(_tools.read_bytes)
write_file = _awaitable(_tools.write_file)
patch = _awaitable(_tools.patch)
list_files = _awaitable(_tools.list_files)
search_files = _awaitable(_tools.search_files)
web_search = _awaitable(_tools.web_search)
web_extract = _awaitable(_tools.web_extract)
http_request = _awaitable(_tools.http_request)
call = _awaitable(_tools.call)
tools = _awaitable(_tools.tools)
budget = _awaitable(_tools.budget)
status = _awaitable(_tools.status)

__all__ = [
    "Process",
    "budget",
    "call",
    "http_request",
    "list_files",
    "narrow",
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
