"""`with hermes.narrow(…)`, before a fake host and before a real session."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sdk_hosts import Place, bridge_place, fake_place

import hermes_runtime as hermes
from hermes_runtime import testing
from hermes_runtime.testing import FakeHost


@pytest.fixture(scope="module", params=["fake", "bridge"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    making = fake_place(tmp_path_factory.mktemp("workspace")) if request.param == "fake" else bridge_place()
    with making as place:
        (place.workspace / "data").mkdir()
        place.write("data/a.txt", b"data\n")
        place.write("other.txt", b"other\n")
        yield place


def is_allowed(path: str) -> bool:
    try:
        hermes.read_file(path)
    except hermes.ToolDeniedError as error:
        return error.rule_id != "narrow:default"
    return True


def reach() -> tuple[bool, bool]:
    """Whether what is in `data` may be read, and what isn't."""
    return is_allowed("data/a.txt"), is_allowed("other.txt")


def test_a_block_may_do_what_it_named_and_what_was_before_is_back_afterwards(place: Place) -> None:
    with hermes.narrow("read_file(data/**)", "terminal(echo *)"):
        assert reach() == (True, False)
        assert hermes.terminal("echo hi", stream=False).stdout == "hi\n"
        with pytest.raises(
            PermissionError, match=r"not among what the cell narrowed itself to \(read_file\(data/\*\*\)"
        ):
            hermes.terminal("uname", stream=False)
        with pytest.raises(PermissionError):
            hermes.write_file("data/b.txt", "x")
    assert reach() == (True, True)
    assert not (place.workspace / "data" / "b.txt").exists()


def test_an_error_in_the_block_restores_too(place: Place) -> None:
    with pytest.raises(ZeroDivisionError), hermes.narrow("read_file(data/**)"):
        _ = 1 / 0
    assert reach() == (True, True)


def test_a_block_inside_a_block_only_takes_away(place: Place) -> None:
    with hermes.narrow("read_file(data/**)"), hermes.narrow("read_file", "terminal"):
        assert reach() == (True, False)
        with pytest.raises(PermissionError):
            hermes.terminal("true", stream=False)
        with hermes.narrow():
            assert reach() == (False, False)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (["read_fil(data/**)"], "did you mean read_file"),
        (["read_file("], "narrow"),
        (["*"], "narrow"),
        ([""], "characters"),
        ([3], "not int"),
        (["read_file"] * 33, "at most 32"),
        (["x" * 1025], "1024"),
    ],
)
def test_rules_that_mean_nothing_are_refused_before_the_block_is_entered(
    place: Place, rules: list[Any], problem: str
) -> None:
    entered = False
    with pytest.raises(hermes.InvalidToolRequestError, match=problem), hermes.narrow(*rules):
        entered = True
    assert not entered
    assert reach() == (True, True)


def test_status_shows_what_is_in_force(place: Place) -> None:
    with hermes.narrow("read_file(data/**)"), hermes.narrow("read_file"):
        assert hermes.status().narrowed_to == (("read_file(data/**)",), ("read_file",))
    assert hermes.status().narrowed_to == ()


def test_the_same_block_is_entered_again_without_asking_again(place: Place) -> None:
    for _ in range(3):
        with hermes.narrow("read_file(data/**)") as block:
            assert reach() == (True, False)
        assert repr(block) == "hermes.narrow('read_file(data/**)')"
    with block, pytest.raises(RuntimeError, match="in use"), block:
        pass


# who inherits it -------------------------------------------------------------------------------------------------------


def in_a_thread(function: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_threads_started_inside_inherit_it_and_their_threads_too(place: Place) -> None:
    with hermes.narrow("read_file(data/**)"):
        assert in_a_thread(reach) == (True, False)
        assert in_a_thread(lambda: in_a_thread(reach)) == (True, False)
    assert in_a_thread(reach) == (True, True)


def test_a_thread_keeps_it_when_the_block_that_started_it_is_left(place: Place) -> None:
    left, results = threading.Event(), []
    with hermes.narrow("read_file(data/**)"):
        thread = threading.Thread(target=lambda: left.wait(20) and results.append(reach()))
        thread.start()
    left.set()
    thread.join()
    assert results == [(True, False)]


class Reaching(threading.Thread):
    result: Any = None

    def run(self) -> None:
        self.result = reach()


def test_a_thread_with_a_run_of_its_own_inherits_it_and_is_otherwise_as_it_was(place: Place) -> None:
    with hermes.narrow("read_file(data/**)"):
        thread = Reaching()
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
    assert thread.result == (True, False)
    assert "run" not in vars(thread)


def test_a_pools_jobs_have_what_their_submitter_had_whoever_started_the_threads(place: Place) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(reach).result() == (True, True)
        with hermes.narrow("read_file(data/**)"):
            assert pool.submit(reach).result() == (True, False)
            assert list(pool.map(is_allowed, ["data/a.txt", "other.txt"])) == [True, False]
        assert pool.submit(reach).result() == (True, True)
    with hermes.narrow("read_file(data/**)"):
        pool = ThreadPoolExecutor(1)
        assert pool.submit(reach).result() == (True, False)
    assert pool.submit(reach).result() == (True, True)
    pool.shutdown()


def test_tasks_made_inside_inherit_it_and_tasks_beside_it_do_not(place: Place) -> None:
    async def allowed(path: str) -> bool:
        try:
            await hermes.aio.read_file(path)
        except PermissionError:
            return False
        return True

    async def narrowed() -> tuple[Any, ...]:
        with hermes.aio.narrow("read_file(data/**)"):
            tasks = [asyncio.create_task(allowed(path)) for path in ("data/a.txt", "other.txt")]
            return (*await asyncio.gather(*tasks), await asyncio.to_thread(reach))

    async def main() -> Any:
        return await asyncio.gather(narrowed(), *(allowed("other.txt") for _ in range(5)))

    inside, *beside = asyncio.run(main())
    assert inside == (True, False, (True, False))
    assert beside == [True] * 5


def test_a_forked_child_inherits_it(place: Place) -> None:
    out = place.run_python(
        "import os, hermes_runtime as hermes\n"
        "def allowed(path):\n"
        "    try:\n"
        "        hermes.read_file(path)\n"
        "    except PermissionError:\n"
        "        return False\n"
        "    return True\n"
        "with hermes.narrow('read_file(data/**)'):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        print([allowed('data/a.txt'), allowed('other.txt')], flush=True)\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "print(allowed('other.txt'))\n"
    )
    assert out == "[True, False]\nTrue\n"


def test_a_generator_finished_elsewhere_leaves_the_others_as_they_are(place: Place) -> None:
    def lines() -> Iterator[str]:
        with hermes.narrow("read_file(data/**)"):
            yield "first"
            yield "second"

    async def main() -> tuple[bool, bool]:
        reading = lines()
        await asyncio.to_thread(next, reading)
        reading.close()  # in another context than the one it was entered in
        return reach()

    assert asyncio.run(main()) == (True, True)


# older hosts -----------------------------------------------------------------------------------------------------------


def test_a_host_that_cannot_narrow_is_never_asked_to_do_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "PROTOCOL_VERSIONS", (1,))
    with FakeHost(files={"a.txt": "a"}) as host:
        assert hermes.read_file("a.txt") == "a"
        with (
            pytest.raises(hermes.ToolNotConfiguredError, match=r"version 1 .* install the same release"),
            hermes.narrow("read_file"),
        ):
            hermes.read_file("a.txt")
        assert len(host.calls) == 1


def test_a_call_of_a_narrowed_block_fails_rather_than_go_out_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHost(files={"a.txt": "a"}) as host, hermes.narrow("read_file"):
        assert hermes.read_file("a.txt") == "a"
        hermes._client.current().close()  # the next connection is to an older host
        monkeypatch.setattr(testing, "PROTOCOL_VERSIONS", (1,))
        with pytest.raises(hermes.ToolNotConfiguredError, match="can't be narrowed"):
            hermes.read_file("a.txt")
        assert len(host.calls) == 1


def test_the_fake_tells_what_a_call_was_narrowed_to() -> None:
    with FakeHost({"shout": lambda text: text}) as host, hermes.narrow("shout(h*)"), hermes.narrow("shout"):
        assert hermes.call("shout", text="hi") == "hi"
        with pytest.raises(PermissionError):
            hermes.call("shout", text="no")
    assert [call.narrow for call in host.calls] == [(("shout(h*)",), ("shout",))] * 2
