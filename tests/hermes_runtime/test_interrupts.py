"""Ctrl-C: the call is cancelled, the cell gets its KeyboardInterrupt at once, and the next call works."""

from __future__ import annotations

import _thread
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sdk_hosts import Place, is_running
from waiting import until

import hermes_runtime as hermes
from hermes_runtime import _client
from hermes_runtime._deferral import Deferral
from hermes_runtime._wakers import Waker
from hermes_runtime.testing import FakeHost


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Python's own handler, as in a cell, whatever runs the tests has."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_when(condition) -> threading.Thread:
    """Send this process SIGINT once something holds."""

    def wait_and_send() -> None:
        until(condition)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


def test_an_interrupt_ends_the_command_and_raises_at_once(place: Place) -> None:
    thread = interrupt_when(lambda: (place.workspace / "pid").exists() and place.read("pid").strip())
    with pytest.raises(KeyboardInterrupt):
        hermes.terminal("echo $$ > pid; sleep 60 & wait", timeout=30)
    thread.join()
    until(lambda: not is_running(int(place.read("pid"))))
    assert hermes.terminal("echo next").stdout == "next\n"


def test_an_interrupt_reaches_a_call_that_follows_another_threads(place: Place) -> None:
    leader = threading.Thread(target=hermes.terminal, args=("while [ ! -e go ]; do sleep 0.02; done",))
    leader.start()
    until(lambda: _client.current()._link is not None and _client.current()._link.leading is not None)
    thread = interrupt_when(lambda: (place.workspace / "pid").exists())
    with pytest.raises(KeyboardInterrupt):
        hermes.terminal("echo $$ > pid; sleep 60", timeout=30)
    thread.join()
    place.write("go", b"")
    leader.join(10)
    assert not leader.is_alive()


def test_an_interrupt_while_connecting_leaves_nothing_behind() -> None:
    with FakeHost({"double": lambda number: number * 2}) as host:
        host.freeze()
        client = _client.current()
        thread = interrupt_when(lambda: client._link is not None and client._link.queue)
        with pytest.raises(KeyboardInterrupt):
            hermes.call("double", number=1)
        thread.join()
        assert client._link is not None
        assert not client._link.queue
        assert host.calls == []


def test_the_late_reply_of_an_interrupted_call_is_nobodys_answer() -> None:
    release = threading.Event()

    def echo(call, word: str) -> str:
        if word == "slow":
            asked.set()
            release.wait(10)
        return word

    asked = threading.Event()
    with FakeHost({"echo": echo}) as host:
        host._settle_failed = lambda *_: None  # type: ignore[method-assign]  # a host that takes no notice of a cancel
        thread = interrupt_when(asked.is_set)
        with pytest.raises(KeyboardInterrupt):
            hermes.call("echo", word="slow")
        thread.join()
        release.set()
        until(lambda: not host._open)
        assert hermes.call("echo", word="next") == "next"


def test_a_handler_that_raises_nothing_lets_the_call_go_on() -> None:
    noted = []
    signal.signal(signal.SIGINT, lambda *_: noted.append(True))
    asked = threading.Event()

    def slow(call) -> str:
        asked.set()
        time.sleep(0.2)
        return "done"

    with FakeHost({"slow": slow}):
        thread = interrupt_when(asked.is_set)
        assert hermes.call("slow") == "done"
        thread.join()
    assert noted == [True]


def test_an_interrupt_while_output_is_shown_goes_through(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    class Stuck:
        def write(self, text: str) -> int:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the interrupt did not come")

    monkeypatch.setattr("sys.stdout", Stuck())
    with pytest.raises(KeyboardInterrupt):
        hermes.terminal("echo hello; sleep 60", timeout=30)
    monkeypatch.undo()
    assert hermes.terminal("echo next").stdout == "next\n"


def test_the_handler_is_given_back(place: Place) -> None:
    hermes.terminal("true")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(hermes.ToolNotFoundError):
        hermes.read_file("missing")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_that_are_ignored_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with FakeHost({"double": lambda number: number * 2}):
        assert hermes.call("double", number=2) == 4
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def defer(steps: list[str]) -> None:
    with Deferral():
        _thread.interrupt_main()
        steps.append("inside")
    steps.append("after")


def defer_in_a_poll(steps: list[str]) -> None:
    waker = Waker()
    with Deferral(waker) as deferral:
        _thread.interrupt_main()
        waker.wait(10_000)
        steps.append("inside")
        deferral.deliver()
        steps.append("after")


def defer_twice(steps: list[str]) -> None:
    with Deferral():
        with Deferral() as inner:
            _thread.interrupt_main()
            inner.deliver()  # reaches the outer one, which waits too
        steps.append("inside")
    steps.append("after")


@pytest.mark.parametrize("code", [defer, defer_in_a_poll, defer_twice])
def test_a_deferred_interrupt_is_delivered_where_it_was_meant_to_be(code) -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        code(steps)
    assert steps == ["inside"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_deferral_that_was_torn_apart_holds_nothing_back() -> None:
    torn = Deferral()
    torn.__enter__()
    torn._is_active = False  # as an exception leaves it that another signal's handler raised in the middle of it
    with pytest.raises(KeyboardInterrupt):
        _thread.interrupt_main()
    with FakeHost({"double": lambda number: number * 2}):
        assert hermes.call("double", number=2) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_do_not_touch_the_handler() -> None:
    seen = []

    def look() -> None:
        with Deferral():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


HAMMER_SECONDS = 20.0
HAMMER = """
import random, signal, threading, time
import hermes_runtime as hermes

hermes.status()
armed = [False]  # the test's own lines are not what is tested

def handler(*_):
    if armed[0]:
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, handler)
stop = threading.Event()
wrong = []

def other():  # its calls must not suffer
    number = 0
    while not stop.is_set():
        number += 1
        if hermes.call("echo", word=f"other {number}", content=b"") != f"other {number}":
            wrong.append(number)

thread = threading.Thread(target=other)
thread.start()
interrupted = answered = 0
end = time.monotonic() + SECONDS
print("ready", flush=True)
while time.monotonic() < end:
    word = f"main {interrupted} {answered}" + "x" * random.choice([0, 10, 300_000])
    content = b"y" * random.choice([0, 10, 2_000_000])
    try:
        armed[0] = True
        reply = hermes.call("echo", word=word, content=content)
        armed[0] = False
    except KeyboardInterrupt:
        armed[0] = False
        interrupted += 1
    else:
        answered += 1
        if reply != word:
            wrong.append(word[:20])
stop.set()
thread.join(20)
assert not thread.is_alive(), "the other thread hangs"
assert not wrong, wrong
assert hermes.call("echo", word="last", content=b"") == "last"
print(interrupted, answered, flush=True)
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""


def hammer() -> tuple[int, int]:
    """Interrupt a process thousands of times while it calls; give how often it was interrupted and answered."""

    def echo(call, word: str, content: bytes | None = None) -> str:
        if content is None:  # it was uploaded
            for _ in call.body():
                pass
        return word

    with FakeHost({"echo": echo}) as host:
        place = Place("fake", Path(), host.ticket, host.crash)
        process = place.start_python(f"SECONDS = {HAMMER_SECONDS}\n{HAMMER}")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        end = time.monotonic() + HAMMER_SECONDS - 0.1
        while time.monotonic() < end:
            os.kill(process.pid, signal.SIGINT)
            time.sleep(random.random() / 200)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    interrupted, answered = map(int, out.split())
    return interrupted, answered


@pytest.mark.slow
def test_interrupts_at_any_moment_lose_no_lock_tear_no_message_and_mix_up_no_answer() -> None:
    interrupted, answered = hammer()
    assert interrupted > 20 * HAMMER_SECONDS
    assert answered > 0


ALARMS = """
import random, signal, time
import hermes_runtime as hermes

class Alarm(Exception):
    pass

armed = [False]

def handler(*_):
    if armed[0]:
        raise Alarm

hermes.status()
signal.signal(signal.SIGALRM, handler)
alarms = lost = answered = number = 0
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    number += 1
    signal.setitimer(signal.ITIMER_REAL, random.random() / 2000 + 1e-6)
    try:
        armed[0] = True
        reply = hermes.call("echo", word=str(number), content=b"", timeout=20)
        armed[0] = False
    except Alarm:
        armed[0] = False
        alarms += 1
    except hermes.BridgeUnavailableError:
        armed[0] = False
        lost += 1
    else:
        assert reply == str(number), (reply, number)
        answered += 1
signal.setitimer(signal.ITIMER_REAL, 0)
try:
    hermes.call("echo", word="maybe", content=b"")
except hermes.BridgeUnavailableError:
    pass  # the last alarm tore a step, which is noticed now
assert hermes.call("echo", word="last", content=b"") == "last"
print(alarms, lost, answered)
"""


def test_exceptions_of_other_signal_handlers_may_cost_the_connection_but_mix_up_no_answer() -> None:
    with FakeHost({"echo": lambda word, content: word}) as host:
        place = Place("fake", Path(), host.ticket, host.crash)
        alarms, _lost, answered = map(int, place.run_python(f"SECONDS = 3\n{ALARMS}").split())
    assert alarms > 20
    assert answered > 0


TORN = """
import os, sys, zmq
import hermes_runtime as hermes
from hermes_runtime import _client, _sockets, _transport

class Torn(Exception):
    pass

FILES = {_sockets.__file__, _transport.__file__, zmq.sugar.socket.__file__, zmq.sugar.context.__file__}
left = 0

def tear(frame, event, argument):
    global left
    if frame.f_code.co_filename not in FILES:
        return None
    if event == "line":
        left -= 1
        if left == 0:
            raise Torn
    return tear

def tear_end(frame, event, argument):
    if frame.f_code.co_name == "__del__":
        raise Torn

def tear_after(lines, act):
    "Whether an exception after so many lines came in time to tear the act apart."
    global left
    left = lines
    sys.settrace(tear)
    try:
        act()
    except Torn:
        pass
    finally:
        sys.settrace(None)
    return left <= 0

def connect():
    hermes.call("echo", word="first", content=b"")

def fail():
    _client.current().drain(link := _client.current()._link)
    link.fail("torn")

torn = 0
for act in (fail, connect):
    lines = 1
    while True:
        hermes.status()
        if act is connect:
            _client.current().close()
        if not tear_after(lines, act):
            break
        sys.settrace(tear_end)
        try:
            hermes.call("echo", word="maybe", content=b"")
        except hermes.BridgeUnavailableError:
            pass  # what was torn is noticed now
        sys.settrace(None)
        assert hermes.call("echo", word="last", content=b"") == "last"
        _client.current().close()  # which waits for every socket that is open
        torn += 1
        lines += 1
print(torn)
"""


def test_a_connection_torn_apart_at_any_line_of_its_making_or_its_end_leaves_nothing_open_to_wait_for() -> None:
    with FakeHost({"echo": lambda word, content: word}) as host:
        place = Place("fake", Path(), host.ticket, host.crash)
        torn = int(place.run_python(TORN))
    assert torn > 50
