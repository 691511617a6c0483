"""What can become of a cell, and of a run; and how papermill's readers are told."""

from __future__ import annotations

import enum


class State(enum.StrEnum):
    """The state of a cell (`cell.metadata.hermes.state`) or of a run (`metadata.hermes.run.status`).

    Only cells are `PENDING` or `NOT_RUN`. A saved notebook that says `PENDING` or `RUNNING` was saved while its run went on:
    if nothing runs any more, its executor was killed there.
    """

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    KERNEL_DIED = "kernel_died"
    CANCELLED = "cancelled"
    DENIED = "denied"
    NOT_RUN = "not_run"


PAPERMILL_STATUS = {
    State.PENDING: "pending",
    State.RUNNING: "running",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.TIMED_OUT: "failed",
    State.KERNEL_DIED: "failed",
    State.CANCELLED: "failed",
    State.DENIED: "failed",
    State.NOT_RUN: "pending",
}
"""`cell.metadata.papermill.status` for each state: papermill knows four, and `completed` is said of nothing that did not."""

DENIAL_NAMES = frozenset({"ToolDeniedError", "BudgetExceededError"})
"""The exceptions by which the SDK says that the host said no."""
