"""What is told of a question: to the host application, which shows it, and to the audit log once it is answered. Pure."""

from __future__ import annotations

import datetime

from host_bridge.approvals.patterns import suggested_rule
from host_bridge.approvals.questions import Question
from host_bridge.approvals.targets import targets_of
from host_bridge.audit.records import AnswerUnused, QuestionAnswered
from host_bridge.control import Answer, Asked, SessionConfig, Sibling
from host_bridge.policy.display import one_line


def as_asked(question: Question, config: SessionConfig, *, problem: str, timeout_seconds: float) -> Asked:
    """Give a question as it is shown to a person, with the other calls of its loop."""
    asked = question.asked
    siblings = tuple(
        Sibling(
            digest=call.digest,
            shown=dict(call.shown),
            targets=targets_of(call.resources),
            waiting=question.waiting(call.digest),
        )
        for call in question.distinct
        if call.digest != asked.digest
    )
    return Asked(
        question_id=question.question_id,
        tool=asked.tool,
        shown=dict(asked.shown),
        targets=targets_of(asked.resources),
        rule_id=asked.rule_id,
        reason=asked.reason,
        remedy=asked.remedy,
        suggested=suggested_rule(asked),
        digest=asked.digest,
        principal=config.principal,
        session_id=config.session_id,
        run_id=config.run_id,
        notebook=config.notebook,
        notebook_digest=config.notebook_digest,
        cell_index=asked.cell_index,
        line=asked.line,
        untrusted=asked.untrusted,
        waiting=question.waiting(asked.digest),
        siblings=siblings,
        problem=problem,
        timeout_seconds=timeout_seconds,
    )


def answered_record(question: Question, answer: Answer) -> QuestionAnswered:
    """Give the record of an answer that counts."""
    pattern = answer.pattern
    expires = ""
    if pattern is not None:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=pattern.seconds)
        expires = end.isoformat(timespec="seconds").replace("+00:00", "Z")
    shown = {call.digest for call in question.distinct}
    return QuestionAnswered(
        question_id=question.question_id,
        answer=answer.answer,
        by=one_line(answer.by, 64),
        tool=question.asked.tool,
        rule_id=question.asked.rule_id,
        arguments_digest=question.asked.digest,
        covers=tuple(digest for digest in answer.covers if digest in shown),
        calls=len(question.calls),
        pattern_rule=pattern.rule if pattern else "",
        pattern_calls=pattern.calls if pattern else 0,
        expires=expires,
    )


def unused_record(answer: Answer, problem: str) -> AnswerUnused:
    """Give the record of an answer that nothing came of."""
    return AnswerUnused(
        question_id=answer.question_id[:256],
        answer=one_line(answer.answer, 64),
        by=one_line(answer.by, 64),
        problem=one_line(problem),
    )
