"""The cells of a run, from what the tape and the output notebook say of them."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping
from typing import Any

from host_bridge.executor.documents import joined, metadata_of
from host_bridge.executor.run_story import RunStory
from host_bridge.tape.reader import Recorded

_TITLE_CHARACTERS = 80


@dataclasses.dataclass(slots=True)
class ShownCell:
    """One cell of a run.

    Attributes:
        state: As the output notebook has it; without one `ended` where the tape has its end, `unknown` where it hasn't.
        start: When it started, in seconds since the run did; None where it isn't known to have.
        end: When it ended, likewise.
        epoch: When the run started, in Unix seconds.
        calls: What it called.
    """

    index: int
    epoch: float
    source: str = ""
    state: str = "unknown"
    start: float | None = None
    end: float | None = None
    calls: list[Recorded] = dataclasses.field(default_factory=list)

    @property
    def title(self) -> str:
        """Its first telling line."""
        lines = [line.strip() for line in self.source.splitlines()]
        told = next((line for line in lines if line and not line.startswith(("#", "%%"))), "")
        return told if len(told) <= _TITLE_CHARACTERS else f"{told[: _TITLE_CHARACTERS - 1]}…"


def cells_of(story: RunStory) -> list[ShownCell]:
    """Give the code cells of a run, and whatever else the tape has as a cell, in their order."""
    epoch = began(story)
    cells: dict[int, ShownCell] = {}
    for index, cell in enumerate(story.document["cells"] if story.document is not None else ()):
        if isinstance(cell, Mapping) and cell.get("cell_type") == "code":
            cells[index] = ShownCell(index, epoch, source=joined(cell.get("source")), state=_state(cell))
    for mark in story.cells:
        cell = cells.setdefault(mark.cell_index, ShownCell(mark.cell_index, epoch))
        time = mark.time - epoch
        if not math.isfinite(time):
            continue
        if mark.event == "started":
            cell.start, cell.end = max(0.0, time), None  # a resumed run has its cells twice: the last time counts
        elif cell.start is not None:
            cell.end = max(cell.start, time)
            cell.state = "ended" if cell.state == "unknown" else cell.state
    for call in story.calls:
        if call.row.cell_index is not None:
            cells.setdefault(call.row.cell_index, ShownCell(call.row.cell_index, epoch)).calls.append(call)
    return [cells[index] for index in sorted(cells)]


def began(story: RunStory) -> float:
    """Give when the run started, in Unix seconds."""
    try:
        return datetime.datetime.fromisoformat(story.entry.started).timestamp()
    except ValueError:
        return min((mark.time for mark in story.cells), default=0.0)


def _state(cell: Any) -> str:
    hermes = metadata_of(cell).get("hermes")
    state = hermes.get("state") if isinstance(hermes, Mapping) else None
    return state if isinstance(state, str) else "unknown"
