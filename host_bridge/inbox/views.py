"""A question as programs read it: the same from the command line and over HTTP."""

from __future__ import annotations

import getpass
import os
from typing import Any

import msgspec

from host_bridge.control import Asked
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.question import NOES, Question, QuestionState, clock_time
from host_bridge.policy.telling import telling

SUBJECT_CHARACTERS = 80
_SHOWN_FIELDS = (
    "tool",
    "shown",
    "targets",
    "rule_id",
    "reason",
    "remedy",
    "suggested",
    "problem",
    "digest",
    "principal",
    "session_id",
    "run_id",
    "notebook",
    "notebook_digest",
    "cell_index",
    "line",
    "source_line",
    "untrusted",
    "waiting",
    "siblings",
)


def as_data(inbox: Inbox, question: Question) -> dict[str, Any]:
    """Give a question as plain data.

    Texts in it are somebody else's: escape them (`policy.display`) before a person sees them.
    """
    state = question.state(inbox.now())
    return {
        "id": question.id,
        "state": inbox.standing(question),
        "asked_at": clock_time(question.asked_at),
        "expires_at": clock_time(question.expires_at),
        "seconds_left": round(max(0.0, question.expires_at - inbox.now())) if state is QuestionState.PENDING else 0,
        "parked": question.parked,
        **{name: msgspec.to_builtins(getattr(question.asked, name)) for name in _SHOWN_FIELDS},
        "owner_pid": question.owner.process.pid if question.owner else None,
        "outcome": _outcome(question),
        "resume": resume_command(inbox, question),
    }


def resume_command(inbox: Inbox, question: Question) -> str:
    """Give the command that takes the run up again with the answer; empty where there is nothing to run."""
    outcome = question.outcome
    if outcome is None or outcome.answer is None or outcome.answer.answer in NOES or not inbox.is_orphaned(question):
        return ""
    if question.run is not None and question.run.obstacle:
        return ""
    return f"hermes-runtime approvals resume {question.id}"


def is_open(inbox: Inbox, question: Question) -> bool:
    """Whether somebody has to do something about a question: answer it, or run it again."""
    pending = question.state(inbox.now()) is QuestionState.PENDING
    return pending or bool(resume_command(inbox, question))


def about(asked: Asked) -> str:
    """Say in a few words what is asked: the tool, and what it would touch. Somebody else's text: escape it."""
    text = telling(asked.shown)
    shown = text if len(text) <= SUBJECT_CHARACTERS else f"{text[: SUBJECT_CHARACTERS - 1]}…"
    return f"{asked.tool}({shown})"


def user_name() -> str:
    """Name whoever runs this process, for the record of who answered."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # nobody's number
        return f"user {os.getuid()}"


def _outcome(question: Question) -> dict[str, Any] | None:
    outcome = question.outcome
    if outcome is None:
        return None
    answer = outcome.answer
    return {
        "state": str(outcome.state),
        "at": clock_time(outcome.at),
        "answer": answer.answer if answer else "",
        "pattern": msgspec.to_builtins(answer.pattern) if answer else None,
        "covers": list(answer.covers) if answer else [],
        "by": answer.by if answer else "",
        "reason": outcome.reason,
        "taken_at": clock_time(outcome.taken_at) if outcome.taken_at is not None else None,
        "taken_by": outcome.taken_by,
    }
