"""Budgets: exact at their edge, whoever is at it at the same time, and refused by name when nobody counts them."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bare_kernel import BareKernel, Host, open_host, open_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_protocol.messages import Chunk, StatusReply, StatusRequest
from host_bridge import control
from host_bridge.budgets import MEANINGS, Budgets, check_limits, strictest
from host_bridge.errors import BudgetError, ConfigurationError

NAMES = st.sampled_from([*MEANINGS, "calls.terminal", "calls.read_file"])
LIMITS = st.dictionaries(NAMES, st.floats(0, 1e12), max_size=6)
AT_ONCE = 50


def used(budgets: Budgets, name: str) -> float:
    return next(item.used for item in budgets.snapshot() if item.name == name)


# names and limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"cals": 1}, r"'cals' \(did you mean calls\?\)"),
        ({"byte_out": 1}, "did you mean bytes_out"),
        ({"calls.": 1}, "no budget is called"),
        ({"calls.Terminal": 1}, "no budget is called"),
        ({"seconds.terminal": 1}, "no budget is called"),
        ({3: 1}, "no budget is called"),
        ({"calls": -1}, "a number from 0 on"),
        ({"calls": math.inf}, "a number from 0 on"),
        ({"calls": math.nan}, "a number from 0 on"),
        ({"calls": "5"}, "a number from 0 on"),
        ({"calls": True}, "a number from 0 on"),
    ],
)
def test_what_is_no_limit_is_refused_with_the_nearest_name(limits: dict[Any, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        check_limits(limits, key="somewhere")
    assert caught.value.key.startswith("somewhere.")


def test_none_is_no_limit() -> None:
    assert check_limits({"calls": None, "calls.terminal": 5}) == {"calls.terminal": 5.0}


@given(several=st.lists(LIMITS, max_size=4))
def test_of_several_limits_the_lowest_counts_and_more_of_them_never_widen(several: list[dict[str, float]]) -> None:
    together = strictest(*several)
    assert set(together) == {name for limits in several for name in limits}
    for limits in several:
        assert all(together[name] <= limit for name, limit in limits.items())
    assert strictest(*reversed(several)) == together == strictest(together, together)


# the account -----------------------------------------------------------------------------------------------------------


def at_once(act: Any) -> list[bool]:
    """Have fifty threads do something at the same moment; gives which of them might."""
    start = threading.Barrier(AT_ONCE)

    def run(_: int) -> bool:
        start.wait(20)
        try:
            act()
        except BudgetError:
            return False
        return True

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, range(AT_ONCE)))


@settings(max_examples=15, deadline=None)
@given(
    limit=st.integers(0, 60),
    before=st.integers(0, 60),
    name=st.sampled_from(["calls", "calls.tool", "concurrent_calls"]),
)
def test_fifty_calls_at_the_edge_get_exactly_what_is_left(limit: int, before: int, name: str) -> None:
    budgets = Budgets({name: limit})
    for _ in range(before):
        with contextlib.suppress(BudgetError):
            budgets.reserve("tool")
    assert sum(at_once(lambda: budgets.reserve("tool"))) == min(AT_ONCE, max(0, limit - before))
    assert used(budgets, name) == min(limit, before + AT_ONCE)


@settings(max_examples=15, deadline=None)
@given(limit=st.integers(0, 3000), sizes=st.lists(st.integers(1, 100), min_size=AT_ONCE, max_size=AT_ONCE))
def test_contents_given_at_the_same_time_never_exceed_the_budget_by_a_byte(limit: int, sizes: list[int]) -> None:
    budgets = Budgets({"bytes": limit})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        given_out = sum(pool.map(budgets.take_out, sizes))
    assert given_out == used(budgets, "bytes") == min(limit, sum(sizes))


@settings(max_examples=15, deadline=None)
@given(limit=st.integers(0, 3000), size=st.integers(1, 100))
def test_what_is_given_or_sent_whole_fits_or_is_not_counted(limit: int, size: int) -> None:
    for name, take in (
        ("bytes_out", lambda budgets, size: budgets.take_result(size, 0)),
        ("bytes_in", Budgets.take_in),
    ):
        budgets = Budgets({name: limit})
        assert sum(at_once(lambda take=take, budgets=budgets: take(budgets, size))) == min(AT_ONCE, limit // size)
        assert used(budgets, name) <= limit


@given(
    limits=st.dictionaries(st.sampled_from(["calls", "concurrent_calls", "bytes_in", "seconds"]), st.integers(0, 20)),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40),
)
def test_a_call_that_is_refused_takes_nothing(limits: dict[str, float], steps: list[tuple[bool, int]]) -> None:
    budgets, open_calls = Budgets(limits), 0
    for begins, amount in steps:
        before = {item.name: item.used for item in budgets.snapshot() if item.name != "wall_seconds"}
        if begins:
            try:
                budgets.reserve("tool", amount)
            except BudgetError:
                assert before == {item.name: item.used for item in budgets.snapshot() if item.name != "wall_seconds"}
            else:
                open_calls += 1
        elif open_calls:
            budgets.settle(amount)
            open_calls -= 1
        assert used(budgets, "concurrent_calls") == open_calls
    for name in ("calls", "concurrent_calls", "bytes_in"):
        assert used(budgets, name) <= limits.get(name, math.inf)


def test_time_is_what_is_left_of_the_session_and_of_all_its_calls() -> None:
    now = [100.0]
    budgets = Budgets({"wall_seconds": 60, "seconds": 40}, clock=lambda: now[0])
    assert budgets.seconds_left() == 40
    budgets.reserve("tool")
    budgets.settle(15)
    assert budgets.seconds_left() == 25
    now[0] += 50
    assert (budgets.seconds_left(), used(budgets, "wall_seconds")) == (10, 50)
    now[0] += 10
    with pytest.raises(BudgetError, match=r"60 wall seconds is used up.*\[budgets\] wall_seconds"):
        budgets.reserve("tool")
    assert budgets.seconds_left() == 0


def test_what_somebody_else_counts_is_shown_with_its_limit() -> None:
    budgets = Budgets({"pending_asks": 1})
    budgets.observe("pending_asks", lambda: 1)
    assert used(budgets, "pending_asks") == 1
    budgets.reserve("tool")  # what needs no person goes on


# a session's -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def session(**budgets: float) -> Iterator[tuple[Host, BareKernel]]:
    named = {name.replace("__", "."): limit for name, limit in budgets.items()}
    with open_host(profile="full", budgets=named) as host:
        host.expect(control.Ready)
        with open_kernel(host) as kernel:
            kernel.greet()
            yield host, kernel


def budget(kernel: BareKernel, name: str) -> float:
    kernel.say(StatusRequest(id=kernel.connection.next_id()))
    reply: StatusReply = kernel.hear(StatusReply)
    return next(item.used for item in reply.budgets if item.name == name)


def test_fifty_parallel_calls_of_a_kernel_at_the_edge_of_each_budget() -> None:
    with session(calls=90, calls__terminal=20) as (host, kernel):
        host.write("a.txt", b"a")
        asked = [kernel.ask("terminal", command="true") for _ in range(AT_ONCE)]
        asked += [kernel.ask("read_file", path="a.txt") for _ in range(AT_ONCE)]
        codes = {}
        while len(codes) < len(asked):
            message, _ = kernel.receive()
            if not isinstance(message, Chunk):
                codes[message.id] = message.failure.code if message.failure else "ok"
        outcome = [codes[call_id] for call_id in asked]
        assert outcome[:AT_ONCE].count("ok") == 20
        # A refused call took nothing of the other budget.
        assert outcome[AT_ONCE:].count("ok") == AT_ONCE
        assert set(outcome) == {"ok", "budget_exhausted"}
        assert (budget(kernel, "calls"), budget(kernel, "calls.terminal")) == (70, 20)


def test_a_stream_is_cut_at_the_budget_to_the_byte_and_says_so() -> None:
    with session(bytes=1_500_000) as (host, kernel):
        host.write("big.bin", bytes(5_000_000))
        answer = kernel.call("read_file", path="big.bin", unit="bytes", window_bytes=8 * 2**20)
        assert (answer.code, len(answer.content)) == ("budget_exhausted", 1_500_000)
        assert "1.5e+06 bytes is used up" in answer.reply.failure.message
        assert budget(kernel, "bytes") == 1_500_000
        assert kernel.call("terminal", command="true").code == "budget_exhausted"


def test_a_command_that_writes_without_end_is_ended_by_its_budget(tmp_path: Path) -> None:
    with session(bytes_out=100_000) as (_host, kernel):
        answer = kernel.call("terminal", command="yes", window_bytes=8 * 2**20)
        assert (answer.code, len(answer.streams["stdout"])) == ("budget_exhausted", 100_000)


def test_contents_that_fit_no_more_are_held_back_whole() -> None:
    with session(bytes=150) as (host, kernel):
        host.write("a.txt", b"a" * 100)
        assert kernel.call("read_file", path="a.txt").code == "ok"
        answer = kernel.call("read_file", path="a.txt")
        assert (answer.code, answer.content) == ("budget_exhausted", b"")
        assert "has 100 bytes and 50 are left" in answer.reply.failure.message
        assert budget(kernel, "bytes") == 100


def test_what_is_sent_along_counts_and_an_upload_over_the_budget_leaves_no_file() -> None:
    with session(bytes_in=1_000_000) as (host, kernel):
        assert kernel.call("write_file", path="a.bin", bulk=("content",), contents=(bytes(600_000),)).code == "ok"
        refused = kernel.call("write_file", path="b.bin", bulk=("content",), contents=(bytes(600_000),))
        assert refused.code == "budget_exhausted"
        call_id = kernel.ask("write_file", path="c.bin", upload="content")
        for last in (False, False, True):
            kernel.say(Chunk(id=call_id, stream="body", end=last), bytes(200_000))
        while not hasattr(message := kernel.receive()[0], "failure"):
            pass
        assert message.failure.code == "budget_exhausted"
        assert sorted(path.name for path in Path(host.config.workspace).iterdir()) == ["a.bin"]
        assert budget(kernel, "bytes_in") <= 1_000_000


def test_a_call_that_outlasts_the_sessions_time_is_ended_as_that() -> None:
    with session(wall_seconds=2) as (_host, kernel):
        answer = kernel.call("terminal", command="sleep 60", timeout=60)
        assert answer.code == "budget_exhausted"
        assert "2 wall seconds" in answer.reply.failure.message
        assert kernel.call("terminal", command="true").code == "budget_exhausted"


def test_a_budget_for_a_tool_there_is_not_refuses_the_session() -> None:
    with open_host(budgets={"calls.termnal": 1}) as host:
        refused = host.expect(control.Refused)
        assert (refused.error, refused.key) == ("ConfigurationError", "budgets.calls.termnal")
        assert "did you mean calls.terminal?" in refused.message
