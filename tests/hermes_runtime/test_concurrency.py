"""Many calls at a time: from threads, from tasks, from both, and more than the host takes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
import time
from pathlib import Path

import pytest
from sdk_hosts import Place, is_running
from waiting import until

import hermes_runtime as hermes
from hermes_protocol.messages import Limits
from hermes_runtime import _client
from hermes_runtime._calls import Call, Operation
from hermes_runtime._wakers import Waker
from hermes_runtime.testing import FakeHost

AT_ONCE = 8


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Gate:
    """Lets as many calls through as came, and only when all have: proof that they were under way together."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)

    def pass_through(self, number: int) -> int:
        self.barrier.wait(10)
        return number * 2


def test_calls_of_threads_run_at_the_same_time(place: Place) -> None:
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda number: hermes.terminal(f"sleep 1; echo {number}"), range(AT_ONCE)))
    assert [result.stdout for result in results] == [f"{number}\n" for number in range(AT_ONCE)]
    assert time.monotonic() - started < 5


def test_gathered_calls_run_at_the_same_time(place: Place) -> None:
    async def main() -> list[hermes.TerminalResult]:
        return await asyncio.gather(*(hermes.aio.terminal(f"sleep 1; echo {number}") for number in range(AT_ONCE)))

    started = time.monotonic()
    results = asyncio.run(main())
    assert [result.stdout for result in results] == [f"{number}\n" for number in range(AT_ONCE)]
    assert time.monotonic() - started < 5


def test_sixty_four_threads_each_get_their_own_answers() -> None:
    def echo(number: int) -> int:
        if number % 7 == 0:
            time.sleep(random.random() / 50)
        return number

    def ask(first: int) -> bool:
        return all(hermes.call("echo", number=first * 1000 + n) == first * 1000 + n for n in range(20))

    with FakeHost({"echo": echo}), concurrent.futures.ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(64)))


def test_calls_are_under_way_together_from_threads_and_several_loops() -> None:
    gate = Gate(12)

    async def some(first: int) -> list[int]:
        return await asyncio.gather(*(hermes.aio.call("gate", number=first + n) for n in range(4)))

    with FakeHost({"gate": gate.pass_through}), concurrent.futures.ThreadPoolExecutor(12) as pool:
        loops = [pool.submit(asyncio.run, some(first)) for first in (0, 4)]
        threads = [pool.submit(hermes.call, "gate", number=number) for number in range(8, 12)]
        assert [value for loop in loops for value in loop.result(20)] == [number * 2 for number in range(8)]
        assert [thread.result(20) for thread in threads] == [number * 2 for number in range(8, 12)]


def test_a_blocking_call_inside_a_loop_delivers_to_the_tasks_that_wait() -> None:
    released = threading.Event()

    def wait() -> str:
        assert released.wait(10)
        return "waited"

    def release() -> str:
        released.set()
        return "released"

    async def main() -> tuple[str, str]:
        task = asyncio.create_task(hermes.aio.call("wait"))
        await asyncio.sleep(0)
        done = hermes.call("release")
        time.sleep(0)
        return await task, done

    with FakeHost({"wait": wait, "release": release}):
        assert asyncio.run(main()) == ("waited", "released")


def test_sequential_awaits_and_new_loops_go_on_working() -> None:
    async def some() -> list[int]:
        return [await hermes.aio.call("double", number=number) for number in range(5)]

    with FakeHost({"double": lambda number: number * 2}):
        descriptors = open_descriptors()
        for _ in range(30):
            assert asyncio.run(some()) == [0, 2, 4, 6, 8]
        assert open_descriptors() <= descriptors + 10


def test_an_idle_loop_is_not_kept_busy_by_calls_of_threads() -> None:
    async def main() -> int:
        await hermes.aio.call("double", number=1)
        ticks = 0
        loop = asyncio.get_running_loop()
        select = loop._selector.select  # type: ignore[attr-defined]

        def counting(timeout):
            nonlocal ticks
            ticks += 1
            return select(timeout)

        loop._selector.select = counting  # type: ignore[attr-defined]
        await loop.run_in_executor(None, lambda: [hermes.call("double", number=n) for n in range(200)])
        return ticks

    with FakeHost({"double": lambda number: number * 2}):
        assert asyncio.run(main()) < 20


def test_cancelling_a_task_cancels_the_call_on_the_host(place: Place) -> None:
    async def main() -> int:
        task = asyncio.create_task(hermes.aio.terminal("echo $$ > pid; exec sleep 60"))
        while not (place.workspace / "pid").exists() or not place.read("pid").strip():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await hermes.aio.terminal("echo next")).stdout == "next\n"
        return int(place.read("pid"))

    process_id = asyncio.run(main())
    until(lambda: not is_running(process_id))


def test_wait_for_cancels_the_call_on_the_host() -> None:
    seen = threading.Event()

    def slow(call) -> None:
        if call.wait_cancelled(10):
            seen.set()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hermes.aio.call("slow"), 0.1)

    with FakeHost({"slow": slow}):
        asyncio.run(main())
        assert seen.wait(10)


def test_more_calls_than_the_host_takes_wait_for_their_turn() -> None:
    under_way, most = [0], [0]
    lock = threading.Lock()

    def count(number: int) -> int:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.02)
        with lock:
            under_way[0] -= 1
        return number

    async def ten(first: int) -> list[int]:
        return await asyncio.gather(*(hermes.aio.call("count", number=first + n) for n in range(10)))

    limits = Limits(open_calls=3, frame_bytes=2**20, upload_window_bytes=2**20, heartbeat_seconds=5)
    with FakeHost({"count": count}, limits=limits), concurrent.futures.ThreadPoolExecutor(20) as pool:
        tasks = pool.submit(asyncio.run, ten(100))
        assert list(pool.map(lambda n: hermes.call("count", number=n), range(20))) == list(range(20))
        assert tasks.result(20) == list(range(100, 110))
    assert most[0] == 3


def test_waiting_for_a_turn_is_bounded_by_the_calls_own_time() -> None:
    limits = Limits(open_calls=1, frame_bytes=2**20, upload_window_bytes=2**20, heartbeat_seconds=5)
    held = threading.Event()

    def hold(call) -> None:
        held.set()
        call.wait_cancelled(10)

    def hold_for_a_while() -> None:
        with pytest.raises(hermes.ToolTimeoutError):
            hermes.call("hold", timeout=2)

    with FakeHost({"hold": hold}, limits=limits) as host:
        holder = threading.Thread(target=hold_for_a_while)
        holder.start()
        assert held.wait(10)
        with pytest.raises(hermes.ToolTimeoutError, match=r"waited 0\.3 s for room.*1 open call"):
            hermes.call("hold", timeout=0.3)
        assert len(host.calls) == 1
        holder.join(10)


def test_uploads_of_many_threads_share_the_hosts_patience(place: Place) -> None:
    contents = {f"{number}.bin": bytes([number]) * (3 * 2**20) for number in range(40)}
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda name: hermes.write_file(name, contents[name]), contents))
    assert all(place.read(name) == content for name, content in contents.items())


def test_output_of_parallel_commands_is_not_mixed_up(place: Place) -> None:
    def run(number: int) -> bool:
        result = hermes.terminal(f"for i in $(seq 200); do echo {number}; done", stream=False)
        return result.stdout == f"{number}\n" * 200

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(run, range(AT_ONCE * 2)))


def test_threads_that_end_leave_no_descriptors_behind() -> None:
    with FakeHost({"double": lambda number: number * 2}):
        hermes.call("double", number=1)
        before = open_descriptors()
        for _ in range(50):
            thread = threading.Thread(target=hermes.call, args=("double",), kwargs={"number": 1})
            thread.start()
            thread.join()
        until(lambda: open_descriptors() <= before + 2)


def test_awaitable_processes_do_what_blocking_ones_do(bridge: Place) -> None:
    async def main() -> None:
        process = await hermes.aio.terminal("read line; echo got $line", background=True)
        assert (await process.poll()).running
        await process.submit("word")
        assert (await process.wait(10)).exit_code == 0
        assert (await process.read()).output == "got word\n"
        assert [state.session_id for state in await hermes.aio.process("list")] == [process.session_id]

    asyncio.run(main())


def test_a_step_that_was_torn_apart_ends_the_connection_and_not_the_truth() -> None:
    with FakeHost({"double": lambda number: number * 2}):
        assert hermes.call("double", number=1) == 2
        client = _client.current()
        first = client._link
        client._in_step = True  # as an exception thrown into a thread in the middle of a step leaves it
        assert hermes.call("double", number=2) == 4
        assert client._link is not first


def test_threads_go_on_when_the_one_that_led_them_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "LEADERLESS_SECONDS", 0.2)
    limits = Limits(open_calls=8, frame_bytes=2**20, upload_window_bytes=2**20, heartbeat_seconds=0.2)
    with FakeHost({"double": lambda number: number * 2, "slow": lambda call: call.wait_cancelled(1.5)}, limits=limits):
        assert hermes.call("double", number=1) == 2
        link = _client.current()._link
        assert link is not None
        link.leading = Call(Operation("gone", {}, 1.0), Waker(), 0.0, None, blocking=True)
        started = time.monotonic()
        assert hermes.call("slow", timeout=60) is False
        assert time.monotonic() - started < 5
        assert link.leading is None
