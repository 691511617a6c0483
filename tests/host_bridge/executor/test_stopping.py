"""A run can be asked to end, from a signal or another thread."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from host_bridge.executor.stopping import StopRequest, signals_stop


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    request = StopRequest()
    yield request
    request.close()


def is_readable(stop: StopRequest) -> bool:
    return bool(select.select([stop.fileno()], [], [], 0)[0])


def test_nobody_has_asked_at_first(stop: StopRequest) -> None:
    assert not stop
    assert not is_readable(stop)


def test_a_request_is_seen_by_who_polls(stop: StopRequest) -> None:
    stop.request("because")
    assert stop
    assert is_readable(stop)
    assert not stop.is_urgent


def test_a_second_request_is_urgent_and_seen_again(stop: StopRequest) -> None:
    stop.request("first", 15)
    stop.drain()
    assert not is_readable(stop)
    stop.request("second", 2)
    assert stop.is_urgent
    assert is_readable(stop)
    assert (stop.reason, stop.signal_number) == ("first", 15)


@pytest.mark.parametrize("step", range(1, 6))
def test_a_second_signal_is_urgent_whichever_step_of_the_first_it_interrupts(stop: StopRequest, step: int) -> None:
    steps = 0

    def interrupt(frame: FrameType, event: str, argument: object) -> object:
        nonlocal steps
        if event == "line" and frame.f_code is StopRequest.request.__code__:
            steps += 1
            if steps == step:
                sys.settrace(None)
                stop.request("the other", 15)
        return interrupt

    sys.settrace(interrupt)
    try:
        stop.request("the one", 2)
    finally:
        sys.settrace(None)
    assert steps == step
    assert stop.is_urgent


def test_a_signal_wakes_who_polls_even_before_its_handler_runs(stop: StopRequest) -> None:
    before = signal.set_wakeup_fd(-1)
    with signals_stop(stop):
        assert signal.set_wakeup_fd(stop.wakeup_descriptor) == stop.wakeup_descriptor
    assert signal.set_wakeup_fd(before) == -1


def test_a_request_after_the_run_harms_nobody() -> None:
    stop = StopRequest()
    stop.close()
    stop.request("too late")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_and_the_old_handler_comes_back(stop: StopRequest, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with signals_stop(stop):
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored(stop: StopRequest) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_stop(stop):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_leave_signals_alone(stop: StopRequest) -> None:
    seen = []

    def work() -> None:
        with signals_stop(stop):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
