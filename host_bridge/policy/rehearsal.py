"""Tries a policy on calls that were made before: which of them would be answered differently?

Pure: calls come from whatever kept them (an audit log, a tape), as what the policy looked at then. A call whose record says too
little is counted and named, never guessed at; so is one that was decided by something that no policy file says.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable

from host_bridge.policy.display import one_line
from host_bridge.policy.engine import decide
from host_bridge.policy.layers import Policy
from host_bridge.policy.methods import shown_method
from host_bridge.policy.model import (
    AccessRequest,
    CommandResource,
    Effect,
    PathResource,
    Resource,
    TextResource,
    UrlResource,
)
from host_bridge.policy.origins import bracketed

_OF_POLICY_FILES = ("profile ", "user:", "system:", "project:", "floor:", "taint:", "accepted:")
_DEFAULT = "default"
_ASKING = re.compile(r"\.ask(?:_unless_allowed)?\[|^(?:taint|accepted):")
"""Rules whose answer was a question, whatever a person made of it."""
_OF_ITS_RUN = "decided by what was given for that run, the notebook's declaration or a cell's narrowing"
_OF_NO_POLICY = "refused or allowed before any policy looked at it"


@dataclasses.dataclass(frozen=True, slots=True)
class PastCall:
    """One call, as it was decided.

    Attributes:
        effect: `allow` or `deny`: what it came to.
        rule_id: What decided.
        answer: A person's answer, or why there was none; empty where no rule asked.
        untrusted: Where the session's untrusted content had come from by then.
        problem: Why its resources can't be told exactly; empty where they can.
        profile: The session's.
        workspace: The session's.
        place: Where it is recorded, for people.
    """

    principal: str
    tool: str
    resources: tuple[Resource, ...] = ()
    effect: str = "allow"
    rule_id: str = ""
    answer: str = ""
    untrusted: str = ""
    problem: str = ""
    profile: str = ""
    workspace: str = ""
    place: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """Calls alike that would get another answer.

    Attributes:
        subject: What they were about.
        before: `allow`, `ask` or `deny`.
        after: The same, by the policy that was tried.
        rule_before: What decided.
        rule_after: What would decide.
        reason: Why.
        calls: How many.
        place: Where the first is recorded.
    """

    tool: str
    subject: str
    before: str
    after: str
    rule_before: str
    rule_after: str
    reason: str
    calls: int
    place: str

    @property
    def widens(self) -> bool:
        """Whether the new answer lets more through."""
        return Effect[self.after.upper()] < Effect[self.before.upper()]


@dataclasses.dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it.

    Attributes:
        calls: How many calls were tried.
        changes: Those that would be answered differently; what lets more through first.
        left_out: How many were not tried, by the reason.
    """

    calls: int
    changes: tuple[Change, ...]
    left_out: dict[str, int]


def rehearse(calls: Iterable[PastCall], policy_for: Callable[[PastCall], Policy]) -> Rehearsal:
    """Decide past calls again.

    Args:
        calls: The calls.
        policy_for: Gives the policy to try on a call: that of a session in its workspace.
    """
    tried = 0
    left_out: collections.Counter[str] = collections.Counter()
    found: dict[tuple[str, ...], Change] = {}
    for call in calls:
        if reason := _not_to_try(call):
            left_out[reason] += 1
            continue
        tried += 1
        request = AccessRequest(call.principal, call.tool, call.resources, call.untrusted)
        decision = decide(policy_for(call), request)
        before, after = _before(call), decision.effect.name.lower()
        if before == after:
            continue
        subject = ", ".join(dict.fromkeys(map(subject_text, call.resources)))
        key = (call.tool, subject, before, after, call.rule_id, decision.rule_id)
        known = found.get(key)
        if known is None:
            found[key] = Change(*key, reason=decision.reason, calls=1, place=call.place)
        else:
            found[key] = dataclasses.replace(known, calls=known.calls + 1)
    changes = sorted(found.values(), key=lambda change: (not change.widens, -change.calls, change.tool, change.subject))
    return Rehearsal(tried, tuple(changes), dict(left_out))


def subject_text(resource: Resource) -> str:
    """Name what a call was about, for whoever looks after the host."""
    match resource:
        case PathResource():
            return one_line(resource.path if resource.relative is None else f"./{resource.relative}")
        case CommandResource():
            return one_line(resource.text)
        case UrlResource():
            return one_line(
                f"{shown_method(resource)}{resource.scheme}://{bracketed(resource.host)}:{resource.port}{resource.path}"
            )
        case TextResource():
            return one_line(resource.text)


def _not_to_try(call: PastCall) -> str:
    """Say why a call can't be compared; empty if it can."""
    rule_id = call.rule_id
    if rule_id.startswith(("run:", "notebook:", "narrow:")):
        return _OF_ITS_RUN
    if rule_id not in ("", _DEFAULT) and not rule_id.startswith(_OF_POLICY_FILES):
        return _OF_NO_POLICY
    return call.problem


def _before(call: PastCall) -> str:
    """What the rules answered then; what a person made of an ask is not theirs."""
    return "ask" if call.answer or _ASKING.search(call.rule_id) else call.effect
