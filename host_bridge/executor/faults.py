"""`faults`: what a notebook does when a call goes wrong, tried for each call site of a tape."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from host_bridge.control import TapeFault
from host_bridge.errors import TapeError
from host_bridge.executor.documents import joined, open_document
from host_bridge.executor.executor import NotebookExecutor
from host_bridge.runs import index
from host_bridge.signals import heed_cancellation
from host_bridge.tape.faults import KINDS
from host_bridge.tape.reader import Recorded, TapeReader

COPES, WARNS, CRASHES, WRONG, UNTRIED = "copes", "warns", "crashes", "wrong", "untried"
TOTAL_SECONDS = 3600.0
MIN_SECONDS = 0.001  # a run can't be given none


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What came of one fault.

    Attributes:
        verdict: `copes`: the same results as without it. `crashes`: a cell failed, so it can't be missed. `warns`: other
            results, and something new on standard error. `wrong`: other results, in silence. `untried`: the time was over.
        detail: The failure, or what is otherwise.
    """

    cell_index: int
    line: int
    tool: str
    kind: str
    verdict: str
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Results:
    """What a run came to, as far as it can be compared."""

    state: str
    failure: str
    scraps: Mapping[str, Any]
    shown: Mapping[int, str]
    errors: Mapping[int, str]


def examine(
    notebook: str,
    tape: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    timeout: float | None = 300.0,
    total_timeout: float | None = TOTAL_SECONDS,
    kinds: Sequence[str] = KINDS,
    cell: int | None = None,
    on_start: Callable[[int], None] = lambda faults: None,
    on_finding: Callable[[Finding], None] = lambda finding: None,
    **options: Any,
) -> list[Finding]:
    """Replay a notebook once for each call site and kind of fault.

    Each replay has a kernel of its own: what a fault does to a kernel (a name that stays undefined, a module half set up, a
    library that remembers a failure) would show in the next one, and nothing can put a kernel back.

    Args:
        notebook: The notebook.
        tape: Of a run of it that succeeded.
        parameters: As that run's.
        timeout: For each replay; None for no limit.
        total_timeout: For all of them; None for no limit. Faults that are not tried by then are `untried`.
        kinds: Of faults, among `host_bridge.tape.faults.KINDS`.
        cell: Only the calls of this cell.
        on_start: Told how many faults there will be.
        on_finding: Told of each as it is found.
        **options: `RunOptions` of the replays.

    Raises:
        TapeError: The notebook doesn't succeed with this tape as it is.
        KeyboardInterrupt, EndedBySignal: A signal ended it.
    """
    with TapeReader(tape) as reader:
        sites = call_sites(reader.calls(), cell)
    faults = [
        TapeFault(cell_index=place, line=line, tool=tool, kind=kind) for place, line, tool in sites for kind in kinds
    ]
    on_start(len(faults))
    clock = _Allowance(timeout, total_timeout)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="hermes-faults-") as folder:

        def run(fault: TapeFault | None) -> _Results:
            output = Path(folder, "out.ipynb")
            chosen = {**options, "replay": tape, "record_tape": False, "fault": fault}
            result = NotebookExecutor().execute(notebook, output, parameters, clock.next(), **chosen)
            index.forget(index.find(result["run_id"]))  # a trial is no run that anybody looks for
            heed_cancellation(result, what=f"{len(findings)} of {len(faults)} faults were tried")
            return _results(result, output)

        base, again = run(None), run(None)
        if base.state != "succeeded":
            raise TapeError(f"the notebook doesn't succeed with this tape, so no fault would show: {base.failure}")
        for finding in _findings(faults, run, (base, again), clock):
            findings.append(finding)
            on_finding(finding)
    return findings


def _findings(
    faults: Iterable[TapeFault],
    run: Callable[[TapeFault], _Results],
    bases: tuple[_Results, _Results],
    clock: _Allowance,
) -> Iterator[Finding]:
    for fault in faults:
        now = None if clock.is_over else run(fault)
        if now is None or (now.state == "timed_out" and clock.is_over):  # it had less time than it was to have
            verdict, detail = UNTRIED, "the time for all replays was over"
        else:
            verdict, detail = _judge(*bases, now)
        yield Finding(fault.cell_index, fault.line, fault.tool, fault.kind, verdict, detail)


class _Allowance:
    """The time that replays have, each by itself and all together."""

    def __init__(self, each: float | None, total: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._each = math.inf if each is None else each
        self._end = math.inf if total is None else clock() + total

    @property
    def is_over(self) -> bool:
        """Whether there is none left."""
        return self._clock() >= self._end

    def next(self) -> float | None:
        """Give what the next replay has, in the form of a run's `timeout`."""
        seconds = min(self._each, max(self._end - self._clock(), MIN_SECONDS))
        return None if seconds == math.inf else seconds


def call_sites(calls: Iterable[Recorded], cell: int | None = None) -> list[tuple[int, int, str]]:
    """Give the places of a notebook that made calls which succeeded, as `(cell, line, tool)`."""
    found = {
        (call.row.cell_index, call.row.line, call.row.tool)
        for call in calls
        if call.outcome is not None and call.outcome.outcome == "ok" and call.row.cell_index is not None
    }
    return sorted((place, line, tool) for place, line, tool in found if place is not None and cell in (None, place))


def _judge(base: _Results, again: _Results, now: _Results) -> tuple[str, str]:
    if now.state != "succeeded":
        return CRASHES, now.failure
    # What differs from one replay without a fault to the next says nothing: a time, a chance.
    scraps = sorted(
        name
        for name in {*base.scraps, *now.scraps}
        if base.scraps.get(name) != now.scraps.get(name) and base.scraps.get(name) == again.scraps.get(name)
    )
    cells = sorted(
        place
        for place in {*base.shown, *now.shown}
        if base.shown.get(place) != now.shown.get(place) and base.shown.get(place) == again.shown.get(place)
    )
    if not scraps and not cells:
        return COPES, ""
    told = any(now.errors.get(place) and now.errors[place] != base.errors.get(place) for place in now.errors)
    parts = [f"scraps {', '.join(scraps)}"] if scraps else []
    parts += [f"outputs of cell {', '.join(map(str, cells))}"] if cells else []
    return (WARNS if told else WRONG), f"other {' and '.join(parts)}"


def _results(result: Mapping[str, Any], output: Path) -> _Results:
    failed = result["failed_cell"]
    failure = result["error"]
    if failed:
        failure = f"cell {failed['index']}: {failed['ename']}: {failed['evalue']}"[:300]
    shown: dict[int, str] = {}
    errors: dict[int, str] = {}
    for place, cell in enumerate(open_document(output)["cells"]):
        for made in cell.get("outputs", ()):
            if made.get("output_type") == "stream":
                kept = errors if made.get("name") == "stderr" else shown
                kept[place] = kept.get(place, "") + joined(made.get("text"))
            elif made.get("output_type") != "error":
                shown[place] = shown.get(place, "") + joined(made.get("data", {}).get("text/plain"))
    return _Results(result["state"], failure, result["scraps"], shown, errors)
