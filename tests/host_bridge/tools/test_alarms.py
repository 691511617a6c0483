from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from host_bridge.tools.alarms import Alarms


@pytest.fixture
def alarms() -> Iterator[Alarms]:
    alarms = Alarms()
    yield alarms
    alarms.close()


def test_actions_are_done_in_the_order_of_their_times(alarms: Alarms) -> None:
    done: queue.SimpleQueue[str] = queue.SimpleQueue()
    started = time.monotonic()
    alarms.after(0.2, lambda: done.put("second"))
    alarms.after(0.1, lambda: done.put("first"))
    alarms.after(0.3, lambda: done.put("third"))
    assert [done.get(timeout=5) for _ in range(3)] == ["first", "second", "third"]
    assert time.monotonic() - started >= 0.3


def test_a_cancelled_action_is_not_done(alarms: Alarms) -> None:
    done: queue.SimpleQueue[str] = queue.SimpleQueue()
    alarms.after(0.05, lambda: done.put("cancelled")).cancel()
    alarms.after(0.1, lambda: done.put("kept"))
    assert done.get(timeout=5) == "kept"


def test_a_closed_clock_does_nothing_more(alarms: Alarms) -> None:
    alarms.after(60, lambda: pytest.fail("done after all"))
    thread = next(thread for thread in threading.enumerate() if thread.name == "alarms")
    alarms.close()
    thread.join(5)
    assert not thread.is_alive()
    alarms.after(0, lambda: pytest.fail("done after all"))
    assert not [thread for thread in threading.enumerate() if thread.name == "alarms"]
