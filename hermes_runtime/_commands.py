"""Commands: the result of one that has ended, and the handle of one that runs in the background."""

from __future__ import annotations

import codecs
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hermes_protocol.frames import Frame
from hermes_protocol.messages import Welcome
from hermes_runtime._calls import Operation, check_seconds
from hermes_runtime._client import run
from hermes_runtime._errors import HermesError, InvalidToolRequestError, ToolCommandError, ToolTimeoutError
from hermes_runtime._results import Listing, Record, convert, html_details

WINDOW_BYTES = 1 * 2**20
SETTLE_SECONDS = 15.0  # beyond a command's own time: the host tells it to end, and may have to kill it
DEFAULT_SECONDS = 180.0
LOG_BYTES = 1 * 2**20
WATCH_SECONDS = 0.2  # between two looks at the output of a background process
QUICK_SECONDS = 30.0

_STREAMS = ("stdout", "stderr")


class TerminalResult:
    """How a command ended, and what it wrote.

    Attributes:
        command: The command line.
        exit_code: 0 for success; 128 + n when signal n killed it; None when it isn't known (a timeout).
        duration_seconds: How long it ran.
        stdout_bytes: How many bytes it wrote there; `stderr_bytes` likewise.
        stdout_omitted: How many of them are not kept here; `stderr_omitted` likewise.
    """

    def __init__(
        self,
        command: str,
        parts: list[tuple[str, bytes]],
        *,
        exit_code: int | None = None,
        duration_seconds: float = 0.0,
        stdout_bytes: int = 0,
        stderr_bytes: int = 0,
        stdout_omitted: int = 0,
        stderr_omitted: int = 0,
    ) -> None:
        self.command = command
        self.exit_code = exit_code
        self.duration_seconds = duration_seconds
        self.stdout_bytes = stdout_bytes
        self.stderr_bytes = stderr_bytes
        self.stdout_omitted = stdout_omitted
        self.stderr_omitted = stderr_omitted
        self._parts = parts

    @property
    def output(self) -> str:
        """Both streams as text, in the order in which they arrived."""
        decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in _STREAMS}
        texts = [decoders[stream].decode(data) for stream, data in self._parts]
        return "".join(texts) + "".join(decoder.decode(b"", True) for decoder in decoders.values())

    @property
    def stdout(self) -> str:
        """What it wrote to its standard output, as text. Bytes that aren't UTF-8 become U+FFFD."""
        return self.stdout_data.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """What it wrote to its standard error, as text. Bytes that aren't UTF-8 become U+FFFD."""
        return self.stderr_data.decode("utf-8", "replace")

    @property
    def stdout_data(self) -> bytes:
        """Its standard output, byte by byte."""
        return b"".join(data for stream, data in self._parts if stream == "stdout")

    @property
    def stderr_data(self) -> bytes:
        """Its standard error, byte by byte."""
        return b"".join(data for stream, data in self._parts if stream == "stderr")

    @property
    def omitted_bytes(self) -> int:
        """How many bytes of output are not kept here. Where they are missing a line says so."""
        return self.stdout_omitted + self.stderr_omitted

    @property
    def truncated(self) -> bool:
        """Whether output is missing."""
        return self.omitted_bytes > 0

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exit_code == 0

    def check(self) -> TerminalResult:
        """Give the result itself if the command succeeded.

        Raises:
            ToolCommandError: It didn't; the text ends with the last lines it wrote.
        """
        if self.ok:
            return self
        last = "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-10:])
        raise ToolCommandError(
            f"the command ended with exit code {self.exit_code}: {_one_line(self.command)}"
            + (f"\n{last}" if last else ""),
            result=self,
        )

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        counts = ("exit_code", "duration_seconds", "stdout_bytes", "stderr_bytes", "stdout_omitted", "stderr_omitted")
        plain = {"command": self.command, **{name: getattr(self, name) for name in counts}}
        return {**plain, "stdout": self.stdout, "stderr": self.stderr}

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, TerminalResult) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a list

    def __repr__(self) -> str:
        sizes = f"{self.stdout_bytes:,} B stdout, {self.stderr_bytes:,} B stderr"
        omitted = f", {self.omitted_bytes:,} B omitted" if self.truncated else ""
        return (
            f"<TerminalResult exit_code={self.exit_code} in {self.duration_seconds:.3g} s, {sizes}{omitted}: "
            f"{_one_line(self.command)!r}>"
        )

    def _repr_html_(self) -> str:
        return html_details(repr(self), self.output)


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
        return f"<Process {self.session_id} (pid {self.pid}): {_one_line(self.command)!r}>"


# operations ------------------------------------------------------------------------------------------------------------


class _Ended(msgspec.Struct, frozen=True):
    exit_code: int
    duration_seconds: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_omitted: int = 0
    stderr_omitted: int = 0


class _Started(msgspec.Struct, frozen=True):
    session_id: str
    pid: int = 0


class CommandOperation(Operation[TerminalResult]):
    """Runs a command, passing its output on while it runs."""

    __slots__ = ("_decoders", "_parts")

    def __init__(self, arguments: dict[str, Any], seconds: float, *, stream: bool) -> None:
        super().__init__("terminal", arguments, seconds + SETTLE_SECONDS, window_bytes=WINDOW_BYTES)
        self._parts: list[tuple[str, bytes]] = []
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in _STREAMS} if stream else {}

    def take(self, stream: str, data: Frame) -> None:
        """Keep the bytes, and show them where the cell shows its own output."""
        self._parts.append((stream, bytes(data)))
        self._show(stream, self._parts[-1][1])

    def _show(self, stream: str, data: bytes, *, final: bool = False) -> None:
        decoder = self._decoders.get(stream)
        if decoder is not None and (text := decoder.decode(data, final)):
            # Looked up now: inside a cell, and in its threads, this is where the notebook collects output.
            (sys.stdout if stream == "stdout" else sys.stderr).write(text)

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> TerminalResult:
        """Put together what was streamed and what came at the end."""
        ended = convert(result, _Ended, "terminal")
        for stream in _STREAMS:
            omitted = getattr(ended, f"{stream}_omitted")
            if omitted:
                note = f"\n[… {omitted:,} bytes of {stream} omitted …]\n".encode()
                self.take(stream, note + bytes(bulk.get(f"{stream}_tail", b"")))
            self._show(stream, b"", final=True)
        return TerminalResult(self.arguments["command"], self._parts, **msgspec.structs.asdict(ended))

    def fail(self, error: HermesError, welcome: Welcome | None) -> HermesError:
        """Give a timeout what there was until then."""
        error = super().fail(error, welcome)
        if isinstance(error, ToolTimeoutError):
            sizes = {f"{name}_bytes": sum(len(d) for s, d in self._parts if s == name) for name in _STREAMS}
            error.result = TerminalResult(
                self.arguments["command"], self._parts, duration_seconds=self.arguments["timeout"], **sizes
            )
        return error


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


def _one_line(command: str) -> str:
    text = " ".join(command.split())
    return text if len(text) <= 100 else f"{text[:99]}…"
