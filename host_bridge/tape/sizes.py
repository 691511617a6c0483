"""How much each call of a tape gave: its result, what it streamed, its bulk bytes."""

from __future__ import annotations

import sqlite3

from host_bridge.errors import TapeError
from host_bridge.tape.reader import TapeReader

_SIZES = """
    SELECT call, sum(size) FROM (
        SELECT call, size FROM pieces
        UNION ALL SELECT call, length(CAST(value AS BLOB)) FROM outcomes WHERE value IS NOT NULL
        UNION ALL SELECT call, size FROM outcomes JOIN blobs ON digest = value_digest)
    GROUP BY call"""


def given_bytes(tape: TapeReader) -> dict[int, int]:
    """Give the bytes that each call gave, by its `seq`.

    Raises:
        TapeError: The tape can't be read.
    """
    try:
        return {int(call): int(size) for call, size in tape.database.execute(_SIZES)}
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise TapeError(f"the tape {tape.path} can't be read: {error}") from None
