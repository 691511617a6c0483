"""Files of the host: reading them whole, in ranges, and as a file object that never holds more than a piece."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import IO, Any, Generic, Literal, TypeVar, overload

import msgspec

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds
from hermes_runtime._calls import Operation
from hermes_runtime._errors import InvalidToolRequestError, ToolFailedError
from hermes_runtime._results import convert
from hermes_runtime._running import run

R = TypeVar("R")

WINDOW_BYTES = 8 * 2**20  # hides the round trip of a credit behind several chunks of 1 MiB
BLOCK_BYTES = 1 * 2**20  # what an open file reads ahead: larger blocks were no faster
TRANSFER_SECONDS = 600.0


class FileFacts(msgspec.Struct, frozen=True):
    """What the host says about a file it has read."""

    size_bytes: int
    version: str
    returned_bytes: int
    truncated: bool = False


class ReadOperation(Operation[R], Generic[R]):
    """Reads a range of a file and makes something of its bytes.

    Args:
        make: Given the content, as a buffer nobody else uses, and the file's facts.
    """

    __slots__ = ("_body", "_make")

    def __init__(
        self,
        path: str,
        unit: str,
        offset: int,
        limit: int | None,
        version: str | None,
        seconds: float,
        make: Callable[[Any, FileFacts], R],
    ) -> None:
        arguments: dict[str, Any] = {"path": path, "unit": unit, "offset": offset, "limit": limit}
        if version is not None:
            arguments["version"] = version
        super().__init__("read_file", arguments, seconds, window_bytes=WINDOW_BYTES)
        self._body: io.BytesIO | None = None
        self._make = make

    def take(self, stream: str, data: Frame) -> None:
        """Append to one growing buffer, which is handed out at the end without another copy."""
        if self._body is None:
            self._body = io.BytesIO()
        self._body.write(data)

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> R:
        """Check that all bytes have come, and make the value."""
        facts = convert(result, FileFacts, "read_file")
        content: Any = bulk.get("content", b"")
        if self._body is not None:
            content = self._body.getvalue()
            self._body = None
        if len(content) != facts.returned_bytes:
            raise ToolFailedError(
                f"{self.arguments['path']}: {len(content)} bytes arrived of {facts.returned_bytes}; read it again"
            )
        return self._make(content, facts)


class IntoOperation(Operation[FileFacts]):
    """Reads a range of a file into memory the caller has."""

    __slots__ = ("_filled", "_target")

    def __init__(self, path: str, offset: int, target: memoryview, version: str | None, seconds: float) -> None:
        arguments = {"path": path, "unit": "bytes", "offset": offset, "limit": len(target), "version": version}
        super().__init__("read_file", arguments, seconds, window_bytes=WINDOW_BYTES)
        self._target = target
        self._filled = 0

    def take(self, stream: str, data: Frame) -> None:
        """Copy a piece to its place."""
        end = self._filled + len(data)
        if end > len(self._target):
            raise ToolFailedError(f"{self.arguments['path']}: the host sent more than it was asked for")
        self._target[self._filled : end] = data
        self._filled = end

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> FileFacts:
        """Check that all bytes have come."""
        if "content" in bulk:
            self.take("body", bulk["content"])
        facts = convert(result, FileFacts, "read_file")
        if self._filled != facts.returned_bytes:
            raise ToolFailedError(
                f"{self.arguments['path']}: {self._filled} bytes arrived of {facts.returned_bytes}; read it again"
            )
        return facts


class HostFile(io.RawIOBase):
    """A file of the host, read in ranges. Every range is of the same version of the file, or reading fails.

    Use `hermes.open`, which puts a buffer around it.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.name = path
        self.mode = "rb"
        self._timeout = timeout
        self._position = 0
        self._facts = run(IntoOperation(path, 0, memoryview(bytearray()), None, timeout))

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; needs no call."""
        self._require_open()
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._facts.size_bytes}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"can't seek to {offset} from {whence}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer from the position on."""
        self._require_open()
        with memoryview(buffer) as view:
            target = view.cast("B")
            version: str | None = None
            if self._facts.size_bytes:  # files of the kernel's own, such as /proc/meminfo, have no size and no versions
                target = target[: max(0, self._facts.size_bytes - self._position)]
                version = self._facts.version
            if not target:
                return 0
            operation = IntoOperation(self.name, self._position, target, version, self._timeout)
            count = run(operation).returned_bytes
        self._position += count
        return count

    def readall(self) -> bytes:
        """Read the rest in one call."""
        self._require_open()
        rest = run(
            ReadOperation(
                self.name,
                "bytes",
                self._position,
                None,
                self._facts.version,
                self._timeout,
                lambda data, _: bytes(data),
            )
        )
        self._position += len(rest)
        return rest

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError(f"{self.name} is closed")


class _BlockReader(io.BufferedReader):
    """A buffer that is always filled in blocks; the text layer would read past an empty one, in pieces of 8 KiB."""

    def read1(self, size: int = -1, /) -> bytes:
        """Read what the buffer holds, filling it first."""
        self.peek(1)
        return super().read1(size)


@overload
def open_file(path: str | os.PathLike[str], mode: Literal["rb"], *, timeout: float = ...) -> io.BufferedReader: ...
@overload
def open_file(
    path: str | os.PathLike[str],
    mode: Literal["r", "rt"] = "r",
    *,
    encoding: str = ...,
    errors: str = ...,
    newline: str | None = ...,
    timeout: float = ...,
) -> io.TextIOWrapper: ...
def open_file(
    path: str | os.PathLike[str],
    mode: str = "r",
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    newline: str | None = None,
    timeout: float = TRANSFER_SECONDS,
) -> IO[Any]:
    """Open a file of the host for reading, in pieces: for what does not fit in memory.

    Args:
        path: The file; relative paths start from the workspace.
        mode: `"rb"` for bytes, `"r"` for text.
        encoding: How text is encoded; `errors` and `newline` are those of the built-in `open`.
        timeout: How long each piece may take, in seconds.

    Returns:
        A file object that can seek and iterate. A file that changes while it is read makes the next read fail.

    Example:
        >>> with hermes.open("big.log") as lines:
        ...     errors = sum("ERROR" in line for line in lines)
    """
    if mode not in ("r", "rt", "rb"):
        raise InvalidToolRequestError(
            f"hermes.open(…, {mode!r}): files are opened for reading only ('r' or 'rb'); write whole files with "
            "hermes.write_file(path, content), which is atomic"
        )
    reader = _BlockReader(HostFile(plain_path(path), check_seconds(timeout)), BLOCK_BYTES)
    if mode == "rb":
        return reader
    return io.TextIOWrapper(reader, encoding=encoding, errors=errors, newline=newline)


def plain_path(path: str | os.PathLike[str]) -> str:
    """Give a path as text.

    Raises:
        InvalidToolRequestError: It isn't text.
    """
    if type(path) is str:
        return path
    plain = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if isinstance(plain, str):
        return str(plain)
    raise InvalidToolRequestError(f"the path must be text or a pathlib path, not {type(path).__name__}")
