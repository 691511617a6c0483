from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asked_calls import asked_call

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import ToolRequest
from host_bridge.approvals.calls import AskedCall
from host_bridge.approvals.desk import MAX_ATTEMPTS, Desk
from host_bridge.approvals.questions import LONE_SECONDS
from host_bridge.audit.log import AuditLog
from host_bridge.calls import RunningCall
from host_bridge.control import Answer, Asked, Pattern, QuestionOver, SessionConfig
from host_bridge.errors import PolicyError
from host_bridge.policy.model import Decision, Effect
from host_bridge.sessions import SessionState

LOOP = "terminal(git push origin *)"


class Office:
    """A desk with everything around it: what is asked stands in `asked`, what calls came to in `decided`."""

    def __init__(self, folder: Path, **fields) -> None:
        self.rules = fields.pop("rules", None)
        self.seconds = 1000.0
        self.is_busy = False
        config = SessionConfig(
            **{
                "session_id": "s",
                "endpoint": "",
                "server_public_key": "",
                "server_secret_key": "",
                "workspace": "/workspace",
                "audit_path": str(folder / "audit.jsonl"),
                "notebook": "/workspace/report.ipynb",
                "notebook_digest": "n" * 64,
                "grants_path": str(folder / "grants.json"),
                "interactive": True,
                "ask_timeout_seconds": 300.0,
                **fields,
            }
        )
        self.session = SessionState(config)
        self.log = AuditLog.open(config.audit_path)
        self.asked: list[Asked] = []
        self.withdrawn: list[QuestionOver] = []
        self.decided: dict[str, Decision] = {}
        self.watched: list[RunningCall] = []
        self.desk = Desk(self.session, self.log, send=self.send, line=self, rules=self.rules, now=lambda: self.seconds)

    def send(self, message: Asked | QuestionOver) -> None:
        if isinstance(message, Asked):
            self.asked.append(message)
        else:
            self.withdrawn.append(message)

    def send_pending(self, call: RunningCall, seconds: float, reason: str) -> None:
        assert seconds > 0
        assert reason

    def watch(self, call: RunningCall) -> None:
        self.watched.append(call)

    def wake(self) -> None:
        """The test calls `tick`."""

    def call(self, asked: AskedCall) -> RunningCall:
        request = ToolRequest(id=1, tool=asked.tool, arguments={}, timeout_seconds=30)
        return RunningCall(
            request,
            call_id=asked.call_id,
            peer=None,
            session=self.session,
            line=None,  # type: ignore[arg-type] - nothing is streamed
            authorise=lambda _: None,
            note_untrusted=lambda _: None,
        )

    def ask(self, command: str = "git push origin main", **fields) -> str:
        """Have a call ask; give its id."""
        asked = asked_call(command, **fields)
        self.calling(asked, self.call(asked))
        return asked.call_id

    def calling(self, asked: AskedCall, call: RunningCall) -> None:
        def resume(decision: Decision) -> None:
            assert asked.call_id not in self.decided
            self.decided[asked.call_id] = decision

        decision = self.desk.ask(call, asked, resume)
        if decision is not None:
            resume(decision)
        elif not self.is_busy:
            self.seconds += LONE_SECONDS
            self.desk.tick()

    def answer(self, text: str, **fields) -> None:
        """Answer the question asked last."""
        self.desk.answer(Answer(question_id=self.asked[-1].question_id, answer=text, by="tester", **fields))

    def effect(self, call_id: str) -> str:
        return self.decided[call_id].effect.name if call_id in self.decided else "waits"

    def records(self, kind: str = "question_answered") -> list[dict]:
        lines = map(json.loads, Path(self.session.config.audit_path).read_text().splitlines())
        return [line for line in lines if line["type"] == kind]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Office]:
    def open_office(name: str, **fields) -> Office:
        folder = tmp_path / name
        folder.mkdir()
        return Office(folder, **fields)

    return open_office


@pytest.fixture
def busy(office: Office) -> Office:
    for _ in range(3):
        office.session.budgets.reserve("terminal")
    office.is_busy = True
    return office


def test_a_question_shows_all_a_person_needs(office):
    office.ask("git push origin main", reason="why", remedy="allow = []", untrusted="web_search")
    (asked,) = office.asked
    assert (asked.tool, asked.shown) == ("terminal", {"command": "git push origin main"})
    assert asked.targets == ("run in /workspace: git push origin main",)
    assert (asked.rule_id, asked.reason, asked.remedy) == ("user:rules.ask[0]", "why", "allow = []")
    assert (asked.session_id, asked.notebook, asked.notebook_digest) == ("s", "/workspace/report.ipynb", "n" * 64)
    assert (asked.cell_index, asked.line, asked.untrusted, asked.waiting) == (2, 3, "web_search", 1)


def test_once_is_for_one_call(office):
    first = office.ask()
    office.answer("once")
    second = office.ask()
    assert (office.effect(first), office.effect(second)) == ("ALLOW", "waits")
    assert len(office.asked) == 2
    assert office.decided[first].answer == "once"


def test_a_question_is_answered_once(office):
    first = office.ask()
    question = office.asked[0].question_id
    office.answer("no")
    second = office.ask()
    office.desk.answer(Answer(question_id=question, answer="run"))
    assert (office.effect(first), office.effect(second)) == ("DENY", "waits")
    assert [record["problem"] for record in office.records("answer_unused")] == ["no such question is open"]


@pytest.mark.parametrize("question_id", ["", "s-q9", "other-q1", "c1", "x" * 10_000])
def test_an_answer_to_no_question_of_ours_opens_nothing(office, question_id):
    call = office.ask()
    office.desk.answer(Answer(question_id=question_id, answer="run"))
    assert office.effect(call) == "waits"
    (record,) = office.records("answer_unused")
    assert record["question_id"] == question_id[:256]


def test_run_is_for_this_very_call_until_the_end(office):
    office.ask()
    office.answer("run")
    assert [office.effect(office.ask()) for _ in range(3)] == ["ALLOW"] * 3
    assert office.effect(office.ask("git push origin other")) == "waits"
    assert len(office.asked) == 2


def test_notebook_is_for_this_source_in_later_sessions_too(tmp_path, office):
    office.ask()
    office.answer("notebook")
    assert office.effect(office.ask()) == "ALLOW"
    assert office.decided[list(office.decided)[-1]].answer == "notebook"
    for name, fields, effect in (
        ("again", {}, "ALLOW"),
        ("headless", {"interactive": False}, "ALLOW"),
        ("changed", {"notebook_digest": "m" * 64}, "waits"),
        ("agent", {"principal": "nightly"}, "waits"),
    ):
        (tmp_path / name).mkdir()
        later = Office(tmp_path / name, grants_path=str(tmp_path / "grants.json"), **fields)
        assert later.effect(later.ask()) == effect, name


def test_what_is_kept_for_people_about_a_call_holds_no_secret(tmp_path, opened):
    office = opened("secrets", secrets=('s3cr"et', "s3cr"))
    office.ask('echo s3cr"et')
    office.answer("notebook")
    kept = (tmp_path / "secrets" / "grants.json").read_text()
    assert "echo [secret]" in kept
    assert "s3cr" not in kept


def test_a_notebook_nobody_knows_the_source_of_is_asked_again(opened):
    office = opened("unknown", notebook_digest="")
    call = office.ask()
    office.answer("notebook")
    assert office.effect(call) == "waits"
    assert len(office.asked) == 2
    assert "source is not known" in office.asked[1].problem
    office.answer("once")
    assert office.effect(call) == "ALLOW"


def test_a_yes_that_cannot_be_written_down_is_none(tmp_path, office):
    (tmp_path / "grants.json").write_text("{}}")
    call = office.ask()
    office.answer("notebook")
    assert office.effect(call) == "waits"
    assert "move the file away" in office.asked[1].problem


def test_answers_that_cannot_be_used_end_in_a_no(opened):
    office = opened("unknown", notebook_digest="")
    call = office.ask()
    for _ in range(MAX_ATTEMPTS):
        office.answer("notebook")
    assert office.effect(call) == "DENY"
    assert office.decided[call].answer == "unusable"
    assert len(office.asked) == MAX_ATTEMPTS
    assert len(office.records("answer_unused")) == MAX_ATTEMPTS


class Rules:
    def __init__(self, problem: str = "", failure: str = "") -> None:
        self.added: list[AskedCall] = []
        self._problem = problem
        self._failure = failure

    def problem(self, calls: tuple[AskedCall, ...]) -> str:
        return self._problem

    def add(self, calls: tuple[AskedCall, ...]) -> None:
        if self._failure:
            raise PolicyError(self._failure)
        self.added += calls


def test_always_writes_a_rule_and_holds_for_the_rest_of_the_run(opened):
    rules = Rules()
    office = opened("always", rules=rules)
    office.ask()
    office.answer("always")
    assert len(rules.added) == 1
    assert office.effect(office.ask()) == "ALLOW"


@pytest.mark.parametrize("rules", [None, Rules("asks on purpose"), Rules(failure="disk full")])
def test_a_rule_that_cannot_be_written_allows_nothing_and_is_told(opened, rules):
    office = opened("always", rules=rules)
    call = office.ask()
    office.answer("always")
    assert office.effect(call) == "waits"
    assert office.asked[1].problem
    office.answer("no")
    assert office.effect(call) == "DENY"


@pytest.mark.parametrize("text", ["no", "", "session", "ONCE", "yes"])
def test_anything_but_a_clear_yes_is_a_no(office, text):
    call = office.ask()
    office.answer(text)
    assert office.effect(call) == "DENY"
    assert office.records()[0]["answer"] == "no"


def test_stop_ends_all_that_waits_and_all_that_comes(office):
    waiting = [office.ask(), office.ask(line=9), office.ask(line=9)]
    office.answer("stop")
    late = office.ask("ls")
    assert {office.decided[call].reason for call in (*waiting, late)} == {"a person stopped the run"}
    assert {office.effect(call) for call in (*waiting, late)} == {"DENY"}
    assert office.desk.is_stopped
    assert [over.question_id for over in office.withdrawn] == [office.asked[0].question_id]


def test_nobody_there_is_a_no_at_once(opened):
    office = opened("headless", interactive=False)
    call = office.ask(reason="it needs a person's yes")
    assert office.effect(call) == "DENY"
    assert "nobody is there" in office.decided[call].reason


def test_an_unanswered_question_expires_and_says_so(office):
    call = office.ask()
    office.seconds += 299
    assert office.desk.tick() == pytest.approx(1)
    assert office.effect(call) == "waits"
    office.seconds += 1
    assert office.desk.tick() is None
    decision = office.decided[call]
    assert (decision.effect, decision.answer) == (Effect.DENY, "expired")
    assert "nobody answered within 300 s" in decision.reason
    assert [record["answer"] for record in office.records()] == ["expired"]
    assert len(office.withdrawn) == 1
    office.answer("run")
    assert office.effect(office.ask()) == "waits"


def test_a_call_that_ends_meanwhile_is_not_done(office):
    asked = asked_call()
    running = office.call(asked)
    office.calling(asked, running)
    running.end(ErrorCode.CANCELLED)
    assert office.effect(asked.call_id) == "DENY"
    assert [over.question_id for over in office.withdrawn] == [office.asked[0].question_id]
    office.answer("once")
    assert office.effect(asked.call_id) == "DENY"


def test_the_time_a_person_takes_is_given_back_exactly(office):
    asked = asked_call()
    running = office.call(asked)
    deadline = running.deadline
    office.calling(asked, running)
    assert running.deadline >= deadline + 300
    office.seconds += 200
    office.answer("once")
    assert running.deadline == pytest.approx(deadline + 200 + LONE_SECONDS)
    assert office.watched == [running]
    assert running.waited_seconds == pytest.approx(200 + LONE_SECONDS)


# loops -----------------------------------------------------------------------------------------------------------------


def test_fifty_identical_asks_are_one_question_and_one_yes(busy):
    calls = [busy.ask() for _ in range(50)]
    assert busy.asked == []
    busy.seconds += 1
    busy.desk.tick()
    (asked,) = busy.asked
    assert (asked.waiting, asked.siblings) == (50, ())
    busy.answer("once")
    assert {busy.effect(call) for call in calls} == {"ALLOW"}
    assert busy.effect(busy.ask()) == "waits"


def test_a_yes_covers_the_siblings_it_names_and_the_others_are_asked_about_again(busy):
    calls = {name: busy.ask(f"git push origin {name}") for name in ("a", "b", "c")}
    busy.seconds += 1
    busy.desk.tick()
    (asked,) = busy.asked
    assert [sibling.shown["command"] for sibling in asked.siblings] == ["git push origin b", "git push origin c"]
    assert asked.siblings[0].targets == ("run in /workspace: git push origin b",)
    busy.answer("once", covers=(asked.siblings[1].digest, "unknown"))
    assert [busy.effect(calls[name]) for name in "abc"] == ["ALLOW", "waits", "ALLOW"]
    assert busy.asked[1].shown["command"] == "git push origin b"
    assert busy.records()[0]["covers"] == [asked.siblings[1].digest]


def test_what_joins_after_the_question_is_not_covered_by_its_yes(office):
    shown = office.ask()
    late = office.ask()
    other = office.ask("git push origin other")
    assert len(office.asked) == 1
    office.answer("once")
    assert [office.effect(call) for call in (shown, late, other)] == ["ALLOW", "waits", "waits"]
    assert (len(office.asked), office.asked[1].waiting, len(office.asked[1].siblings)) == (2, 1, 1)


def test_a_pattern_is_for_so_many_calls_those_that_wait_included(office):
    waiting = [office.ask(f"git push origin b{number}") for number in range(3)]
    office.answer("run", pattern=Pattern(rule=LOOP, calls=5, seconds=60))
    later = [office.ask("git push origin later") for _ in range(3)]
    assert [office.effect(call) for call in (*waiting, *later)] == ["ALLOW"] * 5 + ["waits"]
    assert len(office.asked) == 2
    (record,) = office.records()
    assert (record["pattern_rule"], record["pattern_calls"], record["by"]) == (LOOP, 5, "tester")
    assert record["expires"]


def test_a_target_outside_the_pattern_is_another_question(office):
    office.ask()
    office.answer("run", pattern=Pattern(rule=LOOP, calls=5, seconds=60))
    assert office.effect(office.ask("git push elsewhere main")) == "waits"


def test_a_pattern_ends_with_its_time(office):
    office.ask()
    office.answer("run", pattern=Pattern(rule=LOOP, calls=5, seconds=60))
    office.seconds += 61
    assert office.effect(office.ask()) == "waits"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("run", {"pattern": Pattern(rule="terminal", calls=5, seconds=60)}),
        ("run", {"pattern": Pattern(rule="terminal(rm *)", calls=5, seconds=60)}),
        ("once", {"pattern": Pattern(rule=LOOP, calls=5, seconds=60)}),
        ("always", {"pattern": Pattern(rule=LOOP, calls=5, seconds=60)}),
        ("run", {"pattern": Pattern(rule=LOOP, calls=5, seconds=60), "covers": ("x",)}),
    ],
)
def test_a_pattern_that_cannot_be_meant_allows_nothing_and_is_asked_again(office, text, fields):
    call = office.ask()
    office.answer(text, **fields)
    assert office.effect(call) == "waits"
    assert office.asked[1].problem
    assert office.asked[1].question_id != office.asked[0].question_id


def test_a_no_to_a_pattern_is_a_no(office):
    call = office.ask()
    office.answer("no", pattern=None)
    assert office.effect(call) == "DENY"


def test_fifty_parallel_calls_at_the_edge_of_a_pattern_are_exact(office):
    office.ask()
    office.answer("run", pattern=Pattern(rule=LOOP, calls=31, seconds=600))
    together = threading.Barrier(50)

    def ask() -> None:
        together.wait()
        office.ask("git push origin parallel")

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    effects = [decision.effect for decision in office.decided.values()]
    assert effects == [Effect.ALLOW] * 31
    assert len(office.asked) == 2


def test_a_thousand_asks_at_once_are_bounded_and_few_questions(busy):
    calls = [busy.ask(f"git push origin b{number % 7}") for number in range(1000)]
    busy.seconds += 1
    busy.desk.tick()
    assert len(busy.asked) == 1
    refused = [call for call in calls if busy.effect(call) == "DENY"]
    assert len(refused) == 1000 - 512
    assert {busy.decided[call].answer for call in refused} == {"full"}
    busy.answer("no")
    assert {busy.effect(call) for call in calls} == {"DENY"}
    assert busy.desk.tick() is None


def test_the_host_may_say_how_many_may_wait(opened):
    office = opened("few", budgets={"pending_asks": 2.0})
    assert [office.effect(office.ask(line=line)) for line in range(3)] == ["waits", "waits", "DENY"]


def test_repeated_noes_cool_down_and_say_until_when(office):
    for _ in range(2):
        office.ask()
        office.answer("no")
    call = office.ask()
    assert len(office.asked) == 2
    assert "not asked again before" in office.decided[call].reason
    assert office.decided[call].answer == "cooling"
    office.seconds += 61
    assert office.effect(office.ask()) == "waits"


def test_what_waits_behind_the_last_no_is_not_asked_either(office):
    office.ask()
    office.answer("no")
    office.ask()
    behind = office.ask()
    office.answer("no")
    assert office.decided[behind].answer == "cooling"
    assert len(office.asked) == 2


def test_an_answer_that_cannot_be_recorded_allows_nothing(office):
    call = office.ask()
    office.log.close()
    office.answer("once")
    assert office.effect(call) == "DENY"
    assert "could not be recorded" in office.decided[call].reason


def test_a_stop_that_cannot_be_recorded_stops_all_the_same(office):
    calls = [office.ask(), office.ask(line=9)]
    office.log.close()
    office.answer("stop")
    assert {office.decided[call].reason for call in calls} == {"a person stopped the run"}
    assert office.desk.is_stopped


def test_a_question_too_large_to_show_is_a_no(office):
    def refuse(_: Asked | QuestionOver) -> None:
        raise PolicyError("a control message of 20000000 bytes is over the limit")

    seconds = 0.0
    desk = Desk(office.session, office.log, send=refuse, line=office, now=lambda: seconds)
    asked = asked_call()
    decided: list[Decision] = []
    assert desk.ask(office.call(asked), asked, decided.append) is None
    seconds += LONE_SECONDS
    desk.tick()
    assert [decision.effect for decision in decided] == [Effect.DENY]


def test_a_question_costs_a_person_no_waiting(office):
    started = time.monotonic()
    for number in range(200):
        office.ask(line=number)
        office.answer("once")
    assert time.monotonic() - started < 10
