"""`read_file`: a file's bytes, exactly as they are on disk.

Small content travels in the reply, larger content as the stream `body`, piece by piece, so that a file of any size costs a
few pieces of memory. What is read ends where the file ended when the call was prepared: a log that grows while it is read is
not chased. Files of the kernel's own (`/proc/meminfo`), which have no size, are read to their end.

Settings (`[tools.read_file]`): `max_bytes` (4 GiB), the most one call may read or skip.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, InvalidCallError
from host_bridge.policy.model import Access
from host_bridge.policy.paths import ResolvedPath, is_local, path_error, quoted, resolve
from host_bridge.policy.volumes import is_local_descriptor
from host_bridge.tools.delivery import MAX_BULK_BYTES, Delivery
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.settings import read_settings
from host_bridge.tools.versions import file_version

PIECE_BYTES = 2**20  # larger pieces were no faster

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tools.read_file]`."""

    max_bytes: Annotated[int, Meta(ge=1)] = 4 * 2**30


class ReadFile(Tool):
    """Read a file, whole or a range of lines or bytes.

    With unit "lines", offset counts from 1 and lines come with their endings as on disk; with "bytes" it counts from 0.
    """

    name = "read_file"
    summary = "Read a file's content exactly as it is on disk."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """As in a cell."""

        path: str
        unit: Literal["lines", "bytes"] = "lines"
        offset: Count | None = None
        limit: Count | None = None
        version: str | None = None

    def quick_prepare(self, arguments: Any, session: Session) -> bool:
        """Only the workspace is known to be on a local disk; an absolute path may lead to a network drive."""
        return not arguments.path.startswith("/") and is_local(session.workspace)

    def prepare(self, arguments: Any, session: Session) -> Call:
        """Find the file and hold it."""
        if arguments.unit == "lines" and arguments.offset == 0:
            raise InvalidCallError("lines are counted from 1: offset=0 only makes sense with unit='bytes'")
        settings = read_settings(session, self.name, Settings)
        resolved = resolve(session.workspace, arguments.path)
        try:
            return _Reading(resolved, arguments, settings.max_bytes)
        except BaseException:
            resolved.close()
            raise


class _Reading(Call):
    """One read, of a file that is held since it was decided about."""

    def __init__(self, resolved: ResolvedPath, arguments: ReadFile.Arguments, max_bytes: int) -> None:
        self._resolved = resolved
        self._unit = arguments.unit
        self._offset = (1 if arguments.unit == "lines" else 0) if arguments.offset is None else arguments.offset
        self._limit = arguments.limit
        self._version = arguments.version
        self._max_bytes = max_bytes
        self.resources = (resolved.resource(Access.READ),)
        self.shown = {"path": resolved.canonical, "unit": self._unit, "offset": self._offset, "limit": self._limit}
        self._size = 0
        if resolved.relative is not None:  # outside, nothing is said before the decision
            self._size = resolved.require_file().st_size
            self._require_bounded()
            self.quick = self._is_quick()

    def run(self, context: CallContext) -> ToolOutput:
        """Read it."""
        if self._resolved.relative is None:
            self._size = self._resolved.require_file().st_size
            self._require_bounded()
        descriptor = self._resolved.open(os.O_RDONLY)
        try:
            return self._read(descriptor, context)
        except OSError as error:
            raise path_error(error, self._resolved.asked) from None
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        self._resolved.close()

    def _is_quick(self) -> bool:
        held = self._resolved.descriptor
        return held is not None and 0 < self._size <= MAX_BULK_BYTES and is_local_descriptor(held)

    def _require_bounded(self) -> None:
        if self._unit == "bytes":
            wanted = max(0, self._size - self._offset)
            wanted = wanted if self._limit is None else min(wanted, self._limit)
        else:
            wanted = self._size if self._limit is None and self._offset == 1 else 0
        if wanted > self._max_bytes:
            raise self._too_large(wanted)

    def _too_large(self, size: int) -> CallError:
        return CallError(
            f"{quoted(self._resolved.asked)}: reading {size} bytes in one call is over the host's limit of {self._max_bytes}: "
            "read it in pieces, with unit='bytes', offset and limit",
            remedy="[tools.read_file] max_bytes in the host's configuration",
        )

    def _read(self, descriptor: int, context: CallContext) -> ToolOutput:
        version = file_version(os.fstat(descriptor))
        self._require_version(version)
        if self.quick and self._is_whole():
            content = os.pread(descriptor, self._size, 0)
            return ToolOutput(self._value(version, len(content), len(content), truncated=False), {"content": content})
        delivery = Delivery(context)
        if self._unit == "bytes":
            end = None if self._limit is None else self._offset + self._limit
            for piece in self._pieces(descriptor, self._offset, end, context):
                delivery.add(piece)
            position = self._offset + delivery.returned_bytes
        else:
            lines = _LineRange(self._offset, self._limit)
            for piece in lines.cut(self._pieces(descriptor, 0, None, context)):
                delivery.add(piece)
            position = lines.position
        if self._version is not None:
            self._require_version(file_version(os.fstat(descriptor)))
        # Only a limit truncates, and only if something follows; a file without a size tells by reading on.
        truncated = self._limit is not None and bool(os.pread(descriptor, 1, position))
        return ToolOutput(self._value(version, delivery.returned_bytes, position, truncated=truncated), delivery.bulk())

    def _is_whole(self) -> bool:
        return self._limit is None and self._version is None and self._offset == (1 if self._unit == "lines" else 0)

    def _value(self, version: str, returned_bytes: int, position: int, *, truncated: bool) -> dict[str, Any]:
        return {
            "size_bytes": max(self._size, position if returned_bytes else 0),
            "version": version,
            "returned_bytes": returned_bytes,
            "truncated": truncated,
        }

    def _require_version(self, version: str) -> None:
        if self._version not in (None, version):
            raise CallError(f"{quoted(self._resolved.asked)} changed while it was read in pieces: start again")

    def _pieces(self, descriptor: int, start: int, end: int | None, context: CallContext) -> Iterator[bytes]:
        if self._size:
            end = self._size if end is None else min(end, self._size)
        position = start
        while end is None or position < end:
            context.check()
            piece = os.pread(descriptor, PIECE_BYTES if end is None else min(PIECE_BYTES, end - position), position)
            if not piece:
                return
            position += len(piece)
            if position - start > self._max_bytes:
                raise self._too_large(position - start)
            yield piece


class _LineRange:
    """Cuts a range of lines out of pieces that know nothing of lines."""

    _NEWLINE: ClassVar[bytes] = b"\n"

    def __init__(self, first: int, limit: int | None) -> None:
        self._to_skip = first - 1
        self._to_take = limit
        self.position = 0
        """In the file: behind the last byte given."""

    def cut(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        if self._to_take == 0:
            return
        for piece in pieces:
            start = self._skip(piece)
            stop = self._take(piece, start)
            self.position += stop
            if start < stop:
                yield piece if stop - start == len(piece) else piece[start:stop]
            if self._to_take == 0:
                return

    def _skip(self, piece: bytes) -> int:
        if not self._to_skip:
            return 0
        newlines = piece.count(self._NEWLINE)
        if newlines < self._to_skip:
            self._to_skip -= newlines
            return len(piece)
        start = self._behind(piece, self._to_skip, 0)
        self._to_skip = 0
        return start

    def _take(self, piece: bytes, start: int) -> int:
        if self._to_take is None or start == len(piece):
            return len(piece)
        newlines = piece.count(self._NEWLINE, start)
        if newlines < self._to_take:
            self._to_take -= newlines
            return len(piece)
        stop = self._behind(piece, self._to_take, start)
        self._to_take = 0
        return stop

    def _behind(self, piece: bytes, count: int, start: int) -> int:
        for _ in range(count):
            start = piece.index(self._NEWLINE, start) + 1
        return start
