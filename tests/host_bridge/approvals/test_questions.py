from __future__ import annotations

import pytest
from asked_calls import asked_call
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.approvals.questions import (
    GATHER_SECONDS,
    MAX_OPEN,
    MAX_SIBLINGS,
    QUIET_SECONDS,
    FullError,
    Question,
    Questions,
)


def only(questions: list[Question]) -> Question:
    (question,) = questions
    return question


def test_a_lone_call_is_asked_about_at_once():
    questions = Questions("s-q", 300)
    call = asked_call()
    questions.join(call, 0, quiet_seconds=0)
    question = only(questions.due(0))
    assert (question.question_id, question.asked, question.deadline) == ("s-q1", call, 300)
    assert questions.due(0) == []


def test_a_loop_gathers_until_it_is_quiet_and_is_one_question():
    questions = Questions("q", 300)
    calls = [asked_call(f"git push origin b{number % 3}") for number in range(9)]
    for number, call in enumerate(calls):
        questions.join(call, number * 0.01, quiet_seconds=QUIET_SECONDS)
    assert questions.due(0.08 + QUIET_SECONDS / 2) == []
    assert questions.next_time(0.1) == pytest.approx(0.08 + QUIET_SECONDS)
    question = only(questions.due(0.081 + QUIET_SECONDS))
    assert list(question.calls.values()) == calls
    assert question.distinct == tuple(calls[:3])
    assert [question.waiting(call.digest) for call in question.distinct] == [3, 3, 3]


def test_a_loop_that_never_gets_quiet_is_asked_about_all_the_same():
    questions = Questions("q", 300)
    step = QUIET_SECONDS / 2
    count = int(GATHER_SECONDS / step)
    for number in range(count):
        questions.join(asked_call(), number * step, quiet_seconds=QUIET_SECONDS)
        assert questions.due(number * step) == []
    assert len(only(questions.due(GATHER_SECONDS)).calls) == count


def test_what_joins_after_a_question_was_shown_is_not_part_of_it():
    questions = Questions("q", 300)
    questions.join(asked_call(), 0, quiet_seconds=0)
    shown = only(questions.due(0))
    late = asked_call()
    questions.join(late, 1, quiet_seconds=0)
    assert questions.due(2) == []
    assert late.call_id not in shown.calls
    assert questions.close(shown.question_id) is shown
    assert only(questions.due(3)).asked is late


@pytest.mark.parametrize(
    "other", [{"rule_id": "project:rules.ask[0]"}, {"cell_index": 3}, {"line": 4}, {"untrusted": "web_search"}]
)
def test_another_rule_place_or_trust_is_another_question(other):
    questions = Questions("q", 300)
    questions.join(asked_call(), 0, quiet_seconds=0)
    questions.join(asked_call(**other), 0, quiet_seconds=0)
    assert len(questions.due(0)) == 2


def test_a_question_shows_a_bounded_number_of_different_calls_and_the_rest_waits():
    questions = Questions("q", 300)
    for number in range(MAX_SIBLINGS + 50):
        questions.join(asked_call(f"git push origin b{number}"), 0, quiet_seconds=0)
    first = only(questions.due(0))
    assert len(first.distinct) == MAX_SIBLINGS + 1
    questions.close(first.question_id)
    assert len(only(questions.due(0)).distinct) == 49


def test_a_person_has_a_bounded_number_of_questions_before_them():
    questions = Questions("q", 300)
    for line in range(MAX_OPEN + 5):
        questions.join(asked_call(line=line), 0, quiet_seconds=0)
    shown = questions.due(0)
    assert len(shown) == MAX_OPEN
    questions.close(shown[0].question_id)
    assert len(questions.due(0)) == 1


def test_only_so_many_calls_wait():
    questions = Questions("q", 300, limit=3)
    for _ in range(3):
        questions.join(asked_call(), 0, quiet_seconds=0)
    with pytest.raises(FullError):
        questions.join(asked_call(), 0, quiet_seconds=0)
    assert questions.waiting == 3


def test_nobody_waits_for_ever():
    questions = Questions("q", 10)
    questions.join(asked_call(), 0, quiet_seconds=0)
    shown = only(questions.due(0))
    unseen = asked_call()
    questions.join(unseen, 1, quiet_seconds=0)
    assert questions.expired(9) == ([], [])
    assert questions.expired(10) == ([shown], [])
    other = only(questions.due(10))
    assert other.asked is unseen
    assert questions.close(shown.question_id) is None
    late = asked_call()
    questions.join(late, 11, quiet_seconds=0)
    assert questions.expired(11 + questions.turn_seconds) == ([other], [late])
    assert questions.waiting == 0
    assert questions.next_time(0) is None


def test_a_call_that_ends_leaves_and_takes_an_empty_question_with_it():
    questions = Questions("q", 300)
    first, second = asked_call(), asked_call()
    questions.join(first, 0, quiet_seconds=0)
    shown = only(questions.due(0))
    questions.join(second, 0, quiet_seconds=0)
    assert questions.leave(second.call_id) == (True, None)
    questions.join(second, 0, quiet_seconds=0)
    assert questions.leave(first.call_id) == (True, shown)
    assert questions.leave(first.call_id) == (False, None)
    assert questions.close(shown.question_id) is None
    assert only(questions.due(0)).asked is second


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 2), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.floats(0, 20)),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_every_call_is_in_exactly_one_place_until_it_is_told(steps):
    """Joined calls wait, or were given out once: by an answer, an expiry, or because they left."""
    questions = Questions("q", 10, limit=20)
    now = 0.0
    joined: list[str] = []
    told: list[str] = []
    shown: dict[str, tuple[str, ...]] = {}
    for step in steps:
        match step:
            case ("join", line, number, at_once):
                call = asked_call(f"git push origin b{number}", line=line)
                try:
                    questions.join(call, now, quiet_seconds=0 if at_once else QUIET_SECONDS)
                except FullError:
                    assert questions.waiting == 20
                else:
                    joined.append(call.call_id)
            case ("leave", index) if index < len(joined):
                told += [joined[index]] * questions.leave(joined[index])[0]
            case ("close", index) if index < len(shown):
                question_id = list(shown)[index]
                question = questions.close(question_id)
                if question is not None:
                    assert set(question.calls) <= set(shown[question_id])
                    told += question.calls
            case ("wait", seconds):
                now += seconds
                late, unseen = questions.expired(now)
                told += [call_id for question in late for call_id in question.calls]
                told += [call.call_id for call in unseen]
        for question in questions.due(now):
            assert question.question_id not in shown
            shown[question.question_id] = tuple(question.calls)
    closed, unseen = questions.close_all()
    told += [call_id for question in closed for call_id in question.calls]
    told += [call.call_id for call in unseen]
    assert sorted(told) == sorted(joined)
    assert questions.waiting == 0
