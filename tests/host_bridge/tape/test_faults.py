"""Replays in which one call goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from taped_sessions import answers, ask, call, end, session

from host_bridge import control
from host_bridge.executor.faults import (
    COPES,
    CRASHES,
    UNTRIED,
    WARNS,
    WRONG,
    _Allowance,
    _findings,
    _judge,
    _Results,
)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "tape"
    with session(control.TapeOrders(path=str(path))) as (host, kernel):
        Path(host.config.workspace, "a.txt").write_bytes(b"0123456789")
        call(kernel, "read_file", line=3, path="a.txt")
        call(kernel, "terminal", line=4, command="seq 1 100")
        end(host)
    return path


@pytest.mark.parametrize(("kind", "code"), [("timeout", "timed_out"), ("denied", "denied"), ("provider", "failed")])
def test_a_call_goes_wrong_once_and_its_repetition_gets_the_answer(tape: Path, kind: str, code: str) -> None:
    fault = control.TapeFault(cell_index=2, line=3, tool="read_file", kind=kind)
    with session(answers(tape, fault=fault)) as (host, kernel):
        assert call(kernel, "read_file", line=3, path="a.txt").code == code
        assert call(kernel, "read_file", line=3, path="a.txt").content == b"0123456789"
        assert call(kernel, "terminal", line=4, command="seq 1 100").code == "ok"
        assert call(kernel, "read_file", line=9, path="other.txt").code == "failed"
        assert end(host).divergences == ()


def test_a_truncated_result_is_half_of_it_streams_too(tape: Path) -> None:
    for line, tool, arguments in ((3, "read_file", {"path": "a.txt"}), (4, "terminal", {"command": "seq 1 100"})):
        fault = control.TapeFault(cell_index=2, line=line, tool=tool, kind="truncated")
        with session(answers(tape, fault=fault)) as (host, kernel):
            answer = kernel.answer(ask(kernel, tool, line, **arguments))
            assert answer.code == "ok"
            content = answer.content or answer.streams["stdout"]
            assert (
                content
                == {"read_file": b"01234", "terminal": "".join(f"{n}\n" for n in range(1, 101)).encode()[:146]}[tool]
            )
            end(host)


def results(state: str = "succeeded", scraps: object = 1, shown: str = "x", errors: str = "") -> _Results:
    return _Results(state, "cell 0: ValueError: bad", {"s": scraps}, {0: shown}, {0: errors} if errors else {})


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (results(), COPES),
        (results(state="failed"), CRASHES),
        (results(scraps=2), WRONG),
        (results(shown="y"), WRONG),
        (results(scraps=2, errors="the source is down"), WARNS),
    ],
)
def test_a_verdict_is_about_results_and_whether_anybody_is_told(now: _Results, verdict: str) -> None:
    assert _judge(results(), results(), now)[0] == verdict


def test_what_differs_without_a_fault_says_nothing() -> None:
    assert _judge(results(shown="10:00"), results(shown="10:01"), results(shown="10:02"))[0] == COPES


def test_what_is_not_tried_in_the_time_for_all_is_said_to_be_untried() -> None:
    seconds = 0.0
    clock = _Allowance(300, 10, clock=lambda: seconds)
    given = []

    def replay(fault: control.TapeFault) -> _Results:
        nonlocal seconds
        given.append(clock.next())
        seconds += 6
        return results() if seconds <= 10 else results(state="timed_out")

    faults = [control.TapeFault(cell_index=0, line=line, tool="read_file", kind="denied") for line in (1, 2, 3)]
    found = list(_findings(faults, replay, (results(), results()), clock))
    assert [one.verdict for one in found] == [COPES, UNTRIED, UNTRIED]
    assert given == [10, 4]


def test_without_a_time_for_all_each_replay_has_its_own() -> None:
    assert _Allowance(300, None).next() == 300
    assert _Allowance(None, None).next() is None
    assert not _Allowance(None, None).is_over
