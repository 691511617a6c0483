from __future__ import annotations

from asked_calls import asked_call

from host_bridge.approvals.cooling import FIRST_SECONDS, LONGEST_SECONDS, MAX_ENTRIES, MEMORY_SECONDS, NOES, Cooling


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def cooling() -> tuple[Cooling, Clock]:
    clock = Clock()
    return Cooling(clock), clock


def test_one_no_is_asked_again_the_second_cools_the_call_down():
    cool, clock = cooling()
    call = asked_call()
    cool.denied((call,))
    assert cool.seconds_left(call) == 0
    cool.denied((call,))
    assert cool.seconds_left(asked_call()) == FIRST_SECONDS
    assert cool.seconds_left(asked_call("git push origin other")) == 0
    clock.seconds = FIRST_SECONDS
    assert cool.seconds_left(call) == 0


def test_another_argument_at_the_same_place_does_not_start_anew():
    cool, _ = cooling()
    for number in range(NOES["place"]):
        cool.denied((asked_call(f"git push origin b{number}"),))
    assert cool.seconds_left(asked_call("git push origin new")) == FIRST_SECONDS
    assert cool.seconds_left(asked_call("git push origin new", line=9)) == 0


def test_another_line_for_each_call_does_not_start_anew():
    cool, _ = cooling()
    for number in range(NOES["rule"]):
        cool.denied((asked_call(f"git push origin b{number}", line=number),))
    assert cool.seconds_left(asked_call("git push origin new", line=99)) == FIRST_SECONDS
    assert cool.seconds_left(asked_call("git push origin new", line=99, rule_id="project:rules.ask[0]")) == 0


def test_a_no_to_a_loop_is_one_no():
    cool, _ = cooling()
    cool.denied(tuple(asked_call(f"git push origin b{number}") for number in range(50)))
    assert cool.seconds_left(asked_call("git push origin new")) == 0


def test_each_further_no_doubles_the_quiet_up_to_a_bound():
    cool, clock = cooling()
    call = asked_call()
    quiet = []
    for _ in range(40):
        cool.denied((call,))
        quiet.append(cool.seconds_left(call))
        clock.seconds += quiet[-1]
    assert quiet[1:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS]
    assert max(quiet) == quiet[-1] == LONGEST_SECONDS


def test_a_yes_and_a_long_time_forget_the_noes():
    cool, clock = cooling()
    call = asked_call()
    cool.denied((call,))
    cool.allowed(call)
    cool.denied((call,))
    assert cool.seconds_left(call) == 0
    clock.seconds = MEMORY_SECONDS + 1
    cool.denied((call,))
    assert cool.seconds_left(call) == 0


def test_what_is_remembered_is_bounded():
    cool, _ = cooling()
    for number in range(MAX_ENTRIES):
        cool.denied((asked_call(digest=str(number), line=number),))
    assert len(cool._noes) == MAX_ENTRIES
