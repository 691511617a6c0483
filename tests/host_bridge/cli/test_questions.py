"""Questions at the terminal: one at a time, nothing typed ahead counts, and a run that goes on isn't held up."""

import contextlib
import select
import threading
import time
from collections.abc import Iterator

import pytest

from host_bridge.cli import prompter
from host_bridge.control import Asked


def question(name: str = "q1", seconds: float = 30.0) -> Asked:
    return Asked(
        question_id=name,
        tool="terminal",
        shown={"command": "git push"},
        rule_id="user:rules.ask[0]",
        reason="",
        principal="default",
        timeout_seconds=seconds,
    )


class Person:
    """Stands at the terminal: sees one question at a time, and answers when told to."""

    def __init__(self) -> None:
        self.seen: list[Asked] = []
        self.sees_one = threading.Semaphore(0)
        self.answers = threading.Semaphore(0)

    def __call__(self, asked: Asked, over: int) -> str:
        self.seen.append(asked)
        self.sees_one.release()
        while not self.answers.acquire(timeout=0.01):
            if select.select([over], [], [], 0)[0]:
                return ""
        return "once"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    standing = Person()
    monkeypatch.setattr("host_bridge.policy.prompter.terminal_prompter", standing)
    return standing


def ask_in_thread(questions: prompter.TerminalQuestions, asked: Asked, answers: list[str]) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(questions(asked)))
    thread.start()
    return thread


def test_questions_are_asked_one_after_the_other_with_what_is_left_of_their_time(person: Person) -> None:
    questions = prompter.TerminalQuestions()
    answers: list[str] = []
    first = ask_in_thread(questions, question("first"), answers)
    person.sees_one.acquire(timeout=10)

    second = ask_in_thread(questions, question("second"), answers)
    assert not person.sees_one.acquire(timeout=0.2), "two questions at once"
    person.answers.release(2)
    first.join(10)
    second.join(10)

    assert answers == ["once", "once"]
    assert [asked.question_id for asked in person.seen] == ["first", "second"]
    assert person.seen[1].timeout_seconds < 30.0


def test_a_question_whose_turn_does_not_come_in_time_is_not_answered(person: Person) -> None:
    questions = prompter.TerminalQuestions()
    answers: list[str] = []
    first = ask_in_thread(questions, question("first"), answers)
    person.sees_one.acquire(timeout=10)

    begin = time.monotonic()
    assert questions(question("second", seconds=0.1)) == ""
    assert time.monotonic() - begin < 5

    person.answers.release()
    first.join(10)
    assert answers == ["once"]


def test_others_are_kept_from_the_terminal_while_somebody_is_asked(person: Person) -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def paused() -> Iterator[None]:
        events.append("paused")
        yield
        events.append("resumed")

    person.answers.release()
    prompter.TerminalQuestions(paused)(question())

    assert events == ["paused", "resumed"]


def test_a_question_nobody_waits_for_leaves_the_terminal_to_the_next(person: Person) -> None:
    questions = prompter.TerminalQuestions()
    answers: list[str] = []
    threads = [ask_in_thread(questions, question("first"), answers)]
    person.sees_one.acquire(timeout=10)
    threads += [ask_in_thread(questions, question(name), answers) for name in ("second", "third")]

    questions.withdraw("second", "the call was cancelled")
    threads[1].join(10)
    questions.withdraw("first", "answered elsewhere")
    threads[0].join(10)
    assert person.sees_one.acquire(timeout=10)
    person.answers.release()
    threads[2].join(10)
    questions.withdraw("third", "it has been answered already")

    assert answers == ["", "", "once"]
    assert [asked.question_id for asked in person.seen] == ["first", "third"]
