"""What is known of a run: kept while it goes on, written into the notebook, returned at the end."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import uuid
from collections.abc import Iterable
from typing import Any

from host_bridge.control import CallSettled
from host_bridge.executor.states import State


@dataclasses.dataclass(frozen=True, slots=True)
class CellProgress:
    """A cell that started or ended.

    Attributes:
        index: Its place in the notebook that is being run; an injected parameters cell counts.
        total: How many cells there are.
        state: `RUNNING` when it starts.
        source: Its code or text.
        duration_seconds: Of a cell that ended.
        cell_type: `code`, `markdown` or `raw`.
    """

    index: int
    total: int
    state: State
    source: str
    duration_seconds: float | None = None
    cell_type: str = "code"


@dataclasses.dataclass(slots=True)
class FailedCell:
    """The first cell that did not succeed.

    Attributes:
        index: Its place in the output notebook.
        ename: The exception's name. A cell that timed out or was killed has one too.
        evalue: The exception's text.
        hang: What a cell that timed out was doing: `busy`, `native` (held in code that lets nothing else run) or `frozen`.
    """

    index: int
    cell_id: str | None
    source: str
    state: State
    ename: str
    evalue: str
    traceback: list[str]
    execution_count: int | None = None
    hang: str = ""

    def as_result(self) -> dict[str, Any]:
        """Give it as plain data."""
        return dataclasses.asdict(self) | {"state": str(self.state)}


@dataclasses.dataclass(slots=True)
class RunReport:
    """One run.

    Attributes:
        error: Why the run ended, where no cell's failure says it.
        ended_early_at: The cell in which the notebook ended itself (`sys.exit(0)`); later cells were not to run.
        stopped_by: The number of the signal that cancelled the run.
        saved: Whether the output is as the run ended; if not, what lies there is older, also what an earlier run left.
        plan: Of a run that only tried: its plan's file and hash, and the effects as text.
        tape: The run's tape: its file, its root hash, and what it says of the run. Empty without one.
        warnings: What a person should know about a run that may have succeeded.
    """

    run_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    state: State = State.RUNNING
    started: datetime.datetime = dataclasses.field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    ended: datetime.datetime | None = None
    cells_executed: int = 0
    failed_cell: FailedCell | None = None
    ended_early_at: int | None = None
    error: str = ""
    kernel: str = ""
    session_id: str = ""
    principal: str = ""
    profile: str = ""
    confinement: str = "none"
    kernel_limits: str = ""
    tool_calls: dict[str, Any] = dataclasses.field(default_factory=lambda: count_calls(()))
    stopped_by: int | None = None
    saved: bool = True
    tape: dict[str, Any] = dataclasses.field(default_factory=dict)
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def duration_seconds(self) -> float:
        """How long the run took, or has taken so far."""
        ended = self.ended or datetime.datetime.now(datetime.UTC)
        return (ended - self.started).total_seconds()

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def fail(self, state: State, error: str = "") -> None:
        """Say how the run failed. What failed it first stands."""
        if self.state is State.RUNNING:
            self.state = state
            self.error = error

    def as_metadata(self) -> dict[str, Any]:
        """Give what the notebook's `metadata.hermes.run` holds."""
        return {
            "id": self.run_id,
            "status": str(self.state),
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
            "duration_seconds": self.duration_seconds() if self.ended else None,
            "cells_executed": self.cells_executed,
            "failed_cell": self.failed_cell.index if self.failed_cell else None,
            "ended_early_at": self.ended_early_at,
            "error": self.error,
            "kernel": self.kernel,
            "session_id": self.session_id,
            "principal": self.principal,
            "profile": self.profile,
            "confinement": self.confinement,
            "kernel_limits": self.kernel_limits,
            "tool_calls": self.tool_calls,
            "tape": self.tape,
            "warnings": list(self.warnings),
        }

    def as_result(self, *, scraps: dict[str, Any], output_path: str | None) -> dict[str, Any]:
        """Give what `NotebookExecutor.execute` returns."""
        return {
            "status": "success" if self.state is State.SUCCEEDED else "error",
            "duration_seconds": round(self.duration_seconds(), 3),
            "cells_executed": self.cells_executed,
            "failed_cell": self.failed_cell.as_result() if self.failed_cell else None,
            "scraps": scraps,
            "state": str(self.state),
            "error": self.error,
            "run_id": self.run_id,
            "output_path": output_path,
            "saved": self.saved and output_path is not None,
            "kernel": self.kernel,
            "session_id": self.session_id,
            "principal": self.principal,
            "profile": self.profile,
            "confinement": self.confinement,
            "kernel_limits": self.kernel_limits,
            "tool_calls": self.tool_calls,
            "ended_early_at": self.ended_early_at,
            "signal": self.stopped_by,
            "tape": self.tape,
            "plan": self.plan,
            "warnings": list(self.warnings),
        }


def count_calls(calls: Iterable[CallSettled]) -> dict[str, Any]:
    """Count settled calls, altogether, by outcome and by tool."""
    calls = list(calls)
    return {
        "total": len(calls),
        "by_outcome": dict(sorted(collections.Counter(call.outcome for call in calls).items())),
        "by_tool": dict(sorted(collections.Counter(call.tool for call in calls).items())),
    }
