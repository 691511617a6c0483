"""A run's clock stands still while a person is asked."""

from __future__ import annotations

from host_bridge.executor.clock import RunClock


class Seconds:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_time_passes() -> None:
    seconds = Seconds()
    clock = RunClock(seconds)
    seconds.now += 3
    assert clock.seconds() == 3


def test_a_pause_does_not_count() -> None:
    seconds = Seconds()
    clock = RunClock(seconds)
    seconds.now += 1
    with clock.paused():
        seconds.now += 100
        assert clock.seconds() == 1
    seconds.now += 2
    assert clock.seconds() == 3


def test_pauses_that_overlap_count_once() -> None:
    seconds = Seconds()
    clock = RunClock(seconds)
    first, second = clock.paused(), clock.paused()
    with first:
        seconds.now += 10
        second.__enter__()
        seconds.now += 10
    seconds.now += 10
    second.__exit__(None, None, None)
    seconds.now += 1
    assert clock.seconds() == 1
