"""Writes a tape, call by call: the intent before the act, what streams as it streams, the outcome before the reply.

What acts is with the system, step by step, before it goes on, so that kill -9 of the session process loses none of it: a
call with an intent and no outcome is one of which nobody knows whether it happened. Calls that quickly look may wait for what
is written next, in their order: if they are lost, they are made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from host_bridge.errors import TapeError
from host_bridge.tape.format import (
    INLINE_BYTES,
    begin_writing,
    create,
    finish_writing,
    open_to_write,
    pack,
    root_hash,
    sha256,
)
from host_bridge.tape.secrecy import Secrecy

_CALL = f"INSERT INTO calls VALUES ({', '.join('?' * 19)})"
_OUTCOME = "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)"
_PIECE = "INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?)"
_IMAGE = "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BLOB = "INSERT INTO blobs VALUES (?, ?, ?, ?)"
_CELL = "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?)"
_FACT = "INSERT OR REPLACE INTO facts VALUES (?, ?)"


MAX_WAITING = 64  # calls whose rows are given to the system together…
WAIT_SECONDS = 0.05  # …or after this long


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is written down before the act; `docs/tape.md` has the columns."""

    seq: int
    call_id: str
    tool: str
    cell_index: int | None
    cell_id: str
    line: int
    occurrence: int
    arguments: str
    arguments_digest: str
    canonical: str
    canonical_digest: str
    effect: str
    rule_id: str
    reason: str
    acts: bool
    origin: str
    untrusted: str
    replaces: int | None
    time: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call.

    Attributes:
        outcome: `ok` or an error's code.
        value: The result's JSON, None for a failure.
        failure: The failure's JSON, empty for a result.
        upload_digest: SHA-256 over what was uploaded; empty where nothing was.
    """

    outcome: str
    value: bytes | None = None
    failure: bytes = b""
    upload_digest: str = ""
    duration_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """What a file is at one moment.

    Attributes:
        path: Absolute and canonical.
        existed: Whether there is one; nothing else means anything if not.
        digest: SHA-256 of its content.
        content: None where it isn't kept.
    """

    path: str
    existed: bool
    mode: int = 0
    size: int = 0
    digest: str = ""
    content: bytes | None = None


class Recorder:
    """An open tape. Thread-safe. Make one with `new` or `continued`."""

    def __init__(self, path: str, database: sqlite3.Connection, secrecy: Secrecy) -> None:
        self._path = path
        self._database = database
        self.secrecy = secrecy
        self._lock = threading.Lock()
        self._closed = False
        self._broken = ""
        self._waiting = 0
        self._waiting_since = 0.0
        self._root = ""
        self._next_cell = self._count("cells")
        self._next_call = self._count("calls")

    @classmethod
    def new(cls, path: str, secrecy: Secrecy) -> Recorder:
        """Begin a tape.

        Raises:
            TapeError: It can't be made.
        """
        database = create(path)
        begin_writing(database)
        return cls(path, database, secrecy)

    @classmethod
    def continued(cls, path: str, earlier: sqlite3.Connection, secrecy: Secrecy) -> Recorder:
        """Begin a tape with all that an earlier one holds.

        Raises:
            TapeError: It can't be made.
        """
        create(path).close()
        try:
            with contextlib.closing(sqlite3.connect(path)) as copy:
                earlier.backup(copy)
        except sqlite3.Error as error:
            raise TapeError(f"the tape {path} can't continue the earlier one: {error}") from None
        database = open_to_write(path)
        begin_writing(database)
        return cls(path, database, secrecy)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Keep what is known about the run.

        Raises:
            TapeError: It can't be written, as all methods of this class.
        """
        rows = [(name, self.secrecy.json(value)) for name, value in facts.items()]
        with self._transaction() as database:
            database.executemany(_FACT, rows)

    def cell(self, event: str, index: int, cell_id: str = "", source_digest: str = "") -> None:
        """Note that a cell started or settled."""
        with self._transaction() as database:
            database.execute(_CELL, (self._next_cell, event, index, cell_id, source_digest, time.time()))
            self._next_cell += 1

    def intend(self, make: Callable[[int], CallRow]) -> int:
        """Note that a call is about to be made; gives its number.

        Args:
            make: Gives the row of that number.
        """
        with self._transaction() as database:
            return self._put_call(database, make)

    def piece(self, call: int, position: int, kind: str, name: str, data: bytes) -> None:
        """Keep a piece of a call's streams, or bulk bytes of its result."""
        with self._transaction() as database:
            self._put_piece(database, call, position, kind, name, data)

    def image(self, call: int, position: int, event: str, image: Image) -> None:
        """Keep what a file is before or after a call changes it."""
        with self._transaction() as database:
            kept = image.content is not None
            if image.content is not None:
                self._put_blob(database, image.content)
            database.execute(
                _IMAGE,
                (call, position, event, image.path, image.existed, image.mode, image.size, image.digest, kept),
            )

    def settle(
        self,
        call: int | Callable[[int], CallRow],
        outcome: Outcome,
        bulk: Mapping[str, bytes],
        position: int,
        *,
        can_wait: bool = False,
    ) -> None:
        """Note what came of a call, with its bulk bytes.

        Args:
            call: Its number; or its row, for one of which no intent was noted.
            position: The first that no piece of the call has.
            can_wait: Whether the system may get it with what is written next: nothing happened that could be forgotten.
        """
        with self._transaction(can_wait=can_wait) as database:
            number = call if isinstance(call, int) else self._put_call(database, call)
            for name, content in bulk.items():
                self._put_piece(database, number, position, "bulk", name, self.secrecy.scrub(content))
                position += 1
            value, digest = outcome.value, ""
            if value is not None and len(value) > INLINE_BYTES:
                digest, value = self._put_blob(database, value), None
            database.execute(_OUTCOME, _outcome_row(number, outcome, value, digest))

    def close(self) -> str:
        """End the tape and give its root hash. A second time gives it again.

        Raises:
            TapeError: The end can't be written; what was recorded is there.
        """
        with self._lock:
            if self._closed:
                return self._root
            self._closed = True
            try:
                if self._waiting:
                    self._database.execute("COMMIT")
                finish_writing(self._database)
                self._root = root_hash(self._database)
            except sqlite3.Error as error:
                raise TapeError(f"the tape {self._path} can't be finished: {error}") from None
            finally:
                self._database.close()
            return self._root

    def _put_call(self, database: sqlite3.Connection, make: Callable[[int], CallRow]) -> int:
        number = self._next_call
        database.execute(_CALL, msgspec.structs.astuple(make(number)))
        self._next_call += 1
        return number

    def _put_piece(
        self, database: sqlite3.Connection, call: int, position: int, kind: str, name: str, data: bytes
    ) -> None:
        if len(data) <= INLINE_BYTES:
            database.execute(_PIECE, (call, position, kind, name, len(data), data, ""))
        else:
            database.execute(_PIECE, (call, position, kind, name, len(data), None, self._put_blob(database, data)))

    def _put_blob(self, database: sqlite3.Connection, data: bytes) -> str:
        digest = sha256(data)
        if database.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone() is None:
            encoding, content = pack(data)
            database.execute(_BLOB, (digest, len(data), encoding, content))
        return digest

    def _count(self, table: str) -> int:
        (last,) = self._database.execute(f"SELECT max(seq) FROM {table}").fetchone()
        return 0 if last is None else int(last) + 1

    def flush(self) -> float | None:
        """Give the system what waits, if it has waited long enough; gives in how many seconds to come again.

        Raises:
            TapeError: It can't be written, and nothing can from now on.
        """
        if not self._waiting:
            return None
        left = self._waiting_since + WAIT_SECONDS - time.monotonic()
        if left > 0:
            return left
        with self._transaction():
            return None

    def _transaction(self, *, can_wait: bool = False) -> _Transaction:
        return _Transaction(self, can_wait)

    def begin(self) -> sqlite3.Connection:
        """Take the database for several rows; `commit` or `give_up` give it back."""
        self._lock.acquire()
        try:
            self._check_open()
            if not self._waiting:
                self._database.execute("BEGIN")
        except sqlite3.Error as error:
            self._lock.release()
            raise self._unwritable(error) from None
        except BaseException:
            self._lock.release()
            raise
        return self._database

    def commit(self, *, can_wait: bool) -> None:
        """Have the rows written: now, or with the next."""
        try:
            if can_wait and self._waiting < MAX_WAITING:
                self._waiting_since = self._waiting_since if self._waiting else time.monotonic()
                self._waiting += 1
                return
            self._database.execute("COMMIT")
            self._waiting = 0
        except sqlite3.Error as error:
            self._take_back()
            raise self._unwritable(error) from None
        finally:
            self._lock.release()

    def give_up(self, error: BaseException | None) -> None:
        """Have none of the rows written."""
        self._take_back()
        self._lock.release()
        if isinstance(error, sqlite3.Error | OverflowError | UnicodeError):
            raise self._unwritable(error) from None

    def _take_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # there may be nothing left to take back
            self._database.execute("ROLLBACK")
        if self._waiting:  # replies that have left are not on the tape, so it can't be gone on with
            self._broken = "what was to be written before could not be"
        self._waiting = 0

    def _check_open(self) -> None:
        if self._closed:
            raise TapeError(f"the tape {self._path} is closed")
        if self._broken:
            raise TapeError(f"the tape {self._path} can't be continued: {self._broken}; make room, and start again")

    def _unwritable(self, error: Exception) -> TapeError:
        return TapeError(f"the tape {self._path} can't be written: {error}; make room, or run with --no-tape")


class _Transaction:
    """Several rows or none. A class, as a generator would cost half as much as the rows."""

    __slots__ = ("_can_wait", "_recorder")

    def __init__(self, recorder: Recorder, can_wait: bool) -> None:
        self._recorder = recorder
        self._can_wait = can_wait

    def __enter__(self) -> sqlite3.Connection:
        return self._recorder.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._recorder.commit(can_wait=self._can_wait)
        else:
            self._recorder.give_up(error)


def _outcome_row(call: int, outcome: Outcome, value: bytes | None, digest: str) -> tuple[Any, ...]:
    return (
        call,
        outcome.outcome,
        None if value is None else value.decode(),
        digest,
        outcome.failure.decode(),
        outcome.upload_digest,
        outcome.duration_seconds,
    )
