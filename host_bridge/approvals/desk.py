"""The desk where calls wait for a person: ties questions and answers to running calls, the audit log and the control channel.

A call that waits holds no thread: it is put aside with a function that takes it up again. The server's loop gives the time
(`tick`). Each answer is recorded before anything comes of it.
"""

from __future__ import annotations

import dataclasses
import datetime
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from hermes_protocol.messages import MAX_TIMEOUT_SECONDS
from host_bridge.approvals.calls import AskedCall
from host_bridge.approvals.ledger import Ledger, RuleBook, Settlement
from host_bridge.approvals.questions import LONE_SECONDS, MAX_WAITING, QUIET_SECONDS, FullError, Question, Questions
from host_bridge.approvals.telling import answered_record, as_asked, unused_record
from host_bridge.audit.log import AuditLog
from host_bridge.audit.records import AnswerUnused, QuestionAnswered
from host_bridge.calls import RunningCall
from host_bridge.control import ANSWERS, Answer, Asked, QuestionOver
from host_bridge.errors import AuditError, HostBridgeError
from host_bridge.policy.model import Decision, Effect
from host_bridge.sessions import SessionState

MAX_ATTEMPTS = 3  # answers to one question that can't be used; then it is a no
TOLD_SECONDS = 1.0  # less than that a kernel waits anyway, for a reply that is under way
STOPPED = "session:stopped"
"""The rule id of every call after a person stopped the run."""

Resume = Callable[[Decision], object]


class Line(Protocol):
    """How a waiting call's kernel hears of it; the server implements it."""

    def send_pending(self, call: RunningCall, seconds: float, reason: str) -> None:
        """Tell the kernel that a call's clock stands still."""

    def watch(self, call: RunningCall) -> None:
        """Look at a call's deadline again, which is earlier than it was."""

    def wake(self) -> None:
        """Have the server's loop call `tick` soon."""


@dataclasses.dataclass(slots=True)
class _Waiting:
    call: RunningCall
    asked: AskedCall
    resume: Resume
    since: float
    given: float = 0.0


class Desk:
    """One session's.

    Args:
        session: Whose calls these are.
        log: Where answers are recorded; one that can't be has no effect.
        send: Puts a question to the host application, and says when nobody waits for its answer any more.
        line: To the kernel.
        rules: Where `always` writes.
        now: A clock that never goes backwards.

    Attributes:
        is_stopped: Whether a person stopped the run: nothing is done any more.
    """

    def __init__(
        self,
        session: SessionState,
        log: AuditLog,
        *,
        send: Callable[[Asked | QuestionOver], None],
        line: Line,
        rules: RuleBook | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        config = session.config
        self._session = session
        self._config = config
        self._log = log
        self._send = send
        self._line = line
        self._now = now
        self._ledger = Ledger(config, rules, now)
        limit = config.budgets.get("pending_asks", MAX_WAITING)
        self._questions = Questions(f"{config.session_id}-q", config.ask_timeout_seconds, int(limit))
        self._waiting: dict[str, _Waiting] = {}
        self._lock = threading.RLock()
        self.is_stopped = False

    @property
    def waiting(self) -> int:
        """How many calls wait for a person."""
        return len(self._waiting)

    def ask(self, call: RunningCall, asked: AskedCall, resume: Resume) -> Decision | None:
        """Decide a call whose rule says `ask`.

        Args:
            call: Runs; its clock stands still while it waits.
            asked: What is asked.
            resume: Called once with the decision, from any thread, if there is none yet.

        Returns:
            The decision where nobody has to be asked, else None.
        """
        with self._lock:
            decision = self._without_asking(asked)
            if decision is not None:
                return decision
            now = self._now()
            try:
                quiet_seconds = QUIET_SECONDS if self._is_busy() else LONE_SECONDS
                self._questions.join(asked, now, quiet_seconds=quiet_seconds)
            except FullError as full:
                return _denial(asked, "full", f"{asked.reason}; {full}")
            waiting = self._waiting[call.call_id] = _Waiting(call, asked, resume, now)
            self._give_time(waiting, self._questions.turn_seconds)
        self._show_due()
        call.on_end(lambda: self._leave(call.call_id))
        self._line.wake()
        return None

    def answer(self, answer: Answer) -> None:
        """Take a person's answer."""
        with self._lock:
            question = self._questions.close(answer.question_id)
            if question is None:
                # Too late, never asked, another session's: it opens nothing.
                self._record(unused_record(answer, "no such question is open"))
                return
            settled = self._settled(question, answer)
        self._show_due()
        self._take_up(settled)

    def tick(self) -> float | None:
        """Do what is due. Called by the server's loop.

        Returns:
            In how many seconds there will be something again; None if nothing waits.
        """
        if not self._waiting:
            return None
        with self._lock:
            late, unseen = self._questions.expired(self._now())
            settled = [one for question in late for one in self._expire(question)]
            text = "nobody got to this question in time, which counts as a no"
            settled += [(call, _denial(call, "expired", text)) for call in unseen]
        self._show_due()
        self._take_up(settled)
        with self._lock:
            next_time = self._questions.next_time(self._now())
        return None if next_time is None else max(0.0, next_time - self._now())

    # before asking -----------------------------------------------------------------------------------------------------

    def _without_asking(self, asked: AskedCall) -> Decision | None:
        if self.is_stopped:
            return stopped()
        permission = self._ledger.permission(asked)
        if permission is not None:
            return Decision(
                Effect.ALLOW,
                asked.rule_id,
                permission.reason,
                answer=permission.scope,
                question_id=permission.question_id,
            )
        if not self._config.interactive:
            text = "nobody is there to ask: run it at a terminal, or with --park to have it wait for an answer"
            return _denial(asked, "nobody", f"{asked.reason}; {text}")
        seconds = self._ledger.cooling.seconds_left(asked)
        if seconds > 0:
            until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
            text = f"a person denied this repeatedly, so it is not asked again before {until:%H:%M:%S} UTC"
            return _denial(asked, "cooling", text)
        return None

    def _is_busy(self) -> bool:
        """Whether other calls are open, siblings perhaps: then a question waits a moment for them."""
        used = {budget.name: budget.used for budget in self._session.budgets.snapshot()}
        return used.get("concurrent_calls", 2) > 1

    # asking ------------------------------------------------------------------------------------------------------------

    def _show_due(self) -> None:
        unshown: list[tuple[AskedCall, Decision]] = []
        with self._lock:
            now = self._now()
            for question in self._questions.due(now):
                if problem := self._show(question, now):
                    self._questions.close(question.question_id)
                    unshown += [(call, _denial(call, "nobody", problem)) for call in question.calls.values()]
        self._take_up(unshown)

    def _show(self, question: Question, now: float, problem: str = "") -> str:
        """Send a question, for whose time its calls' clocks stand still; gives why it can't be sent."""
        message = as_asked(question, self._config, problem=problem, timeout_seconds=max(0.001, question.deadline - now))
        try:
            self._send(message)
        except (HostBridgeError, TypeError, ValueError) as error:  # too large to show, so nobody can say yes to it
            return f"the call can't be shown to a person: {error}"
        if not problem:
            for call_id in question.calls:
                waiting = self._waiting[call_id]
                self._give_time(waiting, now - waiting.since + self._config.ask_timeout_seconds - waiting.given)
        return ""

    # answers -----------------------------------------------------------------------------------------------------------

    def _settled(self, question: Question, answer: Answer) -> list[tuple[AskedCall, Decision]]:
        """Record an answer and do what it says; gives the calls that go on, and how."""
        if answer.answer not in ANSWERS:
            answer = msgspec.structs.replace(answer, answer="no", covers=(), pattern=None)
        problem = self._ledger.problem(question, answer)
        if not problem:
            if not self._record(answered_record(question, answer)):
                if answer.answer == "stop":
                    return self._stop(question)  # nothing is done by it that would need a record
                text = "a person answered, which could not be recorded, so it was not done"
                return [(call, _denial(call, answer.answer, text)) for call in question.calls.values()]
            try:
                return self._after(question, answer, self._ledger.settle(question, answer))
            except HostBridgeError as error:
                problem = str(error)
        return self._again(question, answer, problem)

    def _after(self, question: Question, answer: Answer, settlement: Settlement) -> list[tuple[AskedCall, Decision]]:
        settled: list[tuple[AskedCall, Decision]] = []
        for call in question.calls.values():
            permission = settlement.allowed.get(call.call_id)
            if permission is not None:
                settled.append((call, _allowance(call, permission.reason, permission.scope, question.question_id)))
        if answer.answer == "stop":
            return self._stop(question)
        text = "a person was asked and did not allow it"
        settled += [(call, _denial(call, answer.answer, text, question.question_id)) for call in settlement.denied]
        self._questions.requeue(settlement.left, self._now())
        return settled + self._answered_meanwhile()

    def _stop(self, question: Question) -> list[tuple[AskedCall, Decision]]:
        self.is_stopped = True
        others, unseen = self._questions.close_all()
        for other in others:
            self._withdraw(other, "a person stopped the run")
        calls = [call for one in (question, *others) for call in one.calls.values()]
        return [(call, stopped(question.question_id)) for call in (*calls, *unseen)]

    def _answered_meanwhile(self) -> list[tuple[AskedCall, Decision]]:
        """Give the calls not shown yet that need not be: a new grant covers them, or there were enough noes."""
        settled: list[tuple[AskedCall, Decision]] = []

        def is_answered(call: AskedCall) -> bool:
            decision = self._without_asking(call)
            if decision is not None:
                settled.append((call, decision))
            return decision is not None

        self._questions.take_gathering(is_answered)
        return settled

    def _again(self, question: Question, answer: Answer, problem: str) -> list[tuple[AskedCall, Decision]]:
        """Tell the person why the answer could not be used, by asking again. Nothing has been allowed."""
        self._record(unused_record(answer, problem))
        if question.attempt + 1 < MAX_ATTEMPTS and question.calls:
            again = self._questions.reopen(question)
            if not self._show(again, self._now(), problem):
                return []
            self._questions.close(again.question_id)
        # Not the problem itself: it may name files of the host.
        text = "a person's answers could not be used, so it was not allowed"
        return [(call, _denial(call, "unusable", text, question.question_id)) for call in question.calls.values()]

    def _expire(self, question: Question) -> list[tuple[AskedCall, Decision]]:
        self._record(answered_record(question, Answer(answer="expired")))
        self._withdraw(question, "the time for an answer was over")
        text = f"nobody answered within {self._config.ask_timeout_seconds:g} s, which counts as a no"
        return [(call, _denial(call, "expired", text, question.question_id)) for call in question.calls.values()]

    def _withdraw(self, question: Question, reason: str) -> None:
        self._send(QuestionOver(question_id=question.question_id, reason=reason))

    # the log -----------------------------------------------------------------------------------------------------------

    def _record(self, record: QuestionAnswered | AnswerUnused) -> bool:
        try:
            self._log.append(record)
        except AuditError:
            return False  # the call's own record fails as well, and says so
        return True

    # waiting calls -----------------------------------------------------------------------------------------------------

    def _leave(self, call_id: str) -> None:
        """A waiting call ended: cancelled, timed out, or its session did."""
        with self._lock:
            was_waiting, deserted = self._questions.leave(call_id)
            if not was_waiting:
                return
            asked = self._waiting[call_id].asked
            if deserted is not None:
                self._withdraw(deserted, "the call has ended")
        self._show_due()
        self._take_up([(asked, _denial(asked, "ended", "the call ended before a person answered"))])

    def _give_time(self, waiting: _Waiting, seconds: float) -> None:
        seconds = min(seconds, MAX_TIMEOUT_SECONDS)
        if seconds <= 0:
            return
        waiting.given += seconds
        waiting.call.extend(seconds)
        if seconds >= TOLD_SECONDS:
            self._line.send_pending(waiting.call, seconds, "waiting for a person's permission")

    def _take_up(self, settled: Iterable[tuple[AskedCall, Decision]]) -> None:
        for asked, decision in settled:
            with self._lock:
                waiting = self._waiting.pop(asked.call_id)
                waiting.call.waited_seconds = self._now() - waiting.since
                waiting.call.extend(waiting.call.waited_seconds - waiting.given)
            self._line.watch(waiting.call)
            waiting.resume(decision)


def stopped(question_id: str = "") -> Decision:
    """What every call comes to after a person stopped the run."""
    return Decision(Effect.DENY, STOPPED, "a person stopped the run", answer="stop", question_id=question_id)


def _allowance(call: AskedCall, reason: str, answer: str, question_id: str) -> Decision:
    return Decision(Effect.ALLOW, call.rule_id, reason, answer=answer, question_id=question_id)


def _denial(call: AskedCall, answer: str, reason: str, question_id: str = "") -> Decision:
    return Decision(Effect.DENY, call.rule_id, reason, call.remedy, answer=answer, question_id=question_id)
