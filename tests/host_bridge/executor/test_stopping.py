"""A run can be asked to end, from a signal or another thread."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator

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
    stop.acknowledge()
    assert not is_readable(stop)
    stop.request("second", 2)
    assert stop.is_urgent
    assert is_readable(stop)
    assert (stop.reason, stop.signal_number) == ("first", 15)


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
