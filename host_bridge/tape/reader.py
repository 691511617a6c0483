"""Reads a tape. Nothing in it is believed beyond its declared shape: a tape is a file that comes from anywhere."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from host_bridge.errors import TapeError
from host_bridge.tape.format import open_to_read, root_hash, unpack
from host_bridge.tape.recorder import CallRow, Image

_CALLS = f"SELECT {', '.join(CallRow.__struct_fields__)} FROM calls ORDER BY seq"
_OUTCOME_COLUMNS = "outcome, value, value_digest, failure, upload_digest, duration_seconds"


class OutcomeRow(msgspec.Struct, frozen=True):
    """What came of a call, as it stands on the tape."""

    outcome: str
    value: str | None
    value_digest: str
    failure: str
    upload_digest: str
    duration_seconds: float


class Recorded(msgspec.Struct, frozen=True):
    """A call of a tape. `outcome` is None where its writer died before it knew."""

    row: CallRow
    outcome: OutcomeRow | None

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows if it was done: its writer died in between, or it was cut off while it acted."""
        if not self.row.acts:
            return False
        return self.outcome is None or self.outcome.outcome in CUT_OFF


CUT_OFF = frozenset({"cancelled", "timed_out", "internal"})
"""Ends of a call that leave open how far it came."""


class CellMark(msgspec.Struct, frozen=True):
    """A cell's start or end."""

    seq: int
    event: str
    cell_index: int
    cell_id: str
    source_digest: str
    time: float


class ImageRow(msgspec.Struct, frozen=True):
    """What a file was before (`event`) a call changed it, or after."""

    call: int
    position: int
    event: str
    path: str
    existed: bool
    mode: int
    size: int
    digest: str
    kept: bool

    def is_same(self, other: Image) -> bool:
        """Whether a file is now what it was then."""
        if not self.existed or not other.existed:
            return self.existed == other.existed
        return (self.digest, self.mode) == (other.digest, other.mode)


class Piece(msgspec.Struct, frozen=True):
    """A piece of a stream, or bulk bytes of a result."""

    kind: str
    name: str
    data: bytes


class TapeReader:
    """An open tape. Thread-safe.

    Raises:
        TapeError: It can't be read, as all methods of this class.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.database = open_to_read(path)
        self._lock = threading.Lock()

    def __enter__(self) -> TapeReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()

    def root(self) -> str:
        """Give the root hash over what the tape holds now."""
        with self._reading():
            return root_hash(self.database)

    def facts(self) -> dict[str, Any]:
        """Give what is known about the run."""
        with self._reading():
            rows = self.database.execute("SELECT name, value FROM facts").fetchall()
        return {str(name): msgspec.json.decode(value) for name, value in rows}

    def cells(self) -> list[CellMark]:
        """Give the cells' starts and ends in their order."""
        with self._reading():
            rows = self.database.execute("SELECT * FROM cells ORDER BY seq").fetchall()
            return [msgspec.convert(row, type=CellMark, strict=False) for row in map(_fields(CellMark), rows)]

    def calls(self) -> list[Recorded]:
        """Give all calls in the order they were decided, without their content."""
        with self._reading():
            outcomes = {
                row[0]: msgspec.convert(dict(zip(OutcomeRow.__struct_fields__, row[1:], strict=True)), type=OutcomeRow)
                for row in self.database.execute(f"SELECT call, {_OUTCOME_COLUMNS} FROM outcomes")
            }
            rows = [
                msgspec.convert(dict(zip(CallRow.__struct_fields__, row, strict=True)), type=CallRow, strict=False)
                for row in self.database.execute(_CALLS)
            ]
        return [Recorded(row, outcomes.get(row.seq)) for row in rows]

    def images(self) -> list[ImageRow]:
        """Give what files were before and after they were changed, in the order of the changes."""
        with self._reading():
            rows = self.database.execute("SELECT * FROM images ORDER BY call, position").fetchall()
            return [msgspec.convert(row, type=ImageRow, strict=False) for row in map(_fields(ImageRow), rows)]

    def value(self, recorded: Recorded) -> Any:
        """Give a call's result."""
        assert recorded.outcome is not None
        text: str | bytes | None = recorded.outcome.value
        if recorded.outcome.value_digest:
            text = self.blob(recorded.outcome.value_digest)
        with self._reading():
            return None if text is None else msgspec.json.decode(text)

    def pieces(self, call: int) -> Iterator[Piece]:
        """Give what a call streamed, and its bulk bytes, in their order, one piece in memory at a time."""
        position = -1
        while True:
            with self._reading():
                row = self.database.execute(
                    "SELECT position, kind, name, content, digest FROM pieces WHERE call = ? AND position > ? "
                    "ORDER BY position LIMIT 1",
                    (call, position),
                ).fetchone()
            if row is None:
                return
            position, kind, name, content, digest = row
            yield Piece(str(kind), str(name), self.blob(digest) if digest else bytes(content))

    def content_bytes(self, recorded: Recorded) -> float:
        """Give how much a call's content is to read; infinite for one that streamed."""
        with self._reading():
            size, streams = self.database.execute(
                "SELECT sum(size), sum(kind = 'stream') FROM pieces WHERE call = ?", (recorded.row.seq,)
            ).fetchone()
        in_row = recorded.outcome is not None and not recorded.outcome.value_digest
        return (size or 0) if in_row and not streams else math.inf

    def blob(self, digest: str) -> bytes:
        """Give content by its digest."""
        with self._reading():
            row = self.database.execute(
                "SELECT encoding, content, size FROM blobs WHERE digest = ?", (digest,)
            ).fetchone()
            if row is None:
                raise TapeError(f"the tape {self.path} lacks the content {digest[:12]}…: it was changed")
            return unpack(str(row[0]), bytes(row[1]), digest, int(row[2]))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, msgspec.MsgspecError, TypeError, ValueError) as error:
                raise TapeError(f"the tape {self.path} can't be read: {error}") from None


def _fields(kind: type[msgspec.Struct]) -> Any:
    names = kind.__struct_fields__
    return lambda row: dict(zip(names, row, strict=True))
