from __future__ import annotations

import threading

from asked_calls import asked_call
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.approvals.grants import MAX_GRANTS, Grants
from host_bridge.approvals.patterns import LoopPattern
from host_bridge.control import Pattern

BRANCHES = st.sampled_from(["main", "other", "third"])
VERBS = st.sampled_from(["push origin", "push far", "pull origin"])


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def loop(calls: int, seconds: float = 60.0) -> LoopPattern:
    return LoopPattern(Pattern(rule="terminal(git push origin *)", calls=calls, seconds=seconds), asked_call())


def test_a_yes_for_the_run_is_for_this_very_call():
    grants = Grants()
    grants.remember(asked_call(), "run", "q1")
    permission = grants.take(asked_call())
    assert permission is not None
    assert (permission.scope, permission.question_id) == ("run", "q1")
    assert grants.take(asked_call("git push origin other")) is None
    assert grants.take(asked_call(rule_id="project:rules.ask[0]")) is None


def test_a_yes_from_before_untrusted_content_does_not_hold_after_it():
    grants = Grants()
    grants.remember(asked_call(), "run", "q1")
    tainted = asked_call(untrusted="web_extract https://example.org")
    assert grants.take(tainted) is None
    grants.remember(tainted, "run", "q2")
    assert grants.take(tainted) is not None
    assert grants.take(asked_call()) is not None


def test_a_pattern_says_which_use_it_is_and_ends_with_the_last():
    grants = Grants()
    grants.remember_pattern(loop(2), "q1")
    reasons = [permission.reason for permission in (grants.take(asked_call()), grants.take(asked_call())) if permission]
    assert [reason.rpartition(", ")[2] for reason in reasons] == ["call 1 of 2", "call 2 of 2"]
    assert grants.take(asked_call()) is None


def test_fifty_parallel_calls_at_the_edge_use_up_exactly_what_was_allowed():
    grants = Grants()
    grants.remember_pattern(loop(30), "q1")
    together = threading.Barrier(50)
    taken: list[object] = []

    def take() -> None:
        call = asked_call()
        together.wait()
        if (permission := grants.take(call)) is not None:
            taken.append(permission.reason)

    threads = [threading.Thread(target=take) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 30


def test_what_is_kept_is_bounded():
    grants = Grants()
    for number in range(MAX_GRANTS + 10):
        grants.remember(asked_call(digest=str(number)), "run", "q")
    assert grants.take(asked_call(digest="5")) is None
    assert grants.take(asked_call(digest="10")) is not None


@settings(max_examples=200, deadline=None)
@given(
    granted=st.lists(st.tuples(BRANCHES, st.booleans()), max_size=3),
    patterns=st.lists(st.tuples(st.integers(1, 4), st.floats(1, 30)), max_size=3),
    uses=st.lists(st.tuples(VERBS, BRANCHES, st.booleans(), st.floats(0, 10)), max_size=30),
)
def test_no_use_outlives_outnumbers_or_outreaches_its_yes(granted, patterns, uses):
    clock = Clock()
    grants = Grants(clock)
    for branch, tainted in granted:
        grants.remember(asked_call(f"git push origin {branch}", untrusted="web" * tainted), "run", "q")
    for calls, seconds in patterns:
        grants.remember_pattern(loop(calls, seconds), "p")
    used = 0
    for verb, branch, tainted, pause in uses:
        clock.seconds += pause
        permission = grants.take(asked_call(f"git {verb} {branch}", untrusted="web" * tainted))
        if permission is None:
            continue
        assert verb == "push origin"
        if permission.scope == "run":
            assert (branch, True) in granted or (not tainted and (branch, False) in granted)
        else:
            used += 1
            assert not tainted
            assert any(clock.seconds < seconds for _, seconds in patterns)
    assert used <= sum(calls for calls, _ in patterns)
