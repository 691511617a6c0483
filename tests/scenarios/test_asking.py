"""A person is asked about a notebook's calls: about a loop once, and the run's clocks stand still meanwhile."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, save

from host_bridge.control import Answer, Asked, Pattern

RULES = 'version = 1\n[rules]\nask = ["terminal(echo *)"]\n'
LOOP = "terminal(echo *)"
PROGRAM = str(Path(sys.executable).with_name("hermes-runtime"))
SECONDS = 120.0


class Person:
    """Sits at the terminal of a run."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", PROGRAM, *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)

    def reads(self, end: bytes = b"no > ") -> str:
        """Read up to what a question ends with."""
        seen = b""
        while end not in seen:
            seen += os.read(self._ours, 4096)
        return seen.decode()

    def types(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def leaves(self) -> int:
        self.process.communicate(timeout=SECONDS)
        os.close(self._ours)
        return self.process.returncode


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "hermes")


def test_a_loop_is_asked_about_once_and_the_call_beyond_it_again(runner: Runner, machine: Machine) -> None:
    asked: list[Asked] = []

    def approve_the_loop(question: Asked) -> str | Answer:
        asked.append(question)
        return Answer(answer="run", pattern=Pattern(rule=LOOP, calls=50, seconds=600), by="tester")

    result = runner.run(
        "for number in range(51):\n    hermes.terminal(f'echo {number}')",
        prompter=approve_the_loop,
        policy_rules=RULES,
    )
    assert result["state"] == "succeeded", result
    assert result["tool_calls"]["by_outcome"] == {"ok": 51}
    assert [question.shown["command"] for question in asked] == ["echo 0", "echo 50"]
    assert {question.source_line for question in asked} == {"hermes.terminal(f'echo {number}')"}
    assert {(question.line, question.cell_index) for question in asked} == {(2, 0)}
    assert asked[0].notebook == str(runner.folder / "in.ipynb")
    assert asked[0].suggested
    text = "".join(path.read_text() for path in machine.audit.glob("*.jsonl"))
    answers = [line for line in map(json.loads, text.splitlines()) if line["type"] == "question_answered"]
    assert [(line["by"], line["pattern_rule"], line["pattern_calls"]) for line in answers] == [("tester", LOOP, 50)] * 2


def test_threads_of_one_line_share_a_question_and_nobody_pays_for_the_waiting(runner: Runner) -> None:
    asked: list[Asked] = []

    def answer_slowly(question: Asked) -> str | Answer:
        asked.append(question)
        threading.Event().wait(3.5)
        return Answer(answer="run", pattern=Pattern(rule=LOOP, calls=12, seconds=600))

    result = runner.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(12) as pool:\n"
        "    done = list(pool.map(lambda n: hermes.terminal(f'echo {n}', timeout=3).stdout, range(12)))\n"
        "print(len(done))",
        cell_timeout=3,
        prompter=answer_slowly,
        policy_rules=RULES,
    )
    assert result["state"] == "succeeded", result
    assert runner.text(0).endswith("12\n")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "source", ["hermes.terminal('echo hi')", "try:\n    hermes.terminal('echo hi')\nexcept PermissionError:\n    pass"]
)
def test_a_run_that_ends_with_the_stop_is_cancelled_all_the_same(runner: Runner, source: str) -> None:
    result = runner.run(source, prompter=lambda question: "stop", policy_rules=RULES)
    assert (result["state"], result["error"]) == ("cancelled", "a person stopped the run")


def test_a_person_stops_the_run(runner: Runner) -> None:
    result = runner.run(
        "try:\n    hermes.terminal('echo hi')\nexcept PermissionError as error:\n    print(error)\n"
        "import time\ntime.sleep(600)",
        "print('never')",
        prompter=lambda question: "stop",
        policy_rules=RULES,
    )
    assert result["state"] == "cancelled"
    assert "a person stopped the run" in result["failed_cell"]["evalue"]
    assert runner.states == ["cancelled", "not_run"]
    assert "a person stopped the run" in runner.text(0)


def test_what_a_person_allowed_a_notebook_is_asked_again_when_its_source_changes(runner: Runner) -> None:
    asked: list[str] = []

    def allow_the_notebook(question: Asked) -> str:
        asked.append(question.notebook_digest)
        return "notebook"

    for source in ("hermes.terminal('echo hi')", "hermes.terminal('echo hi')", "hermes.terminal('echo hi')  # edited"):
        result = runner.run(source, prompter=allow_the_notebook, policy_rules=RULES)
        assert result["state"] == "succeeded", result
    assert len(asked) == len(set(asked)) == 2


def test_at_the_terminal_a_loop_is_allowed_by_its_pattern_and_the_call_beyond_it_asked_about(machine: Machine) -> None:
    (machine.workspace / "rules.toml").write_text('version = 1\n[rules]\nask = ["terminal(touch *)"]\n')
    save(machine.workspace / "in.ipynb", "for name in 'abcd':\n    hermes.terminal(f'touch {name}').check()")
    person = Person("run", "in.ipynb", "out.ipynb", "--policy", "rules.toml")

    question = person.reads()
    person.types("l 3 terminal(touch *)\n")
    pattern = person.reads()
    person.types("y\n")
    beyond = person.reads()
    person.types("s\n")

    assert person.leaves() == 130
    assert "touch a" in question
    assert "hermes.terminal(f'touch {name}').check()" in question
    assert "up to 3 calls, this one included" in pattern
    assert "| terminal(touch *)" in pattern
    assert "touch d" in beyond
    assert sorted(path.name for path in machine.workspace.iterdir() if len(path.name) == 1) == ["a", "b", "c"]
