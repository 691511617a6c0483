"""Judging what came of a cell, by how its execution ended. Pure: what is done about it is the run's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from host_bridge.executor.cell_end import Cause, CellEnd
from host_bridge.executor.states import DENIAL_NAMES, State

_ORDERLY_EXITS = frozenset({"", "0", "None"})  # sys.exit(), sys.exit(0), sys.exit(None)

STATE_BY_CAUSE = {Cause.TIMED_OUT: State.TIMED_OUT, Cause.DIED: State.KERNEL_DIED, Cause.STOPPED: State.CANCELLED}
_ERROR_NAMES = {  # nbclient's names for the first two: readers know them
    State.TIMED_OUT: "CellTimeoutError",
    State.KERNEL_DIED: "DeadKernelError",
    State.CANCELLED: "RunCancelledError",
    State.FAILED: "KernelProtocolError",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell did not succeed.

    Attributes:
        state: What the run has come to by it.
        traceback: The kernel's, as it came.
        is_reported: Whether the kernel reported it itself, so that the cell's outputs have it.
    """

    state: State
    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()
    is_reported: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a cell.

    Attributes:
        state: The cell's.
        failure: None for a cell that succeeded.
        ends_notebook: Whether the cell was to be the last one: `sys.exit(0)`, `exit()`.
    """

    state: State
    failure: Failure | None = None
    ends_notebook: bool = False


def judge(end: CellEnd, *, allows: Callable[[str], bool]) -> Judgement:
    """Judge how a cell ended.

    Args:
        end: How its execution ended.
        allows: Whether an error of this name counts as success in this cell.
    """
    reply = end.reply or {}
    if end.cause is not Cause.REPLIED:
        return _failed(STATE_BY_CAUSE[end.cause], end.explanation, _traceback(reply))
    status = reply.get("status")
    if status == "ok":
        payload = as_list(reply.get("payload"))
        asks_exit = any(isinstance(item, dict) and item.get("source") == "ask_exit" for item in payload)
        return Judgement(State.SUCCEEDED, ends_notebook=asks_exit)  # exit() and quit()
    if status == "error":
        return _judge_error(reply, allows)
    if status in ("aborted", "abort"):
        refused = _failed(State.FAILED, "the kernel refused to run the cell")
        return dataclasses.replace(refused, state=State.NOT_RUN)
    return _failed(State.FAILED, "the kernel went idle without saying how the cell ended")


def _judge_error(reply: dict[str, Any], allows: Callable[[str], bool]) -> Judgement:
    name, value = str(reply.get("ename", "")), str(reply.get("evalue", ""))
    if allows(name):
        return Judgement(State.SUCCEEDED)
    if name == "SystemExit" and value in _ORDERLY_EXITS:
        return Judgement(State.SUCCEEDED, ends_notebook=True)
    state = State.DENIED if name in DENIAL_NAMES else State.FAILED
    return Judgement(state, Failure(state, name, value, _traceback(reply), is_reported=True))


def _failed(state: State, text: str, traceback: tuple[str, ...] = ()) -> Judgement:
    return Judgement(state, Failure(state, _ERROR_NAMES[state], text, traceback))


def _traceback(reply: dict[str, Any]) -> tuple[str, ...]:
    return tuple(line for line in as_list(reply.get("traceback")) if isinstance(line, str))


def as_list(value: Any) -> list[Any]:
    """Give what should be a list, empty where it is something else."""
    return value if isinstance(value, list) else []
