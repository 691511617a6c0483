"""Asking by the inbox: whoever answers first is heard, once, and nothing is left for people that nobody waits for."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from inboxes import asked, no, yes
from waiting import until

from host_bridge.control import Answer, Asked, Sibling
from host_bridge.errors import QuestionSettledError
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.question import Question, QuestionState
from host_bridge.inbox.waiting import InboxPrompter

SECONDS = 20.0


class Asking:
    """A question that is being asked in a thread of its own."""

    def __init__(self, prompter: InboxPrompter, question: Asked) -> None:
        self._answers: list[str | Answer] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(prompter(question)))
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def answer(self) -> str | Answer:
        self._thread.join(SECONDS)
        return self._answers[0]


class Person:
    """A prompter beside the inbox that answers when told to, and hears when nobody waits."""

    def __init__(self) -> None:
        self.sees = threading.Event()
        self.may_answer = threading.Event()
        self.says: str | Answer = "once"
        self.withdrawn: list[str] = []

    def __call__(self, question: Asked) -> str | Answer:
        self.sees.set()
        self.may_answer.wait(SECONDS)
        return "" if self.withdrawn else self.says

    def withdraw(self, question_id: str, reason: str) -> None:
        self.withdrawn.append(question_id)
        self.may_answer.set()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "approvals")


def wait_for_question(inbox: Inbox, *, known: int = 0) -> Question:
    return until(lambda: inbox.questions()[known:])[0]


def state(inbox: Inbox) -> list[str]:
    return [inbox.standing(question) for question in inbox.questions()]


def test_the_call_gets_the_answer_somebody_gave_in_the_inbox(inbox: Inbox) -> None:
    told: list[str] = []
    asking = Asking(InboxPrompter(inbox, parked=True, tell=told.append), asked())
    question = wait_for_question(inbox)
    assert (inbox.standing(question), asking.is_over) == ("pending", False)

    inbox.answer(question.id, Answer(answer="run", by="ada (command line)"))

    assert asking.answer() == Answer(question_id=asked().question_id, answer="run", by="ada (command line)")
    assert told[0].splitlines()[0] == "waiting for a person, cell 3: terminal(git push origin main)"
    assert f"hermes-runtime approvals answer {question.id} yes|no" in told[0]
    with pytest.raises(QuestionSettledError, match="has used it"):
        inbox.take(question.id, by="another run")


def test_a_question_nobody_answers_expires_before_the_session_stops_waiting(inbox: Inbox) -> None:
    begin = time.monotonic()

    assert InboxPrompter(inbox)(asked(timeout_seconds=0.6)) == ""

    assert time.monotonic() - begin < 5
    assert state(inbox) == ["expired"]
    with pytest.raises(QuestionSettledError, match="expired"):
        inbox.answer(inbox.questions()[0].id, yes())


def test_a_question_is_taken_back_when_its_call_ends(inbox: Inbox) -> None:
    prompter = InboxPrompter(inbox, parked=True)
    asking = Asking(prompter, asked())
    question = wait_for_question(inbox)

    prompter.withdraw(asked().question_id, "the call has ended")

    assert asking.answer() == ""
    with pytest.raises(QuestionSettledError, match=r"withdrawn at .*: the call has ended"):
        inbox.answer(question.id, yes())


def test_a_call_that_ended_before_its_question_was_asked_leaves_none_open(inbox: Inbox) -> None:
    prompter = InboxPrompter(inbox)
    prompter.withdraw(asked().question_id, "the call has ended")

    assert prompter(asked()) == ""
    assert state(inbox) == ["withdrawn"]


def test_the_end_of_a_run_takes_back_all_that_is_asked(inbox: Inbox) -> None:
    prompter = InboxPrompter(inbox)
    several = [Asking(prompter, asked(question_id=f"q{number}")) for number in range(3)]
    until(lambda: len(inbox.questions()) == 3)

    prompter.close("the run has ended")

    assert state(inbox) == ["withdrawn"] * 3, "written down when close returns"
    assert [asking.answer() for asking in several] == [""] * 3


def test_a_parked_question_can_be_kept_when_its_run_is_ended_from_outside(inbox: Inbox) -> None:
    told: list[str] = []
    prompter = InboxPrompter(inbox, parked=True, keeps=lambda: True, tell=told.append)
    asking = Asking(prompter, asked())
    question = wait_for_question(inbox)

    prompter.withdraw(asked().question_id, "the call has ended")
    asking.answer()

    assert state(inbox) == ["orphaned"]
    assert f"the question stays: `hermes-runtime approvals answer {question.id} yes`" in told[-1]


@pytest.mark.parametrize("says", ["once", "stop", Answer(answer="always", by="terminal")])
def test_somebody_at_the_terminal_can_be_first(inbox: Inbox, says: str | Answer) -> None:
    person = Person()
    person.says = says
    asking = Asking(InboxPrompter(inbox, beside=person), asked())
    question = wait_for_question(inbox)
    assert person.sees.wait(SECONDS)

    person.may_answer.set()
    answer = asking.answer()

    assert isinstance(answer, Answer)
    assert answer.answer == (says if isinstance(says, str) else says.answer)
    assert answer.by == ("application" if isinstance(says, str) else "terminal")
    with pytest.raises(QuestionSettledError, match="was answered"):
        inbox.answer(question.id, no())


def test_somebody_elsewhere_can_be_first_and_the_terminal_is_told(inbox: Inbox) -> None:
    person = Person()
    asking = Asking(InboxPrompter(inbox, beside=person), asked())
    question = wait_for_question(inbox)
    assert person.sees.wait(SECONDS)

    inbox.answer(question.id, no("bob (HTTP)"))

    answer = asking.answer()
    assert isinstance(answer, Answer)
    assert (answer.answer, answer.by) == ("no", "bob (HTTP)")
    assert person.withdrawn == [asked().question_id]


def test_a_prompter_that_fails_has_not_said_yes(inbox: Inbox) -> None:
    def fails(_: Asked) -> str:
        raise RuntimeError("no terminal")

    answer = InboxPrompter(inbox, beside=fails)(asked())
    assert isinstance(answer, Answer)
    assert answer.answer == "no"


def test_where_nothing_can_be_written_the_terminal_is_asked_and_nobody_else_means_no(tmp_path: Path) -> None:
    (tmp_path / "approvals").write_text("not a folder")
    inbox = Inbox(tmp_path / "approvals")
    told: list[str] = []

    assert InboxPrompter(inbox, beside=lambda question: "once")(asked()) == "once"
    alone = InboxPrompter(inbox, tell=told.append)(asked())

    assert isinstance(alone, Answer)
    assert alone.answer == "no"
    assert "counts as a no" in told[0]


def test_a_question_whose_file_is_changed_or_gone_is_a_no(inbox: Inbox) -> None:
    prompter = InboxPrompter(inbox)
    changed = Asking(prompter, asked(question_id="q1"))
    question = wait_for_question(inbox)
    path = inbox.folder / f"{question.id}.json"
    path.write_bytes(path.read_bytes().replace(b"git push origin main", b"git push origin evil"))
    inbox.answer(question.id, yes())
    gone = Asking(prompter, asked(question_id="q2"))
    other = until(lambda: [one for one in inbox.questions() if one.id != question.id])[0]
    (inbox.folder / f"{other.id}.json").unlink()

    for asking in (changed, gone):
        answer = asking.answer()
        assert isinstance(answer, Answer)
        assert answer.answer == "no"


def test_what_is_secret_or_no_text_is_not_written_down(inbox: Inbox) -> None:
    shown = {"command": "curl -H 'X: s3/cret'", "more": ["s3%2Fcret", b"bytes", 2**70, float("nan"), "\ud800"]}
    sibling = Sibling(digest="s" * 64, shown={"command": "s3/cret"}, targets=("s3/cret",))
    question = asked(shown=shown, reason="because s3/cret", siblings=(sibling,), timeout_seconds=0.4)

    InboxPrompter(inbox, secrets=("s3/cret", ""))(question)

    [path] = inbox.folder.glob("*.json")
    assert "s3" not in path.read_text()
    kept = inbox.questions()[0].asked
    assert kept.shown["command"] == "curl -H 'X: [secret]'"
    assert kept.shown["more"][4] == "\\ud800"
    assert kept.digest == question.digest


def grant(inbox: Inbox, **fields: Any) -> str:
    """Leave the answer to a question of a run that is gone."""
    prompter = InboxPrompter(inbox, parked=True, keeps=lambda: True)
    asking = Asking(prompter, asked(notebook_digest="n" * 64, **fields))
    question = wait_for_question(inbox)
    prompter.close("killed")
    asking.answer()
    inbox.answer(question.id, Answer(answer="once", by="ada"))
    return question.id


def test_the_answer_to_a_question_of_an_earlier_run_is_used_once_for_the_same_call(inbox: Inbox) -> None:
    prompter = InboxPrompter(inbox, grant=grant(inbox))
    again = asked(notebook_digest="n" * 64, question_id="q9", run_id="run 2", session_id="another")

    first = prompter(again)
    second = prompter(msgspec.structs.replace(again, timeout_seconds=0.4))

    assert first == Answer(question_id="q9", answer="once", by="ada")
    assert second == ""
    outcome = inbox.questions()[0].outcome
    assert outcome is not None
    assert (outcome.state, outcome.taken_by) == (QuestionState.ANSWERED, "run 2")


@pytest.mark.parametrize(
    "fields",
    [
        {"digest": "e" * 64},
        {"notebook_digest": "o" * 64},
        {"notebook_digest": ""},
        {"principal": "somebody else"},
        {"tool": "write_file"},
    ],
)
def test_it_is_for_no_other_call_notebook_or_agent(inbox: Inbox, fields: dict[str, str]) -> None:
    prompter = InboxPrompter(inbox, grant=grant(inbox))
    again = asked(**{"notebook_digest": "n" * 64, "question_id": "q9", "timeout_seconds": 0.4, **fields})

    assert prompter(again) == ""
    assert len(inbox.questions()) == 2, "it was asked anew"
