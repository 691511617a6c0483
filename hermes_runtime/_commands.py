"""Commands that end with their call: running one, and its result."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from hermes_protocol.frames import Frame
from hermes_protocol.messages import SecretMark, Welcome
from hermes_runtime._calls import Operation
from hermes_runtime._errors import HermesError, ToolCommandError, ToolTimeoutError
from hermes_runtime._markup import details
from hermes_runtime._results import convert

WINDOW_BYTES = 1 * 2**20
SETTLE_SECONDS = 15.0  # beyond a command's own time: the host tells it to end, and may have to kill it
DEFAULT_SECONDS = 180.0

_STREAMS = ("stdout", "stderr")


class TerminalResult:
    """How a command ended, and what it wrote.

    Attributes:
        command: The command line.
        exit_code: 0 for success; 128 + n when signal n killed it; None when it isn't known (a timeout).
        duration_seconds: How long it ran.
        stdout_bytes: How many bytes it wrote there; `stderr_bytes` likewise.
        stdout_omitted: How many of them are not kept here; `stderr_omitted` likewise.
        confinement: Where it ran: `"host"`, or `"workspace"` for a sandbox that has the workspace.
        network: What network a sandbox gave it: `"none"`, or `"full"` for the host's; empty where it ran on the host.
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
        confinement: str = "",
        network: str = "",
    ) -> None:
        self.command = command
        self.exit_code = exit_code
        self.duration_seconds = duration_seconds
        self.stdout_bytes = stdout_bytes
        self.stderr_bytes = stderr_bytes
        self.stdout_omitted = stdout_omitted
        self.stderr_omitted = stderr_omitted
        self.confinement = confinement
        self.network = network
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
            f"the command ended with exit code {self.exit_code}: {one_line(self.command)}"
            + (f"\n{last}" if last else ""),
            result=self,
        )

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        facts = (
            "exit_code",
            "duration_seconds",
            "stdout_bytes",
            "stderr_bytes",
            "stdout_omitted",
            "stderr_omitted",
            "confinement",
            "network",
        )
        plain = {"command": self.command, **{name: getattr(self, name) for name in facts}}
        return {**plain, "stdout": self.stdout, "stderr": self.stderr}

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, TerminalResult) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # holds a list

    def __repr__(self) -> str:
        sizes = f"{self.stdout_bytes:,} B stdout, {self.stderr_bytes:,} B stderr"
        omitted = f", {self.omitted_bytes:,} B omitted" if self.truncated else ""
        return (
            f"<TerminalResult exit_code={self.exit_code} in {self.duration_seconds:.3g} s, {sizes}{omitted}: "
            f"{one_line(self.command)!r}>"
        )

    def _repr_html_(self) -> str:
        ended = "no exit code" if self.exit_code is None else f"exit code {self.exit_code}"
        count = self.output.rstrip("\n").count("\n") + 1
        lines = ("1 line" if count == 1 else f"{count:,} lines") if self._parts else "no output"
        return details(f"{ended} in {self.duration_seconds:.3g} s, {lines}: {one_line(self.command)}", self.output)


class _Ended(msgspec.Struct, frozen=True):
    exit_code: int
    duration_seconds: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_omitted: int = 0
    stderr_omitted: int = 0
    confinement: str = ""
    network: str = ""


class CommandOperation(Operation[TerminalResult]):
    """Runs a command, passing its output on while it runs."""

    __slots__ = ("_decoders", "_parts")

    def __init__(
        self, arguments: dict[str, Any], seconds: float, *, stream: bool, secrets: tuple[SecretMark, ...] = ()
    ) -> None:
        super().__init__("terminal", arguments, seconds + SETTLE_SECONDS, window_bytes=WINDOW_BYTES, secrets=secrets)
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
            sizes: dict[str, Any] = {
                f"{name}_bytes": sum(len(d) for s, d in self._parts if s == name) for name in _STREAMS
            }
            error.result = TerminalResult(
                self.arguments["command"], self._parts, duration_seconds=self.arguments["timeout"], **sizes
            )
        return error


def one_line(command: str) -> str:
    """Give a command as one line, cut where it is long."""
    text = " ".join(command.split())
    return text if len(text) <= 100 else f"{text[:99]}…"
