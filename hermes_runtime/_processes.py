"""Commands that run in the background: their handle, their states, and their output."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds
from hermes_runtime._calls import Operation
from hermes_runtime._commands import DEFAULT_SECONDS, SETTLE_SECONDS, one_line
from hermes_runtime._errors import InvalidToolRequestError, ToolTimeoutError
from hermes_runtime._listing import Listing, Record
from hermes_runtime._markup import details
from hermes_runtime._results import convert
from hermes_runtime._running import run

LOG_BYTES = 1 * 2**20
WATCH_SECONDS = 0.2  # between two looks at the output of a background process
QUICK_SECONDS = 30.0


class ProcessState(Record, frozen=True):
    """How a background process stands. `exit_code` is None while it runs."""

    session_id: str
    command: str = ""
    state: str = "running"
    pid: int = 0
    exit_code: int | None = None
    duration_seconds: float = 0.0
    output_bytes: int = 0
    matches: tuple[Any, ...] = ()
    failure: str = ""

    @property
    def running(self) -> bool:
        """Whether it hasn't ended."""
        return self.state == "running"


class ProcessLog(Record, frozen=True):
    """A piece of a background process's output.

    Attributes:
        data: The bytes; `output` is their text.
        offset: Where they really begin, which is later than asked when earlier output is not kept any more.
        next_offset: Where the next piece begins.
    """

    state: ProcessState
    data: bytes
    offset: int
    next_offset: int

    @property
    def output(self) -> str:
        """The piece as text. Bytes that aren't UTF-8, also half a character at an end, become U+FFFD."""
        return self.data.decode("utf-8", "replace")

    def __str__(self) -> str:
        return self.output

    def _repr_html_(self) -> str:
        place = f"bytes {self.offset:,} to {self.next_offset:,} of {self.state.output_bytes:,}"
        return details(f"{self.state.session_id} ({self.state.state}): {place}", self.output)


class ProcessList(Listing[ProcessState]):
    """The session's background processes."""

    _columns = ("session_id", "state", "exit_code", "command")


class Process:
    """A command that runs in the background on the host, until it ends, is killed, or the session ends.

    Iterating gives its output line by line until it ends, for at most `DEFAULT_SECONDS`; see `lines`.

    Attributes:
        session_id: What `process(…)` knows it by.
        pid: Its process id on the host.
        command: The command line.
    """

    def __init__(self, session_id: str, pid: int = 0, command: str = "") -> None:
        self.session_id = session_id
        self.pid = pid
        self.command = command

    def poll(self) -> ProcessState:
        """Give its state now."""
        return self._do("poll")

    def wait(self, timeout: float = DEFAULT_SECONDS) -> ProcessState:
        """Wait until it ends.

        Raises:
            ToolTimeoutError: It still runs after `timeout` seconds; it goes on running.
        """
        state = self._do("wait", timeout=timeout)
        if state.running:
            raise ToolTimeoutError(f"{self!r} still runs after {timeout:g} s; wait again, or kill() it", result=state)
        return state

    def read(self, offset: int = 0, limit: int | None = None) -> ProcessLog:
        """Give its output, both streams together, from byte `offset` on (from the end if negative)."""
        log: ProcessLog = run(process_operation("log", self.session_id, offset=offset, limit=limit))
        return log

    log = read

    def lines(self, timeout: float = DEFAULT_SECONDS) -> Iterator[str]:
        """Give its output line by line, with line ends, as it comes, until it ends.

        Raises:
            ToolTimeoutError: It still runs after `timeout` seconds.
        """
        deadline = time.monotonic() + check_seconds(timeout)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest, offset = "", 0
        while True:
            log = self.read(offset, LOG_BYTES)
            offset = log.next_offset
            at_end = not log.data and not log.state.running and offset >= log.state.output_bytes
            *lines, rest = (rest + decoder.decode(log.data, at_end)).split("\n")
            for line in lines:
                yield line + "\n"
            if at_end:
                break
            if time.monotonic() >= deadline:
                raise ToolTimeoutError(f"{self!r} still runs after {timeout:g} s", result=log.state)
            if not log.data:
                self._do("wait", timeout=WATCH_SECONDS)
        if rest:
            yield rest

    def __iter__(self) -> Iterator[str]:
        return self.lines()

    def write(self, data: str) -> ProcessState:
        """Write text to its standard input."""
        return self._do("write", data=data)

    def submit(self, data: str) -> ProcessState:
        """Write a line to its standard input: `data` and a newline."""
        return self._do("submit", data=data)

    def close(self) -> ProcessState:
        """Close its standard input."""
        return self._do("close")

    def kill(self) -> ProcessState:
        """End it, with everything it started."""
        return self._do("kill")

    def _do(self, action: str, **arguments: Any) -> ProcessState:
        state: ProcessState = run(process_operation(action, self.session_id, **arguments))
        return state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Process) and other.session_id == self.session_id

    def __hash__(self) -> int:
        return hash(self.session_id)

    def __repr__(self) -> str:
        return f"<Process {self.session_id} (pid {self.pid}): {one_line(self.command)!r}>"


class _Started(msgspec.Struct, frozen=True):
    session_id: str
    pid: int = 0


class StartOperation(Operation[Process]):
    """Starts a command in the background."""

    __slots__ = ()

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> Process:
        """Give its handle."""
        started = convert(result, _Started, "terminal")
        return Process(started.session_id, started.pid, self.arguments["command"])


class ProcessOperation(Operation[Any]):
    """Does something with background processes."""

    __slots__ = ()

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> ProcessState | ProcessLog | ProcessList:
        """Give what the action gives."""
        action = self.arguments["action"]
        if action == "list":
            states = convert(
                result.get("processes") if isinstance(result, dict) else result, list[ProcessState], "process"
            )
            return ProcessList(states)
        state = convert(result, ProcessState, "process")
        if action != "log":
            return state
        data = bytes(bulk.get("output", b""))
        offset = result.get("offset", self.arguments["offset"])
        return ProcessLog(state, data, offset, result.get("next_offset", offset + len(data)))


def process_operation(
    action: str,
    session_id: str | None = None,
    data: str | None = None,
    timeout: float | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> Operation[Any]:
    """Look after a background process; see `hermes.process`."""
    seconds = QUICK_SECONDS
    if timeout is not None:
        seconds = check_seconds(timeout)
    elif action == "wait":
        raise InvalidToolRequestError("process('wait') needs a timeout: give the seconds to wait at most")
    arguments: dict[str, Any] = {"action": action, "session_id": session_id, "offset": offset, "limit": limit}
    arguments |= {"timeout": timeout} if timeout is not None else {}
    arguments |= {"data": data} if data is not None else {}
    return ProcessOperation("process", arguments, seconds + SETTLE_SECONDS)
