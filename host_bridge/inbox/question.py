"""A question as it is kept, and what may become of it. Pure: every change is a function from one question to the next.

    pending ──▶ answered    a person's answer, once; whoever asked takes it, once
            ├─▶ expired     its time was over
            └─▶ withdrawn   its call has ended: nobody waits for an answer

A pending question whose process is gone is *orphaned*: its answer belongs to the run that is made again.
"""

from __future__ import annotations

import datetime
import enum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from host_bridge.control import ANSWERS, Answer, Asked
from host_bridge.errors import QuestionError, QuestionSettledError
from host_bridge.inbox.owner import Owner
from host_bridge.policy.display import one_line

ID_PATTERN = r"^[a-z0-9]{1,32}$"
NOES = frozenset({"no", "stop"})
MAX_PATTERN_CALLS = 10_000
MAX_PATTERN_SECONDS = 86_400.0  # longer is a rule's business, which a policy file keeps
MAX_RULE_CHARACTERS = 4096

USABLE_SECONDS = 3600.0
"""How long an answer can be made use of, however late it came: a run that is made again has to get to its call first."""

Text = Annotated[str, Meta(max_length=1024)]


class QuestionState(enum.StrEnum):
    """What has become of a question."""

    PENDING = "pending"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all shapes here share."""


class RunFacts(Part, frozen=True, kw_only=True):
    """What it takes to run a notebook again. Never a secret.

    Attributes:
        run_id: The run that asked.
        input_path: Absolute.
        output_path: Absolute; empty for nowhere.
        timeout: Seconds for the whole run; None for no limit.
        parameters: Those that may be written down.
        missing: Names of those that may not: secrets, and values that are no plain data.
        options: The other options of the run by their names in `RunOptions`.
        obstacle: Why it can't be run again from these facts alone; empty if it can.
    """

    run_id: str
    input_path: str
    output_path: str = ""
    timeout: float | None = None
    parameters: dict[str, Any] = {}
    missing: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    obstacle: str = ""


class Outcome(Part, frozen=True, kw_only=True):
    """How a question ended.

    Attributes:
        at: When, in seconds since 1970.
        answer: What was said and by whom, if that is how.
        reason: Why it was withdrawn.
        taken_at: When the answer was made use of; None while it wasn't.
        taken_by: The run that did.
    """

    state: QuestionState
    at: float
    answer: Answer | None = None
    reason: Text = ""
    taken_at: float | None = None
    taken_by: Text = ""


class Question(Part, frozen=True, kw_only=True):
    """One question, from when it is asked until it is forgotten.

    Attributes:
        id: Short, and no other question's.
        asked: What is asked, with what sounded secret replaced.
        asked_at: When, in seconds since 1970.
        expires_at: From then on an answer comes too late.
        parked: Whether the question shall outlive its process.
        owner: Who waits; None once nobody does and somebody may again.
        run: What it takes to ask again; None where that can't be.
        outcome: None while it is pending.
    """

    version: Literal[1] = 1  # a file of a later one is refused, not guessed at
    id: Annotated[str, Meta(pattern=ID_PATTERN)]
    asked: Asked
    asked_at: float
    expires_at: float
    parked: bool = False
    owner: Owner | None = None
    run: RunFacts | None = None
    outcome: Outcome | None = None

    def state(self, now: float) -> QuestionState:
        """Give what has become of it by now; one nobody came back to has expired all the same."""
        if self.outcome is not None:
            return self.outcome.state
        return QuestionState.EXPIRED if now >= self.expires_at else QuestionState.PENDING


def answered(question: Question, answer: Answer, now: float) -> Question:
    """Give the question with its answer.

    Raises:
        QuestionSettledError: It has an outcome already; the text says which, and since when.
        QuestionError: The answer is none that this question can have.
    """
    if question.state(now) is not QuestionState.PENDING:
        raise QuestionSettledError(describe_outcome(question))
    _check(answer, question.asked)
    meant = msgspec.structs.replace(answer, question_id=question.asked.question_id)
    return msgspec.structs.replace(question, outcome=Outcome(state=QuestionState.ANSWERED, at=now, answer=meant))


def _check(answer: Answer, asked: Asked) -> None:
    if answer.answer not in ANSWERS:
        raise QuestionError(f"{answer.answer!r} is no answer; there are: {', '.join(sorted(ANSWERS))}")
    if answer.answer == "notebook" and not asked.notebook_digest:
        raise QuestionError("the call comes from no notebook that is known, so it can't be allowed for a notebook")
    if strangers := set(answer.covers) - {sibling.digest for sibling in asked.siblings}:
        raise QuestionError(f"the question shows no call {min(strangers)}; an answer covers what was shown")
    pattern = answer.pattern
    if pattern is None:
        return
    if answer.answer != "run":
        raise QuestionError(f"a pattern bounds a yes for the run, so it goes with `run` and not with `{answer.answer}`")
    if not 0 < len(pattern.rule) <= MAX_RULE_CHARACTERS:
        raise QuestionError(f"the pattern's rule has 1 to {MAX_RULE_CHARACTERS} characters")
    if not 1 <= pattern.calls <= MAX_PATTERN_CALLS:
        raise QuestionError(f"a pattern is for 1 to {MAX_PATTERN_CALLS} calls")
    if not 0 < pattern.seconds <= MAX_PATTERN_SECONDS:
        raise QuestionError(f"a pattern holds for more than 0 and at most {MAX_PATTERN_SECONDS:g} seconds")


def expired(question: Question, now: float) -> Question:
    """Give the question as one whose time is over; one that has an outcome keeps it."""
    if question.outcome is not None:
        return question
    return msgspec.structs.replace(question, outcome=Outcome(state=QuestionState.EXPIRED, at=now))


def withdrawn(question: Question, reason: str, now: float) -> Question:
    """Give the question as one nobody waits for any more; one that has an outcome keeps it."""
    if question.state(now) is not QuestionState.PENDING:
        return expired(question, now)
    outcome = Outcome(state=QuestionState.WITHDRAWN, at=now, reason=reason[:1024])
    return msgspec.structs.replace(question, outcome=outcome)


def taken(question: Question, by: str, now: float) -> Question:
    """Give the question with its answer made use of, which can be done once.

    Raises:
        QuestionSettledError: There is no answer, or it was made use of before.
    """
    outcome = question.outcome
    if outcome is None or outcome.answer is None:
        raise QuestionSettledError(f"question {question.id} has no answer to make use of")
    if outcome.taken_at is not None:
        raise QuestionSettledError(
            f"the answer to question {question.id} was for one call and run {outcome.taken_by or 'that asked'} has used it"
        )
    if now >= usable_until(question):
        raise QuestionSettledError(
            f"the answer to question {question.id} was not used by {clock_time(usable_until(question))}; it is worth nothing"
        )
    return msgspec.structs.replace(question, outcome=msgspec.structs.replace(outcome, taken_at=now, taken_by=by[:1024]))


def is_meant(question: Question, asked: Asked) -> bool:
    """Whether an answer to a question of an earlier run is for this one: the same call, notebook and agent."""
    before = question.asked
    return bool(asked.digest and asked.notebook_digest) and (
        (asked.tool, asked.digest, asked.notebook_digest, asked.principal)
        == (before.tool, before.digest, before.notebook_digest, before.principal)
    )


def usable_until(question: Question) -> float:
    """Give when an answer is worth nothing any more, in seconds since 1970."""
    at = question.outcome.at if question.outcome is not None else question.asked_at
    return max(question.expires_at, at + USABLE_SECONDS)


def describe_outcome(question: Question) -> str:
    """Say how a question ended, and what to do."""
    outcome = question.outcome
    if outcome is None or outcome.state is QuestionState.EXPIRED:
        return (
            f"question {question.id} has expired: its time was over at {clock_time(question.expires_at)}; run it again"
        )
    if (answer := outcome.answer) is not None:
        by = f" by {one_line(answer.by)}" if answer.by else ""
        return (
            f"question {question.id} was answered {answer.answer!r} at {clock_time(outcome.at)}{by} already, "
            "and an answer stands"
        )
    reason = f": {one_line(outcome.reason)}" if outcome.reason else ""
    return f"question {question.id} was withdrawn at {clock_time(outcome.at)}{reason}; nobody waits for an answer"


def clock_time(seconds: float) -> str:
    """Give a time as people and programs read it, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
