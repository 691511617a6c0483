"""From a run's tape to the calls it made, as `host_bridge.declarations.observing` does from an audit log."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import msgspec

from host_bridge.audit.recorded_calls import UnreadableCallError
from host_bridge.declarations.observing import ObservedRun, observed_call
from host_bridge.errors import TapeError
from host_bridge.policy.subjects import WORKSPACE
from host_bridge.tape.reader import Recorded, TapeReader

_MAGIC = b"SQLite format 3\0"


def is_tape(path: str) -> bool:
    """Whether a path names a file that may be a tape."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def observe_tape(path: str) -> ObservedRun:
    """Read the tape of one run. It doesn't tell where the notebook lay.

    Raises:
        TapeError: It can't be read.
    """
    run = ObservedRun()
    with TapeReader(path) as tape:
        facts = tape.facts()
        run.run_id, run.session_id = str(facts.get("run_id", "")), str(facts.get("session_id", ""))
        run.notebook_digest = str(facts.get("source_digest", ""))
        sizes = _sizes(tape)
        for recorded in tape.calls():
            _observe(recorded, sizes.get(recorded.row.seq, 0), run)
    return run


def _observe(recorded: Recorded, size: int, run: ObservedRun) -> None:
    row = recorded.row
    if row.effect != "allow":
        run.denied += 1
        return
    try:
        # Canonical paths are relative where they lie in the workspace, so which folder that was makes no difference.
        call = observed_call(row.tool, msgspec.json.decode(row.canonical), WORKSPACE)
    except (UnreadableCallError, msgspec.DecodeError) as error:
        run.unreadable.append(f"{row.tool}: {error}")
    else:
        run.calls.append(dataclasses.replace(call, result_bytes=size))


def _sizes(tape: TapeReader) -> dict[int, int]:
    try:
        rows = tape.database.execute("SELECT call, sum(size) FROM pieces GROUP BY call").fetchall()
        return {int(call): int(size) for call, size in rows}
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise TapeError(f"the tape {tape.path} can't be read: {error}") from None
