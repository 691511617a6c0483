from __future__ import annotations

import contextlib
import threading

from host_bridge.control import Answer, Asked, CallSettled
from host_bridge.executor.asking import STOPPED, NotebookPrompter, stopping_listener
from host_bridge.executor.clock import RunClock
from host_bridge.executor.parking import PatientPrompter
from host_bridge.executor.stopping import StopRequest

SOURCE = "import os\n    hermes.terminal('\u202eecho')  \nlast = 1"


def asked(**fields) -> Asked:
    given = {"question_id": "q", "tool": "terminal", "shown": {}, "rule_id": "r", "reason": "", "principal": "p"}
    return Asked(**{**given, **fields})


def line_of(**fields) -> str:
    seen: list[Asked] = []

    def prompter(question: Asked) -> str:
        seen.append(question)
        return "once"

    sources = {0: SOURCE}
    assert NotebookPrompter(prompter, lambda index: sources.get(index, ""))(asked(**fields)) == "once"
    return seen[0].source_line


def test_a_question_gets_its_line_with_everything_visible():
    assert line_of(cell_index=0, line=2) == "hermes.terminal('\\u{202e}echo')"
    assert line_of(cell_index=0, line=3) == "last = 1"


def test_a_line_that_the_notebook_has_not_is_none():
    for place in ({}, {"cell_index": 0}, {"cell_index": 0, "line": 4}, {"cell_index": 7, "line": 1}, {"line": 1}):
        assert line_of(**place) == ""


def test_a_long_line_is_cut():
    long = "x = '" + "ab" * 100_000
    seen: list[str] = []
    NotebookPrompter(lambda question: seen.append(question.source_line) or "no", lambda _: long)(
        asked(cell_index=0, line=1)
    )
    assert len(seen[0]) < 1000


def test_a_question_that_is_over_is_taken_back_from_a_prompter_that_listens():
    withdrawn: list[tuple[str, str]] = []

    class Listening:
        def __call__(self, question: Asked) -> str | Answer:
            return "no"

        def withdraw(self, question_id: str, reason: str) -> None:
            withdrawn.append((question_id, reason))

    NotebookPrompter(PatientPrompter(Listening(), RunClock()), lambda _: "").withdraw("q", "ended")
    NotebookPrompter(lambda _: "no", lambda _: "").withdraw("q", "ended")
    assert withdrawn == [("q", "ended")]


def test_the_runs_clock_goes_on_once_nobody_waits_even_if_the_prompter_never_returns():
    seconds = [0.0]
    clock = RunClock(lambda: seconds[0])
    asking, go_on = threading.Event(), threading.Event()

    def hangs(question: Asked) -> str:
        asking.set()
        assert go_on.wait(10)
        return "once"

    patient = PatientPrompter(hangs, clock)
    thread = threading.Thread(target=patient, args=(asked(),))
    thread.start()
    assert asking.wait(10)
    seconds[0] = 5
    assert clock.seconds() == 0
    patient.withdraw("q", "the time for an answer was over")
    seconds[0] = 7
    assert clock.seconds() == 2
    go_on.set()
    thread.join()
    seconds[0] = 8
    assert clock.seconds() == 3


def test_a_stop_ends_the_run_and_other_denials_do_not():
    with contextlib.closing(StopRequest()) as stop:
        heard: list[CallSettled] = []
        listener = stopping_listener(stop, heard.append)
        for rule_id in ("user:rules.deny[0]", STOPPED, STOPPED):
            assert not stop or rule_id == STOPPED
            listener(CallSettled(call_id="c", tool="terminal", outcome="denied", rule_id=rule_id))
        assert stop.reason == "a person stopped the run"
        assert not stop.is_urgent
        assert len(heard) == 3
