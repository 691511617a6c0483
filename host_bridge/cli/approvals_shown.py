"""Questions as a person reads them in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from host_bridge.policy.display import one_line

if TYPE_CHECKING:
    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.question import Question

ANSWERS = ("once", "run", "notebook", "always", "no", "stop")
"""`control.ANSWERS`, in the order in which a person thinks of them."""


def row(inbox: Inbox, question: Question) -> tuple[str, ...]:
    """Give a question's line in a list."""
    from host_bridge.inbox.question import QuestionState, clock_time
    from host_bridge.inbox.views import about, is_open

    asked = question.asked
    state = inbox.standing(question)
    if question.state(inbox.now()) is QuestionState.PENDING:
        when = f"{_span(question.expires_at - inbox.now())} left"
    else:
        outcome = question.outcome
        when = clock_time(outcome.at if outcome else question.expires_at)
        if outcome is not None and outcome.answer is not None:
            state = f"answered {outcome.answer.answer}" + (", to be resumed" if is_open(inbox, question) else "")
    cell = "" if asked.cell_index is None else f"cell {asked.cell_index}"
    return (question.id, state, when, asked.principal, Path(asked.notebook).name, cell, about(question.asked))


def standing(inbox: Inbox, question: Question) -> str:
    """Say what has become of a question, and what can be done."""
    from host_bridge.inbox.question import QuestionState, describe_outcome
    from host_bridge.inbox.views import resume_command

    if question.state(inbox.now()) is QuestionState.PENDING:
        left = _span(question.expires_at - inbox.now())
        gone = inbox.is_orphaned(question)
        if gone and question.run is not None and question.run.obstacle:
            obstacle = one_line(question.run.obstacle)
            return f"question {question.id}: the process that asked is gone, and no yes can take its run up: {obstacle}"
        waits = "the process that asked is gone; a yes takes its run up again" if gone else "a call waits"
        command = f"hermes-runtime approvals answer {question.id} {'|'.join(ANSWERS)}"
        return f"question {question.id}: {waits}; {left} left\n  {command}"
    outcome = question.outcome
    if outcome is None or outcome.answer is None:
        return describe_outcome(question)
    said = f"question {question.id}: answered {outcome.answer.answer!r} by {one_line(outcome.answer.by)}"
    if outcome.taken_at is not None:
        return f"{said}; the run has the answer"
    if command := resume_command(inbox, question):
        return f"{said}; nobody was there to hear it. To take the run up again with it:\n  {command}"
    return said if inbox.is_orphaned(question) else f"{said}; the run has not fetched it yet"


def _span(seconds: float) -> str:
    seconds = max(0, round(seconds))
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
