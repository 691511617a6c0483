"""A question to a person, as it goes to the host application, and the answer that comes back."""

from __future__ import annotations

from typing import Any

import msgspec

from host_bridge.control.message import ControlMessage

ANSWERS = frozenset({"once", "run", "notebook", "always", "no", "stop"})
"""All a person can say to a question; `Answer` tells what each means."""


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a yes to a loop covers: calls that match a rule, up to a number of them, for a time.

    Attributes:
        rule: As a policy's rules are written: `terminal(git push origin *)`. It must match the call that was asked about.
        calls: How many calls, the one asked about included.
        seconds: For how long from the answer on.
    """

    rule: str
    calls: int
    seconds: float


class Answer(ControlMessage, frozen=True, kw_only=True, tag="answer"):
    """A person's answer to `Asked`. Whatever is none of `ANSWERS` is a no.

    `once`      this call, and those equal to it that waited when it was shown (`Asked.waiting`)
    `run`       this very call until the session ends; with `pattern`, the calls that it bounds, and no others
    `notebook`  this very call whenever this notebook makes it, until the notebook's source changes
    `always`    a rule for it in the user's policy file, from the next session on, and this very call until this one ends
    `no`        not this call, nor those that wait with it
    `stop`      no, and the run stops

    Attributes:
        question_id: The question's; a prompter may leave it empty.
        covers: Digests of `Asked.siblings` that a yes is for too, other than the calls equal to the one asked about.
        pattern: Only with `run`.
        by: Who or what answered, for the audit log: `terminal`, `application`, `inbox`, a name.
    """

    question_id: str = ""
    answer: str
    covers: tuple[str, ...] = ()
    pattern: Pattern | None = None
    by: str = ""


class Sibling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another call of the same loop that waits on the same question, with other arguments.

    Attributes:
        digest: Names the normalised call; `Answer.covers` has those that a yes is for too.
        shown: Its normalised arguments.
        targets: What it would touch, as text.
        waiting: How many calls wait that are equal to it.
    """

    digest: str
    shown: dict[str, Any]
    targets: tuple[str, ...] = ()
    waiting: int = 1


class Asked(ControlMessage, frozen=True, kw_only=True, tag="asked"):
    """A call waits for a person. Answer with `Answer`; no answer within `timeout_seconds` is a no.

    What was shown is what runs: a question never changes. Calls of the same loop that come later wait for its answer, and what
    that doesn't cover is asked about in a question of its own.

    Attributes:
        shown: The normalised arguments, in full. Hostile text: escape it (`policy.display`).
        targets: The canonical resources as text: paths, commands, places on the network. Hostile text too.
        rule_id: The rule that asks.
        remedy: The rule that would allow the call without asking; empty where no single one would do.
        suggested: The rule to propose as a pattern for a loop of such calls; empty where no single one would do.
        digest: Names the normalised call.
        waiting: How many calls equal to this one wait, itself included.
        siblings: The further calls of its loop that wait.
        problem: Why the answer that was given before could not be used; show it, the question is asked again.
        notebook: Absolute path, empty where none is known.
        notebook_digest: Of its source. Empty where it isn't known, and then `notebook` can't be answered.
        line: The line within the cell by the kernel's word, from 1; 0 when unknown.
        source_line: That line, escaped; filled by the executor, which has the notebook.
        untrusted: Where content that nobody vouches for came from, if the session has read any.
    """

    question_id: str
    tool: str
    shown: dict[str, Any]
    targets: tuple[str, ...] = ()
    rule_id: str
    reason: str
    remedy: str = ""
    suggested: str = ""
    digest: str = ""
    principal: str
    session_id: str = ""
    run_id: str = ""
    notebook: str = ""
    notebook_digest: str = ""
    cell_index: int | None = None
    line: int = 0
    source_line: str = ""
    untrusted: str = ""
    waiting: int = 1
    siblings: tuple[Sibling, ...] = ()
    problem: str = ""
    timeout_seconds: float = 300.0


class QuestionOver(ControlMessage, frozen=True, tag="question_over"):
    """Nobody waits for the answer to a question any more: its call was cancelled, or its time is up."""

    question_id: str
    reason: str = ""
