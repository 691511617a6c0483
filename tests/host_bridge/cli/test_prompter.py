"""A person at a real (pseudo) terminal is asked, and only a typed yes is a yes."""

import os
import pty
import threading
from collections.abc import Iterator

import pytest

from host_bridge.cli.prompter import TerminalPrompter, describe
from host_bridge.control import Asked


def question(**fields: object) -> Asked:
    defaults = {
        "question_id": "q1",
        "tool": "terminal",
        "shown": {"command": "git push"},
        "rule_id": "user:3",
        "reason": "pushing is asked about",
        "principal": "research",
        "cell_index": 4,
        "timeout_seconds": 5.0,
    }
    return Asked(**{**defaults, **fields})  # type: ignore[arg-type]


class Person:
    """The other end of the prompter's terminal."""

    def __init__(self) -> None:
        self.end, terminal = pty.openpty()
        self.prompter = TerminalPrompter(terminal)
        self.seen = ""

    def read_until(self, text: str) -> None:
        while text not in self.seen:
            self.seen += os.read(self.end, 4096).decode()

    def types(self, text: str) -> None:
        os.write(self.end, text.encode())


@pytest.fixture
def person() -> Iterator[Person]:
    person = Person()
    yield person
    person.prompter.close()
    os.close(person.end)


def answer(person: Person, typed: str) -> str:
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(person.prompter(question())))
    asking.start()
    person.read_until("no > ")
    person.types(typed)
    asking.join(5)
    return answers[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("y\n", "once"),
        ("Yes\n", "once"),
        ("s\n", "session"),
        ("n\n", "no"),
        ("\n", "no"),
        ("yy\n", "no"),
        ("\x04", "no"),
    ],
)
def test_only_a_typed_yes_is_a_yes(person: Person, typed: str, meant: str) -> None:
    assert answer(person, typed) == meant


def test_the_question_shows_who_what_and_which_rule(person: Person) -> None:
    answer(person, "n\n")

    assert "research asks in cell 4: terminal" in person.seen
    assert "command: git push" in person.seen
    assert "rule: user:3 (pushing is asked about)" in person.seen


def test_silence_is_a_no(person: Person) -> None:
    assert person.prompter(question(timeout_seconds=0.05)) == "no"


def test_what_was_typed_before_the_question_is_no_answer(person: Person) -> None:
    person.types("y\n")

    assert person.prompter(question(timeout_seconds=0.2)) == "no"


def test_closing_answers_the_open_question_and_later_ones_with_no(person: Person) -> None:
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(person.prompter(question(timeout_seconds=60.0))))
    asking.start()
    person.read_until("no > ")
    other = TerminalPrompter(os.dup(person.end))

    person.prompter.close()
    asking.join(5)
    other.close()

    assert answers == ["no"]
    assert other(question()) == "no"
    person.prompter = TerminalPrompter(pty.openpty()[1])


def test_a_command_can_neither_hide_nor_forge_a_line_of_the_question() -> None:
    forged = "ls" + " " * 5000 + "; rm -rf x\n  rule: user:1 (harmless)\x1b[1A"

    shown = describe(question(shown={"command": forged}))

    assert "rm -rf x" in shown
    assert "\x1b" not in shown
    assert "\n  rule: user:1" not in shown
