"""The prompter that asks by the inbox: puts a question there, waits for its outcome, and takes it back when nobody else waits.

Another prompter, such as the terminal's, may be asked at the same time; whoever answers first is heard, and the other is told.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from host_bridge.control import ANSWERS, Answer, Asked
from host_bridge.errors import QuestionError, QuestionSettledError
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.owner import BEAT_SECONDS, this_process
from host_bridge.inbox.presenting import presentable
from host_bridge.inbox.question import Question, RunFacts, is_meant
from host_bridge.inbox.views import about
from host_bridge.policy.display import one_line
from host_bridge.provisioning.callbacks import APPLICATION
from host_bridge.provisioning.options import ListeningPrompter, Prompter

POLL_SECONDS = 0.2
"""How often the question's file is looked at: one system call, and a person notices no delay."""
MARGIN_SECONDS = 1.0  # an answer has to reach the session before the session stops waiting
CLOSE_SECONDS = 5.0
BY_INBOX = "inbox"
_KEPT_IDS = 256  # a question can be over before its thread has begun

_log = logging.getLogger(__name__)


class InboxPrompter:
    """Asks by the inbox. A `ListeningPrompter`.

    Args:
        inbox: Where questions go.
        beside: Asked at the same time; None for nobody.
        parked: Whether questions shall outlive this process.
        run: What it takes to run the notebook again.
        secrets: Values that must not be written down.
        grant: The id of a question of an earlier run whose answer is for the same call in this one.
        keeps: Whether a question whose call ends now is left to be answered later.
        tell: Told, in a sentence for people, where an answer is waited for and what went wrong.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        beside: Prompter | None = None,
        parked: bool = False,
        run: RunFacts | None = None,
        secrets: Sequence[str] = (),
        grant: str = "",
        keeps: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._inbox = inbox
        self._beside = beside
        self._parked = parked
        self._run = run
        self._secrets = tuple(secrets)
        self._grant = grant
        self._keeps = keeps
        self._tell = tell
        self._changed = threading.Condition()
        self._open: dict[str, _Wait] = {}
        self._closed = ""
        self._too_early: collections.deque[tuple[str, str]] = collections.deque(maxlen=_KEPT_IDS)

    def __call__(self, asked: Asked) -> str | Answer:
        """Give the answer that came first; the empty text when none came while one was waited for."""
        if (granted := self._granted(asked)) is not None:
            return granted
        with self._waiting(asked.question_id) as wait:
            try:
                question = self._inbox.ask(
                    presentable(asked, self._secrets),
                    this_process(),
                    seconds=max(asked.timeout_seconds - MARGIN_SECONDS, asked.timeout_seconds / 2),
                    parked=self._parked,
                    run=self._run,
                )
            except QuestionError as error:
                return self._without_inbox(asked, error)
            if self._parked:
                self._tell(self._notice(question))
            return self._wait_for(question, asked, wait)

    def withdraw(self, question_id: str, reason: str) -> None:
        """Stop waiting for an answer to a session's question."""
        with self._changed:
            if (wait := self._open.get(question_id)) is not None:
                wait.end(reason)
            else:
                self._too_early.append((question_id, reason))

    def close(self, reason: str) -> None:
        """Take back what is still asked, and wait, for a bounded time, until that is written down. Nothing is asked later."""
        with self._changed:
            self._closed = reason
            for wait in self._open.values():
                wait.end(reason)
            self._changed.wait_for(lambda: not self._open, CLOSE_SECONDS)

    def _wait_for(self, question: Question, asked: Asked, wait: _Wait) -> str | Answer:
        if self._beside is not None:
            arguments = (self._beside, asked, question.id, wait)
            threading.Thread(target=self._ask_beside, args=arguments, name="hermes-ask", daemon=True).start()
        try:
            return self._outcome(question, wait)
        except QuestionError as error:
            self._tell(f"question {question.id} is lost, which counts as a no: {error}")
            return Answer(answer="no", by=BY_INBOX)
        finally:
            if isinstance(self._beside, ListeningPrompter):
                self._beside.withdraw(asked.question_id, "it is settled")

    def _granted(self, asked: Asked) -> Answer | None:
        """Use the answer that an earlier run was given, if it is for this very call."""
        if not self._grant:
            return None
        try:
            question = self._inbox.get(self._grant)
            if not is_meant(question, asked):
                return None
            outcome = self._inbox.take(question.id, by=asked.run_id).outcome
        except QuestionError as error:
            self._grant = ""
            self._tell(f"the earlier answer can't be used, so the call is asked about again: {error}")
            return None
        self._grant = ""
        assert outcome is not None
        assert outcome.answer is not None
        shown = {sibling.digest for sibling in asked.siblings}
        covers = tuple(digest for digest in outcome.answer.covers if digest in shown)
        return msgspec.structs.replace(outcome.answer, question_id=asked.question_id, covers=covers)

    def _without_inbox(self, asked: Asked, error: QuestionError) -> str | Answer:
        if self._beside is not None:
            _log.warning("the question is not in the inbox: %s", error)
            return self._beside(asked)
        # What can't be written down can't be answered: waiting for it would be for nothing.
        self._tell(f"a question could not be put in the inbox, which counts as a no: {error}")
        return Answer(answer="no", by=BY_INBOX)

    def _notice(self, question: Question) -> str:
        asked = question.asked
        cell = "" if asked.cell_index is None else f", cell {asked.cell_index}"
        return (
            f"waiting for a person{cell}: {one_line(about(asked))}\n"
            f"  hermes-runtime approvals show {question.id}\n"
            f"  hermes-runtime approvals answer {question.id} yes|no"
        )

    def _ask_beside(self, beside: Prompter, asked: Asked, question_id: str, wait: _Wait) -> None:
        try:
            given = beside(asked)
        except Exception:
            _log.exception("the prompter failed, which counts as a no")
            given = "no"
        if given == "":
            return
        answer = given if isinstance(given, Answer) else Answer(answer=given)
        word = answer.answer if answer.answer in ANSWERS else "no"
        answer = msgspec.structs.replace(answer, answer=word, by=answer.by or APPLICATION)
        try:
            self._inbox.answer(question_id, answer)
        except QuestionSettledError as error:
            _log.info("an answer came too late: %s", error)
        except QuestionError as error:
            # A person said it; that the inbox can't keep it changes nothing about that.
            _log.warning("an answer is not in the inbox: %s", error)
            wait.answer = answer
        wait.changed.set()

    def _outcome(self, question: Question, wait: _Wait) -> str | Answer:
        deadline = time.monotonic() + question.expires_at - question.asked_at
        beaten, seen = time.monotonic(), None
        while wait.answer is None:
            if (mark := self._inbox.mark(question.id)) != seen or mark is None:
                seen, found = mark, self._inbox.get(question.id)
                if found.outcome is not None:
                    return self._make_use_of(found, question)
            if wait.reason is not None:
                return self._make_use_of(self._give_up(question, wait.reason), question)
            now = time.monotonic()
            if now >= deadline:
                return self._make_use_of(self._inbox.expire(question.id), question)
            if now - beaten >= BEAT_SECONDS:
                self._inbox.beat(question.id)
                beaten = now
            if wait.changed.wait(min(POLL_SECONDS, deadline - now)):
                wait.changed.clear()
        self._inbox.withdraw(question.id, "it was answered elsewhere")
        return wait.answer

    def _give_up(self, question: Question, reason: str) -> Question:
        if not (self._parked and self._keeps()):
            return self._inbox.withdraw(question.id, reason)
        self._tell(
            f"the question stays: `hermes-runtime approvals answer {question.id} yes` takes the run up again with that answer"
        )
        return self._inbox.release(question.id)

    def _make_use_of(self, found: Question, question: Question) -> str | Answer:
        """Take the answer, if that is the outcome. It is for the call that was asked about, or for none."""
        if found.outcome is None or found.outcome.answer is None:
            return ""
        if found.asked != question.asked:
            raise QuestionError("its file is about another call now")
        self._inbox.take(question.id, by=question.asked.run_id or question.asked.session_id)
        return found.outcome.answer

    @contextlib.contextmanager
    def _waiting(self, question_id: str) -> Iterator[_Wait]:
        wait = _Wait()
        with self._changed:
            self._open[question_id] = wait
            early = [reason for name, reason in self._too_early if name == question_id]
            for reason in filter(None, (*early, self._closed)):
                wait.end(reason)
        try:
            yield wait
        finally:
            with self._changed:
                self._open.pop(question_id, None)
                self._changed.notify_all()


class _Wait:
    """One question that is waited for, and why not any more."""

    def __init__(self) -> None:
        self.changed = threading.Event()
        self.reason: str | None = None
        self.answer: Answer | None = None

    def end(self, reason: str) -> None:
        self.reason = reason
        self.changed.set()
