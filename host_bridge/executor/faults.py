"""`faults`: what a notebook does when a call goes wrong, tried for each call site of a tape."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from host_bridge.control import TapeFault
from host_bridge.errors import TapeError
from host_bridge.executor.documents import joined, open_document
from host_bridge.executor.executor import NotebookExecutor
from host_bridge.runs import index
from host_bridge.tape.faults import KINDS
from host_bridge.tape.reader import Recorded, TapeReader

COPES, WARNS, CRASHES, WRONG = "copes", "warns", "crashes", "wrong"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What came of one fault.

    Attributes:
        verdict: `copes`: the same results as without it. `crashes`: a cell failed, so it can't be missed. `warns`: other
            results, and something new on standard error. `wrong`: other results, in silence.
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
    kinds: Sequence[str] = KINDS,
    cell: int | None = None,
    on_finding: Callable[[Finding], None] = lambda finding: None,
    **options: Any,
) -> list[Finding]:
    """Replay a notebook once for each call site and kind of fault.

    Args:
        notebook: The notebook.
        tape: Of a run of it that succeeded.
        parameters: As that run's.
        timeout: For each replay.
        kinds: Of faults, among `host_bridge.tape.faults.KINDS`.
        cell: Only the calls of this cell.
        on_finding: Told of each as it is found.
        **options: `RunOptions` of the replays.

    Raises:
        TapeError: The notebook doesn't succeed with this tape as it is.
    """
    with TapeReader(tape) as reader:
        sites = call_sites(reader.calls(), cell)
    with tempfile.TemporaryDirectory(prefix="hermes-faults-") as folder:

        def run(fault: TapeFault | None) -> _Results:
            output = Path(folder, "out.ipynb")
            chosen = {**options, "replay": tape, "record_tape": False, "fault": fault}
            result = NotebookExecutor().execute(notebook, output, parameters, timeout, **chosen)
            index.forget(index.find(result["run_id"]))  # a trial is no run that anybody looks for
            return _results(result, output)

        base, again = run(None), run(None)
        if base.state != "succeeded":
            raise TapeError(f"the notebook doesn't succeed with this tape, so no fault would show: {base.failure}")
        findings = []
        for cell_index, line, tool in sites:
            for kind in kinds:
                fault = TapeFault(cell_index=cell_index, line=line, tool=tool, kind=kind)
                verdict, detail = _judge(base, again, run(fault))
                findings.append(Finding(cell_index, line, tool, kind, verdict, detail))
                on_finding(findings[-1])
    return findings


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
