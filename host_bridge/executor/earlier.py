"""The earlier run that a run replays or resumes: finding its tape, and checking that it fits."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from host_bridge.control import TapeFault, TapeOrders
from host_bridge.errors import TapeBusyError, TapeError
from host_bridge.executor.report import RunReport
from host_bridge.runs import index
from host_bridge.tape.format import sha256
from host_bridge.tape.matching import shown_call
from host_bridge.tape.reader import CellMark, Recorded, TapeReader

END_SECONDS = 15.0  # a session gives its calls 4 s to end, and its commands 2


@dataclasses.dataclass(frozen=True, slots=True)
class EarlierRun:
    """A tape that a run begins with.

    Attributes:
        orders: What the session does with it.
        run_id: Of the run it is of, empty where unknown.
        finished: Of a run that is resumed, the cells that had ended, by their place.
    """

    orders: TapeOrders
    run_id: str = ""
    finished: Mapping[int, CellMark] = dataclasses.field(default_factory=dict)

    def check_cells(self, cells: Sequence[Mapping[str, Any]]) -> None:
        """Check that the cells which had ended are what they were.

        Raises:
            TapeError: Names those that aren't.
        """
        changed = [
            f"cell {place}" + (f" ({mark.cell_id})" if mark.cell_id else "")
            for place, mark in sorted(self.finished.items())
            if place >= len(cells)
            or sha256(str(cells[place].get("source", "")).encode("utf-8", "backslashreplace")) != mark.source_digest
        ]
        if changed:
            raise TapeError(
                f"the run can't be resumed: {', '.join(changed)} had ended and changed since, so what the tape has of it is of "
                "other code; put it back, or run the notebook anew"
            )


def replayed(
    path: str,
    facts: Mapping[str, Any],
    report: RunReport,
    on_miss: Literal["error", "live"],
    fault: TapeFault | None = None,
) -> EarlierRun:
    """Give the orders for a replay.

    Raises:
        TapeError: There is no tape, or it can't be read.
    """
    tape = tape_of(path)
    with TapeReader(tape) as reader:
        earlier = reader.facts()
        # Its root takes a while, and matters only where something may be done after what it gave.
        is_foreign = on_miss == "live" and not _is_of_here(tape, reader.root())
    if earlier.get("source_digest") != facts["source_digest"]:
        report.warn("the notebook has changed since the tape was made")
    if changed := _changed_parameters(earlier, facts):
        report.warn(f"the tape was made with other parameters: {', '.join(changed)}")
    orders = TapeOrders(mode="replay", earlier=tape, is_foreign=is_foreign, on_miss=on_miss, fault=fault)
    return EarlierRun(orders, str(earlier.get("run_id", "")))


def resumed(
    named: str,
    facts: Mapping[str, Any],
    report: RunReport,
    on_unknown: Literal["ask", "skip", "redo", "fail"],
) -> EarlierRun:
    """Give the orders for resuming a run.

    Args:
        named: A run's id, its output notebook or its tape.
        facts: Of the new run.
        report: Gets what a person should know.
        on_unknown: What to do about calls of which nobody knows whether they were made.

    Raises:
        HostBridgeError: It can't be resumed; says why.
    """
    tape = tape_of(named, must_be_over=True)
    with _once_written(tape) as reader:
        earlier, cells, calls = reader.facts(), reader.cells(), reader.calls()
        root = reader.root()
        _check_unchanged(tape, root)
    if earlier.get("mode") == "plan":
        raise TapeError("the run only tried (--plan), so there is nothing to go on with")
    if changed := _changed_parameters(earlier, facts):
        raise TapeError(
            f"the run can't be resumed: other parameters than then: {', '.join(changed)}; give the same, or run it anew"
        )
    started = {mark.cell_index: mark for mark in cells if mark.event == "started"}
    live_from = _ended_in(tape, started)
    for unknown in unknown_calls(calls):
        report.warn(describe_unknown(unknown))
    is_foreign = not _is_of_here(tape, root)
    orders = TapeOrders(mode="resume", earlier=tape, is_foreign=is_foreign, live_from=live_from, on_unknown=on_unknown)
    finished = {place: mark for place, mark in started.items() if place < live_from}
    return EarlierRun(orders, str(earlier.get("run_id", "")), finished)


def _ended_in(tape: str, started: Mapping[int, CellMark]) -> int:
    """Give the cell from which on calls are made: the last that was begun, or the first that failed if the run went on."""
    last = max(started, default=0)
    try:
        failed = index.find(tape).failed_cell
    except index.RunsError:
        return last
    return last if failed is None else min(failed, last)


def _once_written(tape: str) -> TapeReader:
    """Open a tape, waiting for the session of an executor that was killed: it ends its calls before it ends itself."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        try:
            return TapeReader(tape)
        except TapeBusyError:  # each attempt waits for a second
            if time.monotonic() > deadline:
                raise


def unknown_calls(calls: Sequence[Recorded]) -> list[Recorded]:
    """Give the calls that may or may not have been made, and were not made again since."""
    replaced = {call.row.replaces for call in calls}
    return [call for call in calls if call.is_unknown and call.row.seq not in replaced]


def describe_unknown(call: Recorded) -> str:
    """Say it to a person."""
    row = call.row
    place = f"cell {row.cell_index}, line {row.line}" if row.cell_index is not None else "outside of any cell"
    why = "was cut off" if call.outcome is not None else "has no outcome on the tape"
    return f"{place}: {shown_call(row.tool, row.arguments)} {why}: nobody knows whether it was done"


def tape_of(named: str, *, must_be_over: bool = False) -> str:
    """Give the absolute path of the tape that a path, an output notebook or a run names.

    Raises:
        HostBridgeError: There is none, or its run still runs.
    """
    path = Path(named)
    if must_be_over and path.exists():
        with contextlib.suppress(index.RunsError):  # a run of elsewhere, or one that was forgotten
            _check_over(index.find(named))
    if path.suffix == ".ipynb" and path.is_file() and path.with_suffix(".tape").is_file():
        path = path.with_suffix(".tape")
    elif path.suffix == ".ipynb" or not path.is_file():
        try:
            entry = index.find(named)
        except index.RunsError:
            if path.suffix or "/" in named:
                raise TapeError(
                    f"there is no tape {named}; `hermes-runtime runs list` shows the runs and where their tapes are"
                ) from None
            raise
        if must_be_over:
            _check_over(entry)
        if not entry.tape:
            raise TapeError(entry.without_tape)
        path = Path(entry.tape)
        if not path.is_file():
            raise TapeError(f"the run {entry.run_id} has left no tape at {path}: it never began, or the tape was moved")
    return os.path.abspath(path)  # noqa: PTH100


def _check_over(entry: index.RunEntry) -> None:
    if entry.is_alive:
        raise TapeError(f"the run {entry.run_id} still runs; cancel it first, or wait until it is over")
    if entry.state == "succeeded":
        raise TapeError(f"the run {entry.run_id} has succeeded, so there is nothing to resume")


def _check_unchanged(tape: str, root: str) -> None:
    """Go on only from what was recorded: a tape that says of an act that it was done keeps it from being done."""
    try:
        entry = index.find(tape)
    except index.RunsError:
        return  # of elsewhere, or forgotten: whoever names it vouches for it
    if entry.tape_root and entry.tape_root != root:
        raise TapeError(f"the tape {tape} was changed since its run ended, so the run can't be resumed from it")


def _is_of_here(tape: str, root: str) -> bool:
    """Whether a run of this machine left this tape as it is. One that was killed left no root, and its tape out of reach."""
    try:
        entry = index.find(tape)
    except index.RunsError:
        return False
    return entry.tape_root in ("", root)


def _changed_parameters(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    then, given = earlier.get("parameters"), now["parameters"]
    then = then if isinstance(then, dict) else {}
    return sorted(name for name in {*then, *given} if then.get(name) != given.get(name))
