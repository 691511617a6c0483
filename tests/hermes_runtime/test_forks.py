"""A forked process has a connection of its own, and never another's answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sdk_hosts import Place

from hermes_runtime.testing import FakeHost

# In a process of their own: forking the one that runs the tests would fork its threads' locks too.

FORK = """
import os, sys, threading
import hermes_runtime as hermes

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def echo_place():
    with FakeHost({"echo": lambda word: word, "slow": lambda call: call.wait_cancelled(10)}) as host:
        yield Place("fake", Path(), host.ticket, host.crash)


def test_parent_and_child_both_get_their_own_answers(place: Place) -> None:
    place.write("parent.txt", b"parent")
    place.write("child.txt", b"child")
    code = """
assert hermes.read_file("parent.txt") == "parent"

def work():
    for _ in range(20):
        assert hermes.read_file("child.txt") == "child"

child = os.fork()
if child == 0:
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)
for _ in range(20):
    assert hermes.read_file("parent.txt") == "parent"
assert os.waitpid(child, 0)[1] == 0
assert hermes.read_file("parent.txt") == "parent"
"""
    place.run_python(FORK + code)


def test_a_child_forked_while_threads_call_is_not_locked_out(echo_place: Place) -> None:
    code = """
stop = threading.Event()

def call():
    while not stop.is_set():
        assert hermes.call("echo", word="thread") == "thread"

threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads:
    thread.start()

def work():
    assert hermes.call("echo", word="child") == "child"

for _ in range(20):
    in_child(work)
stop.set()
for thread in threads:
    thread.join(20)
"""
    echo_place.run_python(FORK + code)


def test_a_child_of_a_child_and_one_that_never_called(echo_place: Place) -> None:
    code = """
def grandchild():
    assert hermes.call("echo", word="grandchild") == "grandchild"

def work():
    in_child(grandchild)
    assert hermes.call("echo", word="child") == "child"
    in_child(grandchild)

in_child(work)
assert hermes.call("echo", word="parent") == "parent"
in_child(work)
in_child(lambda: None)
"""
    echo_place.run_python(FORK + code)


def test_multiprocessing_by_fork_works(echo_place: Place) -> None:
    code = """
import multiprocessing
assert hermes.call("echo", word="parent") == "parent"
def ask(number):
    return hermes.call("echo", word=number)
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(ask, range(30)) == list(range(30))
assert hermes.call("echo", word="parent") == "parent"
"""
    echo_place.run_python(FORK + code)


def test_a_fork_in_the_middle_of_a_call_ends_it_in_the_child_only(place: Place) -> None:
    code = """
class Forking:
    children = []
    def write(self, text):
        if not self.children:
            self.children.append(os.fork())
    def flush(self):
        pass

sys.stdout = Forking()
result = error = None
try:
    result = hermes.terminal("echo first; sleep 0.3; echo last")
except hermes.BridgeUnavailableError as caught:
    error = caught
if Forking.children == [0]:
    assert "forked" in str(error), error
    assert hermes.terminal("echo child", stream=False).stdout == "child\\n"
    os._exit(0)
assert result.stdout == "first\\nlast\\n", error
assert os.waitpid(Forking.children[0], 0)[1] == 0
"""
    place.run_python(FORK + code)


def test_interrupts_reach_the_child_of_a_thread(echo_place: Place) -> None:
    code = """
import signal, time
def fork_from_thread():
    def work():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert hermes.call("echo", word="child") == "child"
    started.wait()
    time.sleep(0.1)
    in_child(work)
    os.kill(os.getpid(), signal.SIGINT)

started = threading.Event()
thread = threading.Thread(target=fork_from_thread)
thread.start()
started.set()
try:
    hermes.call("slow")  # the main thread's handler is replaced while it waits
except KeyboardInterrupt:
    print("interrupted")
thread.join()
"""
    assert echo_place.run_python(FORK + code) == "interrupted\n"


def test_a_forked_task_loop_works_again(echo_place: Place) -> None:
    code = """
import asyncio
async def ask(word):
    return await hermes.aio.call("echo", word=word)
assert asyncio.run(ask("parent")) == "parent"
def work():
    assert asyncio.run(ask("child")) == "child"
in_child(work)
assert asyncio.run(ask("parent")) == "parent"
"""
    echo_place.run_python(FORK + code)


def test_a_spawned_process_is_told_how_to_get_a_bridge() -> None:
    code = "import hermes_runtime as hermes; hermes.status()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "BridgeUnavailableError: this kernel was started without a bridge" in ran.stderr


def test_leaving_the_interpreter_of_a_child_is_quick_and_quiet(echo_place: Place) -> None:
    code = """
assert hermes.call("echo", word="parent") == "parent"
child = os.fork()
if child == 0:
    sys.exit(0)  # with everything that interpreters do at their end
assert os.waitpid(child, 0)[1] == 0
assert hermes.call("echo", word="parent") == "parent"
"""
    process = echo_place.start_python(FORK + code)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
