"""The records, one frozen struct each. The log adds number, time and the chain (`host_bridge.audit.chain`)."""

from __future__ import annotations

from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all records share: immutable, tagged by `type`."""


class SessionOpened(Record, frozen=True, tag="session_opened"):
    """A session began. Written before anything else can be.

    Attributes:
        notebook_digest: Names the notebook's source; empty where none is known.
        declaration: `declared` or `accepted`, the latter where a person said yes to all the notebook declares; empty for none.
        policy_digest: SHA-256 over every source of the policy in force.
    """

    session_id: str
    principal: str
    profile: str
    workspace: str
    notebook: str = ""
    notebook_digest: str = ""
    declaration: str = ""
    run_id: str = ""
    confinement: str = ""
    kernel_limits: str = ""
    policy_digest: str = ""


class KernelStarted(Record, frozen=True, tag="kernel_started"):
    """A kernel with this public key may speak from now on; every earlier one may not."""

    public_key: str


class CallDecided(Record, frozen=True, tag="call_decided"):
    """What was asked and answered, written before the act: without this record nothing is done.

    Attributes:
        arguments: As shown to people and as they run; left out where the log keeps digests only.
        about: What the policy looked at, where the tool's arguments don't say it (`audit.recorded_calls`); left out with them.
        arguments_digest: SHA-256 over tool and arguments.
        effect: `allow` or `deny`: what an `ask` came to.
        answer: A person's answer, or the grant that was used (`run`, `pattern`, `notebook`, `always`), or why there was none
            (`expired`, `cooling`, `nobody`, `full`, `ended`, `unusable`); empty where no rule asked.
        question_id: The question it was the answer to; for `notebook` the grant's id.
    """

    call_id: str
    session_id: str
    principal: str
    tool: str
    effect: str
    rule_id: str = ""
    reason: str = ""
    notebook: str = ""
    run_id: str = ""
    cell_index: int | None = None
    arguments_digest: str = ""
    arguments: dict[str, Any] | None = None
    about: tuple[dict[str, Any], ...] | None = None
    answer: str = ""
    question_id: str = ""


class QuestionAnswered(Record, frozen=True, tag="question_answered"):
    """A person answered, or nobody did in time. Written before anything comes of it.

    Attributes:
        answer: One of `control.ANSWERS`, or `expired`.
        by: Who or what answered: `terminal`, `application`, a name.
        arguments_digest: The call that was asked about.
        covers: Digests of further calls it was for.
        calls: How many calls waited.
        pattern_rule: What a bounded yes to a loop covers, for `pattern_calls` calls until `expires` (RFC 3339, UTC).
    """

    question_id: str
    answer: str
    by: str = ""
    tool: str = ""
    rule_id: str = ""
    arguments_digest: str = ""
    covers: tuple[str, ...] = ()
    calls: int = 1
    pattern_rule: str = ""
    pattern_calls: int = 0
    expires: str = ""


class AnswerUnused(Record, frozen=True, tag="answer_unused"):
    """An answer had no effect: its question is unknown or over, or it can't be meant; `problem` says which."""

    question_id: str
    answer: str
    by: str = ""
    problem: str = ""


class CallSettled(Record, frozen=True, tag="call_settled"):
    """What came of an allowed call. `outcome` is `ok` or the wire's error code."""

    call_id: str
    outcome: str
    duration_seconds: float = 0.0
    result_digest: str = ""
    result_bytes: int = 0


class SessionTainted(Record, frozen=True, tag="session_tainted"):
    """The session is about to be given untrusted content, for the first time; written before it is.

    Attributes:
        source: Where it comes from, for people.
    """

    call_id: str
    tool: str
    source: str


class PeerRefused(Record, frozen=True, tag="peer_refused"):
    """A peer was turned away, or its messages could not be used."""

    code: str
    message: str = ""


class TornWrite(Record, frozen=True, tag="torn_write"):
    """The log was continued behind an incomplete line, the last trace of a process that died while writing.

    Attributes:
        lost_bytes: The line's length.
        lost_digest: SHA-256 over it.
    """

    lost_bytes: int
    lost_digest: str


class LogRotated(Record, frozen=True, tag="log_rotated"):
    """A file's last record: the log goes on in another one, beside it."""

    next_file: str


class LogContinued(Record, frozen=True, tag="log_continued"):
    """A file's first record: the log began in another one, beside it, to whose last record this one is linked."""

    previous_file: str


class SessionClosed(Record, frozen=True, tag="session_closed"):
    """The session's last record. A log that ends otherwise was cut, or its session was killed."""

    reason: str = ""
    calls: int = 0
    denied: int = 0


ENUMERATED_FIELDS = frozenset(
    (
        "type",
        "call_id",
        "session_id",
        "effect",
        "outcome",
        "code",
        "arguments_digest",
        "question_id",
        "notebook_digest",
        "declaration",
        "result_digest",
        "policy_digest",
        "lost_digest",
    )
)
"""Fields that hold no text of anybody's, so nothing in them is ever replaced."""
