"""The file: SQLite, so that any tool can read it. `docs/tape.md` says what each column means.

Rows are only ever added. What is large stands once in `blobs`, under the SHA-256 of its bytes, compressed where that helps;
the root hash goes over all rows and so, by those digests, over all content.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from host_bridge.errors import TapeBusyError, TapeError

APPLICATION_ID = 0x48525450  # "HRTP", what `file` shows
VERSION = 1
INLINE_BYTES = 2048  # smaller content stands in its row: a blob costs a row and a hash of its own
_SAMPLE_BYTES = 65_536
_WORTH_COMPRESSING = 0.9
MAX_BLOB_BYTES = 2**30  # SQLite's own limit for one value; pieces of streams have at most 1 MiB

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cells (
  seq INTEGER PRIMARY KEY, event TEXT NOT NULL, cell_index INTEGER NOT NULL, cell_id TEXT NOT NULL,
  source_digest TEXT NOT NULL, time REAL NOT NULL);
CREATE TABLE calls (
  seq INTEGER PRIMARY KEY, call_id TEXT NOT NULL, tool TEXT NOT NULL, cell_index INTEGER, cell_id TEXT NOT NULL,
  line INTEGER NOT NULL, occurrence INTEGER NOT NULL, arguments TEXT NOT NULL, arguments_digest TEXT NOT NULL,
  canonical TEXT NOT NULL, canonical_digest TEXT NOT NULL, effect TEXT NOT NULL, rule_id TEXT NOT NULL,
  reason TEXT NOT NULL, acts INTEGER NOT NULL, origin TEXT NOT NULL, untrusted TEXT NOT NULL,
  replaces INTEGER, time REAL NOT NULL);
CREATE TABLE outcomes (
  call INTEGER PRIMARY KEY, outcome TEXT NOT NULL, value TEXT, value_digest TEXT NOT NULL, failure TEXT NOT NULL,
  upload_digest TEXT NOT NULL, duration_seconds REAL NOT NULL);
CREATE TABLE pieces (
  call INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
  content BLOB, digest TEXT NOT NULL, PRIMARY KEY (call, position)) WITHOUT ROWID;
CREATE TABLE images (
  call INTEGER NOT NULL, position INTEGER NOT NULL, event TEXT NOT NULL, path TEXT NOT NULL, existed INTEGER NOT NULL,
  mode INTEGER NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL, kept INTEGER NOT NULL,
  PRIMARY KEY (call, position)) WITHOUT ROWID;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, encoding TEXT NOT NULL, content BLOB NOT NULL);
"""

_HASHED = (
    "SELECT * FROM facts ORDER BY name",
    "SELECT * FROM cells ORDER BY seq",
    "SELECT * FROM calls ORDER BY seq",
    "SELECT * FROM outcomes ORDER BY call",
    "SELECT * FROM pieces ORDER BY call, position",
    "SELECT * FROM images ORDER BY call, position",
)

_JSON = msgspec.json.Encoder(order="sorted")


def canonical_json(value: object) -> bytes:
    """Give plain data's one spelling: no spaces, keys sorted."""
    return _JSON.encode(value)


def sha256(data: bytes | bytearray | memoryview) -> str:
    """Name bytes."""
    return hashlib.sha256(data, usedforsecurity=False).hexdigest()


def pack(data: bytes) -> tuple[str, bytes]:
    """Give the encoding and the bytes to keep: compressed unless a sample says that it isn't worth the time."""
    sample = data[:_SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) > len(sample) * _WORTH_COMPRESSING:
        return "raw", data
    return "zlib", zlib.compress(data, 1)


def unpack(encoding: str, content: bytes, digest: str, size: int) -> bytes:
    """Give back what `pack` was given.

    Raises:
        TapeError: It isn't what the digest says.
    """
    try:
        data = content if encoding == "raw" else _inflate(content, size)
    except zlib.error:
        data = b""
    if len(data) != size or sha256(data) != digest:
        raise TapeError(f"the tape's content {digest[:12]}… is damaged: it was changed, or the disk lost it")
    return data


def _inflate(content: bytes, size: int) -> bytes:
    # Never more than what the row announces: a tape comes from anywhere, and a bomb is a kilobyte.
    return zlib.decompressobj().decompress(content, min(size, MAX_BLOB_BYTES) + 1)


def root_hash(database: sqlite3.Connection) -> str:
    """Give the SHA-256 over all rows: one line of JSON for each, tables in the order of the schema, inline bytes as digests."""
    digest = hashlib.sha256(b"hermes-runtime tape, version 1\n", usedforsecurity=False)
    for line in _lines(database):
        digest.update(line)
    return digest.hexdigest()


def _lines(database: sqlite3.Connection) -> Iterator[bytes]:
    for query in _HASHED:
        table = query.split()[3]
        for row in database.execute(query):
            fields = [sha256(field) if isinstance(field, bytes) else field for field in row]
            yield canonical_json([table, *fields]) + b"\n"


def create(path: str) -> sqlite3.Connection:
    """Make a new, empty tape, readable by its owner only.

    Raises:
        TapeError: It can't be made, or there is something already.
    """
    try:
        Path(path).touch(mode=0o600, exist_ok=False)
        database = _connect(path)
        database.execute("PRAGMA page_size = 1024")  # a commit writes whole pages, and a call has a few hundred bytes
        database.executescript(
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; BEGIN; {SCHEMA} COMMIT;"
        )
    except (OSError, sqlite3.Error) as error:
        raise TapeError(f"the tape {path} can't be made: {error}; make room, or run with --no-tape") from None
    return database


def open_to_write(path: str) -> sqlite3.Connection:
    """Open a tape to continue it.

    Raises:
        TapeError: It is no tape of this version.
    """
    try:
        database = _connect(path)
        _check(database, path)
    except sqlite3.Error as error:
        raise TapeError(f"{path} can't be read as a tape: {error}") from None
    return database


def begin_writing(database: sqlite3.Connection) -> None:
    """Have each commit reach the system (not the disk) before it returns: it survives kill -9, and costs microseconds."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")  # nobody else reads it meanwhile, which saves the shared memory
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = OFF")


def finish_writing(database: sqlite3.Connection) -> None:
    """Leave one file that lacks nothing."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA journal_mode = DELETE")


def make_whole(path: str) -> str:
    """Finish the tape of a writer that was killed; gives its root hash.

    Raises:
        TapeError: It can't be.
    """
    database = open_to_write(path)
    try:
        finish_writing(database)
        return root_hash(database)
    except sqlite3.Error as error:
        raise TapeError(f"the tape {path} can't be finished: {error}") from None
    finally:
        database.close()


def open_to_read(path: str) -> sqlite3.Connection:
    """Open a tape. One whose writer was killed is made whole first.

    Raises:
        TapeError: There is none, it is in use, or it is no tape of this version.
    """
    if not Path(path).is_file():
        raise TapeError(f"there is no tape {path}; `hermes-runtime runs list` shows the runs and where their tapes are")
    unfinished = Path(f"{path}-wal").exists()
    mode = "rw" if unfinished else "ro&immutable=1"
    try:
        database = sqlite3.connect(
            f"{Path(path).absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=1,
        )
        _check(database, path)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise TapeBusyError(f"the tape {path} is being written: wait until its run is over") from None
        raise TapeError(f"{path} can't be read as a tape: {error}") from None
    except sqlite3.Error as error:
        raise TapeError(f"{path} can't be read as a tape: {error}") from None
    return database


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1, cached_statements=64)


def _check(database: sqlite3.Connection, path: str) -> None:
    # What a hostile file's schema could do stays within SQLite: no extension, no function of ours, views can't hide tables.
    database.execute("PRAGMA trusted_schema = OFF")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        database.close()
        raise TapeError(f"{path} is not a tape of a run: name the .tape file beside an output notebook")
    if version != VERSION:
        database.close()
        raise TapeError(f"{path} is a tape of version {version}, and this release reads version {VERSION}: update it")
