"""What answers leave behind, and what they cover: grants, a notebook's file, a policy's rule, and noes that cool down."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from host_bridge.approvals.calls import AskedCall
from host_bridge.approvals.cooling import Cooling
from host_bridge.approvals.grants import Grants, Permission
from host_bridge.approvals.patterns import LoopPattern
from host_bridge.approvals.questions import Question
from host_bridge.approvals.store import NotebookGrant, NotebookGrants
from host_bridge.audit.redaction import REPLACEMENT
from host_bridge.control import ANSWERS, Answer, SessionConfig
from host_bridge.policy.display import one_line
from host_bridge.policy.patterns import PatternError

YES = frozenset({"once", "run", "notebook", "always"})


class RuleBook(Protocol):
    """Where `always` writes its rules."""

    def problem(self, calls: tuple[AskedCall, ...]) -> str:
        """Say why no rule can be written that would allow these calls from now on; empty where one can."""

    def add(self, calls: tuple[AskedCall, ...]) -> None:
        """Write the rules.

        Raises:
            HostBridgeError: They can't be written, and nothing was.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """What an answer means for the calls of its question.

    Attributes:
        allowed: Those it covers, by their ids.
        denied: Those it is a no to.
        left: Those it says nothing about: they are asked about again.
    """

    allowed: dict[str, Permission]
    denied: tuple[AskedCall, ...]
    left: tuple[AskedCall, ...]


class Ledger:
    """One session's answers.

    Args:
        config: The session's.
        rules: For `always`; None where it can't be answered.
        now: A clock that never goes backwards.
    """

    def __init__(
        self, config: SessionConfig, rules: RuleBook | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._rules = rules
        self._grants = Grants(now)
        self.cooling = Cooling(now)
        # Without a source there is nothing that could change, so nothing to bind a yes to.
        keeps = config.notebook_digest and config.grants_path
        self._store = NotebookGrants(Path(config.grants_path), _warn) if keeps else None

    def permission(self, call: AskedCall) -> Permission | None:
        """Use a yes that covers a call; None where a person must be asked."""
        taken = self._grants.take(call)
        if taken is not None or self._store is None:
            return taken
        found = self._store.find(self._notebook_grant(call))
        if found is None:
            return None
        return Permission("notebook", found.id, f"a person allowed this notebook the call, {found.granted}")

    def problem(self, question: Question, answer: Answer) -> str:
        """Say why an answer can't be used as it is; empty where it can."""
        if answer.pattern is not None:
            if answer.answer != "run":
                return f"a pattern goes with the answer run, not with {one_line(answer.answer)}"
            if answer.covers:
                return "a pattern says by itself what it covers; leave out the list"
            try:
                LoopPattern(answer.pattern, question.asked)
            except PatternError as error:
                return str(error)
        if question.asked.is_unseen and answer.answer in ("run", "notebook") and answer.pattern is None:
            return "what it would write is sent after the answer, so a yes can be for this once, or for a pattern"
        if answer.answer == "notebook" and self._store is None:
            return "the notebook's source is not known here, so nothing can be kept for it"
        if answer.answer == "always":
            if self._rules is None:
                return "there is no policy file here to write a rule into"
            return self._rules.problem(_covered(question, answer))
        return ""

    def settle(self, question: Question, answer: Answer) -> Settlement:
        """Do what an answer says that has no `problem`.

        Raises:
            HostBridgeError: What it should leave behind can't be written; it has had no effect.
        """
        if answer.answer not in YES & ANSWERS:
            self.cooling.denied(question.distinct)
            return Settlement({}, tuple(question.calls.values()), ())
        if answer.pattern is not None:
            return self._settle_pattern(question, LoopPattern(answer.pattern, question.asked))
        covered = _covered(question, answer)
        self._keep(covered, answer, question.question_id)
        for call in covered:
            self.cooling.allowed(call)
        digests = {call.digest for call in covered}
        permission = Permission(
            answer.answer, question.question_id, f"a person allowed it: {answer.answer}, {one_line(answer.by, 64)}"
        )
        allowed = {call.call_id: permission for call in question.calls.values() if call.digest in digests}
        left = tuple(call for call in question.calls.values() if call.digest not in digests)
        return Settlement(allowed, (), left)

    def _settle_pattern(self, question: Question, pattern: LoopPattern) -> Settlement:
        self._grants.remember_pattern(pattern, question.question_id)
        self.cooling.allowed(question.asked)
        allowed, left = {}, []
        for call in question.calls.values():
            permission = self._grants.take(call)
            if permission is None:
                left.append(call)
            else:
                allowed[call.call_id] = permission
        return Settlement(allowed, (), tuple(left))

    def _keep(self, covered: tuple[AskedCall, ...], answer: Answer, question_id: str) -> None:
        if answer.answer == "notebook":
            assert self._store is not None
            self._store.add_all(self._notebook_grant(call, answer.by) for call in covered)
        elif answer.answer == "always":
            assert self._rules is not None
            self._rules.add(covered)
        if answer.answer in ("run", "always"):
            for call in covered:
                self._grants.remember(call, answer.answer, question_id)

    def _notebook_grant(self, call: AskedCall, by: str = "") -> NotebookGrant:
        config = self._config
        return NotebookGrant(
            notebook_digest=config.notebook_digest,
            principal=config.principal,
            workspace=config.workspace,
            tool=call.tool,
            call_digest=call.digest,
            rule_id=call.rule_id,
            untrusted=bool(call.untrusted),
            notebook=config.notebook,
            summary=self._summary(call) if by else "",
            by=one_line(by, 64),
        )

    def _summary(self, call: AskedCall) -> str:
        text = json.dumps(dict(call.shown), ensure_ascii=False, default=repr)
        for secret in sorted(filter(None, self._config.secrets), key=len, reverse=True):
            # As it stands in JSON: what is written down may not hold a secret in any spelling of ours.
            text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], REPLACEMENT)
        return one_line(text)


def _covered(question: Question, answer: Answer) -> tuple[AskedCall, ...]:
    """Give the calls a yes is for, one for each that differs: the one asked about first, even if it waits no longer."""
    others = {call.digest: call for call in question.distinct if call.digest in answer.covers}
    others.pop(question.asked.digest, None)
    return (question.asked, *others.values())


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # the session's log, which the host keeps
