"""The folder of questions: exactly one outcome each, whoever settles them, and files that nobody else reads."""

from __future__ import annotations

import multiprocessing
import os
import stat
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inboxes import Clock, asked, no, yes

from host_bridge.control import Answer, Pattern, Sibling
from host_bridge.errors import QuestionError, QuestionNotFoundError, QuestionSettledError
from host_bridge.inbox import folder as folder_module
from host_bridge.inbox.folder import KEPT_SECONDS, MAX_QUESTION_BYTES, Inbox
from host_bridge.inbox.owner import Owner, this_process
from host_bridge.inbox.question import Question, QuestionState
from host_bridge.rundirs.processes import ProcessIdentity

PATTERN = Answer(
    answer="run", pattern=Pattern(rule="terminal(git push *)", calls=5, seconds=60), by="ada (command line)"
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path, clock: Clock) -> Inbox:
    return Inbox(tmp_path / "state" / "approvals", now=clock)


def ask(inbox: Inbox, seconds: float = 60.0, **fields: object) -> Question:
    return inbox.ask(asked(**fields), this_process(), seconds=seconds)


def test_a_question_is_asked_answered_and_its_answer_used_once(inbox: Inbox, clock: Clock) -> None:
    question = ask(inbox)
    assert inbox.standing(question) == "pending"

    clock.seconds += 5
    inbox.answer(question.id, PATTERN)
    seen = inbox.take(question.id, by="run 1")

    assert seen.outcome is not None
    meant = msgspec.structs.replace(PATTERN, question_id=question.asked.question_id)
    assert (seen.outcome.answer, seen.outcome.at) == (meant, question.asked_at + 5)
    with pytest.raises(QuestionSettledError, match="run 1 has used it"):
        inbox.take(question.id, by="run 2")


def test_a_second_answer_is_told_who_gave_the_first_and_when(inbox: Inbox) -> None:
    question = ask(inbox)
    inbox.answer(question.id, no("ada (command line)"))

    with pytest.raises(QuestionSettledError, match=r"answered 'no' at 2027-01-15T08:00:00Z by ada \(command line\)"):
        inbox.answer(question.id, yes("bob, over HTTP"))


def test_an_answer_that_comes_too_late_is_refused_and_the_question_has_expired(inbox: Inbox, clock: Clock) -> None:
    question = ask(inbox, seconds=60)
    clock.seconds += 60

    with pytest.raises(QuestionSettledError, match="has expired: its time was over at 2027-01-15T08:01:00Z"):
        inbox.answer(question.id, yes("ada"))
    assert inbox.standing(inbox.get(question.id)) == "expired"


def test_an_answer_to_a_call_that_has_ended_is_refused_with_the_reason(inbox: Inbox) -> None:
    question = ask(inbox)
    inbox.withdraw(question.id, "the call was cancelled")

    with pytest.raises(QuestionSettledError, match=r"withdrawn at .*: the call was cancelled"):
        inbox.answer(question.id, yes("ada"))


def test_an_answer_meant_for_another_call_is_refused_and_the_question_stays(inbox: Inbox) -> None:
    question = ask(inbox)

    with pytest.raises(QuestionSettledError, match="about another call"):
        inbox.answer(question.id, yes("ada"), digest="e" * 64)
    assert inbox.standing(inbox.get(question.id)) == "pending"


def test_an_unused_answer_is_worth_nothing_an_hour_later(inbox: Inbox, clock: Clock) -> None:
    question = ask(inbox, seconds=60)
    inbox.answer(question.id, yes("ada"))
    clock.seconds += 3600

    with pytest.raises(QuestionSettledError, match="worth nothing"):
        inbox.take(question.id, by="run 2")


def test_a_question_is_found_by_the_beginning_of_its_id(inbox: Inbox) -> None:
    question = ask(inbox)
    for name in ("zz11", "zz12", "zz1"):
        copy = msgspec.structs.replace(question, id=name)
        (inbox.folder / f"{name}.json").write_bytes(msgspec.json.encode(copy))

    assert inbox.find(question.id[:6]).id == question.id
    assert [inbox.find(text).id for text in ("zz11", "zz1")] == ["zz11", "zz1"]
    with pytest.raises(QuestionNotFoundError, match="zz is the beginning of 3 questions: "):
        inbox.find("zz")
    with pytest.raises(QuestionNotFoundError, match="there is no question 'yy'"):
        inbox.find("yy")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(answer="session"), "'session' is no answer; there are: always, no"),
        (Answer(answer=""), "is no answer"),
        (Answer(answer="notebook"), "comes from no notebook"),
        (Answer(answer="once", covers=("s" * 64, "f" * 64)), "shows no call ffff"),
        (Answer(answer="once", pattern=PATTERN.pattern), "goes with `run`"),
        (Answer(answer="run", pattern=Pattern(rule="", calls=1, seconds=1)), "rule"),
        (Answer(answer="run", pattern=Pattern(rule="x", calls=0, seconds=1)), "1 to 10000 calls"),
        (Answer(answer="run", pattern=Pattern(rule="x", calls=1, seconds=float("nan"))), "seconds"),
    ],
)
def test_what_is_no_answer_to_this_question_settles_nothing(inbox: Inbox, answer: Answer, told: str) -> None:
    question = ask(inbox, siblings=(Sibling(digest="s" * 64, shown={}),))

    with pytest.raises(QuestionError, match=told):
        inbox.answer(question.id, answer)
    assert inbox.standing(inbox.get(question.id)) == "pending"
    assert inbox.answer(question.id, Answer(answer="once", covers=("s" * 64,))).outcome is not None


@pytest.mark.parametrize("name", ["", "../secrets", "a/b", "A", "é", ".lock", "a" * 33, "a\n", "a\0"])
def test_what_is_no_id_reaches_no_file(inbox: Inbox, name: str) -> None:
    ask(inbox)
    (inbox.folder.parent / "secrets.json").write_text("{}")

    with pytest.raises(QuestionNotFoundError):
        inbox.find(name)
    with pytest.raises(QuestionNotFoundError):
        inbox.answer(name, yes("ada"))


def test_nobody_else_can_read_what_is_asked(inbox: Inbox) -> None:
    previous = os.umask(0)
    try:
        question = ask(inbox)
    finally:
        os.umask(previous)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in inbox.folder.iterdir()}
    assert modes == {f"{question.id}.json": 0o600, ".lock": 0o600}
    assert stat.S_IMODE(inbox.folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_is_not_used(inbox: Inbox) -> None:
    inbox.folder.mkdir(parents=True)
    inbox.folder.chmod(0o777)

    with pytest.raises(QuestionError, match="chmod 700"):
        ask(inbox)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"id": "aaaa"}', b"[" * 100_000, b"x" * 2_000_000])
def test_a_file_that_is_no_question_hides_none_and_is_named(inbox: Inbox, content: bytes) -> None:
    question = ask(inbox)
    (inbox.folder / "0000.json").write_bytes(content)

    assert [one.id for one in inbox.questions()] == [question.id]
    with pytest.raises(QuestionError, match=r"0000\.json .*remove it"):
        inbox.get("0000")


def test_a_copy_or_a_link_is_no_second_question(inbox: Inbox) -> None:
    question = ask(inbox)
    original = inbox.folder / f"{question.id}.json"
    (inbox.folder / "0001.json").write_bytes(original.read_bytes())
    (inbox.folder / "0002.json").symlink_to(original)
    os.mkfifo(inbox.folder / "0003.json")

    assert [one.id for one in inbox.questions()] == [question.id]
    for name in ("0001", "0002", "0003"):
        with pytest.raises(QuestionError):
            inbox.answer(name, yes("ada"))
    assert inbox.standing(inbox.get(question.id)) == "pending"


def test_a_question_of_a_later_version_is_not_guessed_at(inbox: Inbox) -> None:
    question = ask(inbox)
    path = inbox.folder / f"{question.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))

    with pytest.raises(QuestionError, match="no question of this version"):
        inbox.answer(question.id, yes())


def test_a_question_too_large_to_keep_is_refused(inbox: Inbox) -> None:
    with pytest.raises(QuestionError, match="over the inbox's limit"):
        ask(inbox, shown={"command": "x" * MAX_QUESTION_BYTES})
    assert inbox.questions() == []


def test_more_questions_than_it_takes_are_refused_until_some_are_settled(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "MAX_QUESTIONS", 3)
    first, *_ = [ask(inbox) for _ in range(3)]

    with pytest.raises(QuestionError, match="3 questions wait"):
        ask(inbox)
    inbox.answer(first.id, no("ada"))
    last = ask(inbox)

    ids = {one.id for one in inbox.questions()}
    assert len(ids) == 3
    assert last.id in ids
    assert first.id not in ids


def test_settled_questions_are_forgotten_after_a_month_and_pending_ones_are_not(inbox: Inbox, clock: Clock) -> None:
    settled, waiting = ask(inbox), ask(inbox, seconds=10 * KEPT_SECONDS)
    inbox.answer(settled.id, no("ada"))
    long_ago = time.time() - KEPT_SECONDS - 1
    for question in (settled, waiting):
        os.utime(inbox.folder / f"{question.id}.json", (long_ago, long_ago))
    stray = inbox.folder / ".0.new"
    stray.write_text("half a quest")
    os.utime(stray, (long_ago, long_ago))

    clock.seconds += KEPT_SECONDS + 1
    new = ask(inbox)

    assert {one.id for one in inbox.questions()} == {waiting.id, new.id}
    assert not stray.exists()


def test_a_question_whose_process_is_gone_is_orphaned_and_can_be_answered(inbox: Inbox) -> None:
    me = this_process()
    gone = msgspec.structs.replace(me, process=ProcessIdentity(me.process.pid, "1"))
    question = inbox.ask(asked(), gone, seconds=60)

    assert inbox.standing(question) == "orphaned"
    settled = inbox.answer(question.id, yes("ada"))
    assert inbox.is_orphaned(settled), "the answer waits for a run to use it"
    assert not inbox.is_orphaned(inbox.take(question.id, by="run 2"))


@pytest.mark.parametrize(
    ("host", "machine", "silent_seconds", "standing"),
    [
        ("elsewhere", "boot-1 pid:[1]", 0, "pending"),
        ("elsewhere", "boot-1 pid:[1]", 3600, "orphaned"),
        ("", "another-boot pid:[1]", 0, "orphaned"),
        ("", "this-boot pid:[1]", 0, "pending"),  # another container
        ("", "this-boot pid:[1]", 3600, "orphaned"),
    ],
)
def test_a_process_that_cannot_be_seen_is_known_by_its_silence(
    inbox: Inbox, host: str, machine: str, silent_seconds: float, standing: str
) -> None:
    me = this_process()
    boot = me.machine_state.split(" ")[0]
    owner = Owner(ProcessIdentity(1, "1"), machine.replace("this-boot", boot), host or me.host)
    question = inbox.ask(asked(), owner, seconds=60)
    then = time.time() - silent_seconds
    os.utime(inbox.folder / f"{question.id}.json", (then, then))

    assert inbox.standing(question) == standing


STEPS = st.sampled_from(["ask", "answer", "refuse", "expire", "withdraw", "take", "release", "wait"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), STEPS), max_size=12))
def test_any_order_of_two_processes_acts_gives_exactly_one_outcome(steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        both = [Inbox(Path(folder, "approvals"), now=clock) for _ in range(2)]
        question = both[0].ask(asked(), this_process(), seconds=25)
        outcomes: list[object] = []
        uses = 0
        for who, step in steps:
            inbox = both[who]
            try:
                match step:
                    case "ask":
                        assert inbox.ask(asked(), this_process(), seconds=25).id != question.id
                    case "answer":
                        inbox.answer(question.id, yes(f"{who}"))
                    case "refuse":
                        inbox.answer(question.id, no(f"{who}"))
                    case "expire":
                        inbox.expire(question.id)
                    case "withdraw":
                        inbox.withdraw(question.id, "over")
                    case "release":
                        inbox.release(question.id)
                    case "take":
                        inbox.take(question.id, by=f"{who}")
                        uses += 1
                    case "wait":
                        clock.seconds += 10
            except QuestionSettledError:
                pass
            seen = [one.get(question.id) for one in both]
            assert seen[0] == seen[1]
            if (outcome := seen[0].outcome) is not None:
                outcomes.append((outcome.state, outcome.at, outcome.answer, outcome.reason))
        assert len(set(map(repr, outcomes))) <= 1, "an outcome changed"
        assert uses <= 1
        if uses:
            assert "QuestionState.ANSWERED" in repr(outcomes[-1])


def _race(folder: str, question_ids: list[str], barrier: Barrier, who: str, won: multiprocessing.Queue[str]) -> None:
    inbox = Inbox(Path(folder))
    barrier.wait(30)
    for question_id in question_ids:
        try:
            inbox.answer(question_id, yes(who) if who == "a" else no(who))
            won.put(f"{question_id} {who}")
        except QuestionSettledError:
            pass
    won.put("end")


def test_of_two_processes_that_answer_at_once_exactly_one_is_heard(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "approvals")
    questions = [ask(inbox) for _ in range(15)]
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.Queue()
    names = [question.id for question in questions]
    processes = [
        context.Process(target=_race, args=(str(inbox.folder), names, barrier, who, won)) for who in ("a", "b")
    ]
    for process in processes:
        process.start()
    told = []
    while told.count("end") < 2:
        told.append(won.get(timeout=60))
    for process in processes:
        process.join(30)

    winners = dict(line.split() for line in told if line != "end")
    assert len(winners) == len(told) - 2 == len(questions), "one winner each"
    for question_id, who in winners.items():
        outcome = inbox.get(question_id).outcome
        assert outcome is not None
        assert outcome.answer is not None
        assert (outcome.answer.by, outcome.state) == (who, QuestionState.ANSWERED)
