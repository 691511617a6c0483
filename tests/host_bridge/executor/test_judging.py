"""What came of a cell is judged by how its execution ended, whatever a kernel says in between."""

from __future__ import annotations

from typing import Any

import pytest

from host_bridge.executor.cell_end import Cause, CellEnd, Hang
from host_bridge.executor.judging import Failure, Judgement, judge
from host_bridge.executor.states import State


def judged(reply: dict[str, Any] | None = None, cause: Cause = Cause.REPLIED, *allowed: str, **facts: Any) -> Judgement:
    return judge(CellEnd(cause, reply, **facts), allows=lambda name: name in allowed)


def error(name: str, value: str = "") -> dict[str, Any]:
    return {"status": "error", "ename": name, "evalue": value, "traceback": [f"{name}: {value}"]}


def test_a_cell_whose_kernel_says_ok_succeeded() -> None:
    assert judged({"status": "ok"}) == Judgement(State.SUCCEEDED)


@pytest.mark.parametrize(
    "reply",
    [
        {"status": "ok", "payload": [{"source": "ask_exit"}]},
        error("SystemExit", "0"),
        error("SystemExit", "None"),
        error("SystemExit"),
    ],
)
def test_a_notebook_may_end_itself_in_good_order(reply: dict[str, Any]) -> None:
    assert judged(reply) == Judgement(State.SUCCEEDED, ends_notebook=True)


def test_another_way_to_exit_is_a_failure() -> None:
    assert judged(error("SystemExit", "3")).state is State.FAILED


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("ZeroDivisionError", State.FAILED),
        ("ToolDeniedError", State.DENIED),
        ("BudgetExceededError", State.DENIED),
    ],
)
def test_an_error_is_as_the_kernel_reported_it(name: str, state: State) -> None:
    failure = Failure(state, name, "no", (f"{name}: no",), is_reported=True)
    assert judged(error(name, "no")) == Judgement(state, failure)


def test_an_error_that_is_allowed_is_none() -> None:
    assert judged(error("ValueError"), Cause.REPLIED, "ValueError") == Judgement(State.SUCCEEDED)
    assert judged(error("KeyError"), Cause.REPLIED, "ValueError").failure is not None


@pytest.mark.parametrize(
    ("cause", "facts", "state", "name", "text"),
    [
        (
            Cause.TIMED_OUT,
            {"detail": "the cell did not end within its 3 s", "hang": Hang.NATIVE, "is_killed": True},
            State.TIMED_OUT,
            "CellTimeoutError",
            "the cell did not end within its 3 s; it did not end when interrupted, so its kernel was killed",
        ),
        (Cause.DIED, {"detail": "killed"}, State.KERNEL_DIED, "DeadKernelError", "the kernel died: killed"),
        (Cause.STOPPED, {"detail": "Ctrl-C"}, State.CANCELLED, "RunCancelledError", "Ctrl-C"),
    ],
)
def test_what_comes_before_a_reply_is_said_of_the_cell(
    cause: Cause, facts: dict[str, Any], state: State, name: str, text: str
) -> None:
    assert judged(None, cause, **facts) == Judgement(state, Failure(state, name, text))
    assert judged(error("KeyboardInterrupt"), cause, **facts).failure == Failure(
        state, name, text, ("KeyboardInterrupt: ",)
    )


def test_a_cell_the_kernel_refused_did_not_run_and_fails_the_run() -> None:
    judgement = judged({"status": "aborted"})
    assert judgement.state is State.NOT_RUN
    assert judgement.failure is not None
    assert judgement.failure.state is State.FAILED


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"status": "lost"},
        {"status": 5},
        {"status": "ok", "payload": "ask_exit"},
        {"status": "ok", "payload": [5, {"source": None}]},
        {"status": "error", "ename": 5, "evalue": None, "traceback": "none"},
        {"status": "error", "traceback": [1, "two", None]},
    ],
)
def test_a_reply_of_any_shape_is_judged(reply: dict[str, Any]) -> None:
    judgement = judged(reply)
    assert (judgement.state is State.SUCCEEDED) == (reply.get("status") == "ok")
    assert not judgement.ends_notebook
    if judgement.failure is not None:
        assert all(isinstance(line, str) for line in judgement.failure.traceback)
