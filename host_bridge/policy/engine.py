"""Decides. Pure: no clock, no file, no state; what was canonicalised before is all there is to look at.

Within a layer `deny` beats `ask` beats `allow` beats `ask_unless_allowed` beats silence. Across layers, and across the
resources of one call, the strictest answer wins. So adding a layer never widens, and the order of rules never matters. After
untrusted content, what was allowed to act asks (`host_bridge.policy.brake`).
"""

from __future__ import annotations

import dataclasses
import functools

from host_bridge.policy.brake import BRAKE, acts
from host_bridge.policy.display import one_line
from host_bridge.policy.floor import FLOOR, is_secret
from host_bridge.policy.hazards import depends_on_folder
from host_bridge.policy.layers import Layer, Policy, Role
from host_bridge.policy.matching import is_beyond_wildcards, named_path
from host_bridge.policy.model import (
    AccessRequest,
    CommandResource,
    Decision,
    Effect,
    PathResource,
    Resource,
)
from host_bridge.policy.patterns import parse_rule
from host_bridge.policy.remedies import Refusal, after_untrusted_remedy, describe, remedy, shown_rule
from host_bridge.policy.rules import Clause, Rule, Verdict

DEFAULT = "default"
SECRET = f"{FLOOR}:secret"
"""Denied because no rule names a file exactly that wildcards don't reach. Not the default: whoever may look at a whole folder
may still not look at this."""

_NO_RESOURCE: tuple[Resource | None, ...] = (None,)
_Refused = list[tuple[Layer, Verdict, Resource | None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What one layer said about one resource.

    Attributes:
        layer: Its name.
        effect: None when it left the decision to the others.
        rule_id: The rule's id; `layer:default` where a layer's silence is a denial.
        rule: The rule's text, empty where there was none.
    """

    layer: str
    effect: Effect | None
    rule_id: str = ""
    rule: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Trail:
    """How one resource of a request was decided: every layer's word, the strictest of which counted."""

    resource: Resource | None
    shown: str
    steps: tuple[Step, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its grounds."""

    request: AccessRequest
    decision: Decision
    trails: tuple[Trail, ...]


def decide(policy: Policy, request: AccessRequest) -> Decision:
    """Decide one request. Pure: same arguments, same answer.

    Args:
        policy: The rules in force.
        request: What is asked; its resources are already canonical.

    Returns:
        The strictest of all answers: of every layer, about every resource. `rule_id` is `"default"` if no rule allowed the
        call and none denied it.
    """
    principal, tool = request.principal, request.tool
    authority = policy.authority
    constraints = (*policy.constraints, *request.narrowing) if request.narrowing else policy.constraints
    worst: Verdict | None = None
    culprit: Layer = authority
    at: Resource | None = None
    refused: _Refused = []  # everything that stands between the call and a yes
    for resource in request.resources or _NO_RESOURCE:
        if type(resource) is PathResource:
            objection = policy.floor.objects_to(resource)
            if objection is not None:
                reason = f"{describe(tool, resource)} is never allowed: {objection.reason}"
                return Decision(Effect.DENY, f"{FLOOR}:{objection.name}", reason)
        verdict = _authority_verdict(policy, principal, tool, resource)
        if worst is None or verdict.effect > worst.effect:
            worst, culprit, at = verdict, authority, resource
        if verdict.effect is not Effect.ALLOW:
            refused.append((authority, verdict, resource))
        for layer in constraints:
            constraint = layer.judge(principal, tool, resource)
            if constraint is None or constraint.effect is Effect.ALLOW:
                continue
            refused.append((layer, constraint, resource))
            if constraint.effect > worst.effect:
                worst, culprit, at = constraint, layer, resource
    assert worst is not None  # there is at least one turn of the loop, and authority always answers
    if worst.effect is Effect.ASK and policy.accepted is not None:
        worst = _accepted_verdict(policy, policy.accepted, request) or worst
    if worst.effect is Effect.ALLOW:
        if request.untrusted and policy.brakes_after_untrusted:
            for resource in request.resources or _NO_RESOURCE:
                if is_braked(policy, request, resource):
                    return _braked(policy, request, resource)
        return _allowed(worst)
    return _refused(policy, request, worst, culprit, at, refused)


def explain(policy: Policy, request: AccessRequest) -> Explanation:
    """Decide one request and give every layer's word on it, for `policy explain`."""
    trails = []
    for resource in request.resources or _NO_RESOURCE:
        steps = [_floor_step(policy, resource)]
        verdict = _authority_verdict(policy, request.principal, request.tool, resource)
        steps.append(_step(policy.authority, verdict, resource))
        for layer in (*policy.constraints, *request.narrowing):
            steps.append(_step(layer, layer.judge(request.principal, request.tool, resource), resource))
        if policy.accepted is not None:
            accepted = _verdict_of(policy.accepted, policy, request.principal, request.tool, resource)
            # It can lift an ask, and nothing else: where it doesn't, it leaves the decision to the others.
            lifts = accepted if accepted.effect is Effect.ALLOW else None
            steps.append(_step(policy.accepted, lifts, resource))
        if request.untrusted:
            steps.append(_brake_step(policy, request, resource))
        trails.append(Trail(resource, describe(request.tool, resource), tuple(steps)))
    return Explanation(request, decide(policy, request), tuple(trails))


def is_braked(policy: Policy, request: AccessRequest, resource: Resource | None) -> bool:
    """Whether the brake makes an ask of what the layers allow: the call acts, and no rule that allows it lets it pass."""
    if not request.untrusted or not policy.brakes_after_untrusted or not acts(request.tool, resource):
        return False
    return not policy.authority.allows_after_untrusted(request.principal, request.tool, resource)


def _accepted_verdict(policy: Policy, accepted: Layer, request: AccessRequest) -> Verdict | None:
    """Give the yes that a person's acceptance of the notebook's declaration is; None where it is none to all of the call."""
    verdict: Verdict | None = None
    for resource in request.resources or _NO_RESOURCE:
        verdict = _verdict_of(accepted, policy, request.principal, request.tool, resource)
        if verdict.effect is not Effect.ALLOW:
            return None
    return verdict


def _authority_verdict(policy: Policy, principal: str, tool: str, resource: Resource | None) -> Verdict:
    return _verdict_of(policy.authority, policy, principal, tool, resource)


def _verdict_of(layer: Layer, policy: Policy, principal: str, tool: str, resource: Resource | None) -> Verdict:
    verdict = layer.judge(principal, tool, resource) or Verdict(Effect.DENY)
    if type(resource) is CommandResource and _runs_elsewhere(policy, resource) and resource.argv is not None:
        # What a command does depends on where it runs, so elsewhere only a rule for every call allows it.
        unread = CommandResource(None, resource.text, resource.folder)
        elsewhere = layer.judge(principal, tool, unread) or Verdict(Effect.DENY)
        return max(verdict, elsewhere, key=lambda answer: answer.effect)
    return verdict


def _runs_elsewhere(policy: Policy, resource: CommandResource) -> bool:
    """Whether a command runs where a rule's words were not written for.

    That is outside the workspace, or, for a command that takes settings from its folder, in any folder but the workspace
    itself: below it, a session can make such settings.
    """
    workspace = policy.workspace
    if not workspace or resource.folder == workspace:
        return False
    if resource.argv is not None and depends_on_folder(resource.argv):
        return True
    return not resource.folder.startswith(f"{workspace.rstrip('/')}/")


# sentences -------------------------------------------------------------------------------------------------------------


def _allowed(verdict: Verdict) -> Decision:
    rule = verdict.rule
    return Decision(Effect.ALLOW) if rule is None else _allowed_by(rule.id, rule.text)


@functools.lru_cache(maxsize=1024)  # of a policy's rules, never of what a kernel sent
def _allowed_by(rule_id: str, text: str) -> Decision:
    return Decision(Effect.ALLOW, rule_id, f"allowed by {shown_rule(text)}")


def _braked(policy: Policy, request: AccessRequest, at: Resource | None) -> Decision:
    reason = (
        f"{describe(request.tool, at)} is allowed, but this session has received untrusted content "
        f"({one_line(request.untrusted)}), so it needs a person's yes"
    )
    braked = [resource for resource in request.resources or _NO_RESOURCE if is_braked(policy, request, resource)]
    agent = request.principal if policy.authority.has_section(request.principal) else ""
    return Decision(Effect.ASK, BRAKE, reason, after_untrusted_remedy(request.tool, braked, agent))


def _refused(
    policy: Policy, request: AccessRequest, worst: Verdict, culprit: Layer, at: Resource | None, refused: _Refused
) -> Decision:
    rule = worst.rule
    what = describe(request.tool, at)
    line = remedy([_refusal(policy, *refusal) for refusal in refused], request)
    if rule is None:
        return Decision(Effect.DENY, _silent_id(culprit, at), _silence(policy, what, culprit, at), line)
    if rule.clause is Clause.DENY:
        reason = f"{what} is denied by the rule {shown_rule(rule.text)} ({rule.layer}){_in_doubt(rule, at)}"
    elif rule.clause is Clause.ASK:
        reason = f"{what} needs a person's yes by the rule {shown_rule(rule.text)} ({rule.layer}){_in_doubt(rule, at)}"
    else:
        reason = f"{what} needs a person's yes unless a rule allows it"
    return Decision(worst.effect, rule.id, reason, line)


def _in_doubt(rule: Rule, at: Resource | None) -> str:
    """Say why a rule objects to a line in which nobody sees its words."""
    if not isinstance(at, CommandResource) or at.argv is not None or parse_rule(rule.text).pattern is None:
        return ""
    return ": it can't be split into plain commands with certainty, so it may contain that"


def _refusal(policy: Policy, layer: Layer, verdict: Verdict, resource: Resource | None) -> Refusal:
    is_elsewhere = (
        layer is policy.authority and isinstance(resource, CommandResource) and _runs_elsewhere(policy, resource)
    )
    return Refusal(layer, resource, verdict.rule is None, is_elsewhere)


def _silent_id(layer: Layer, resource: Resource | None) -> str:
    if layer.role is not Role.NARROWING and isinstance(resource, PathResource) and is_beyond_wildcards(resource):
        return SECRET
    return DEFAULT if layer.role is Role.AUTHORITY else f"{layer.name}:{DEFAULT}"


def _silence(policy: Policy, what: str, culprit: Layer, at: Resource | None) -> str:
    if culprit.role is Role.DECLARATION:
        return f"{what} is not among the permissions that the notebook declares in metadata.hermes.permissions"
    if culprit.role is Role.NARROWING:
        return f"{what} is not among what the cell narrowed itself to ({_narrowed_to(culprit)})"
    if culprit.role is Role.CONSTRAINT:
        return f"{what} is not among what the {culprit.name} policy allows"
    if isinstance(at, CommandResource):
        if at.argv is None:
            return (
                "this command line can't be split into plain commands with certainty (expansions, redirections, wildcards, "
                "background jobs), so no rule about a command allows it; write it as plain commands, or do that part in "
                "Python; only the rule terminal, which allows every command line, would allow it as it is"
            )
        if _runs_elsewhere(policy, at):
            return (
                f"{what} would not run in the workspace itself, and what it does depends on the folder, so only the rule "
                "terminal allows it there; leave out workdir"
            )
    if isinstance(at, PathResource) and is_beyond_wildcards(at):
        why = "by its name it may hold secrets" if is_secret(named_path(at)) else "its name has invisible characters"
        return f"{what}: {why}, so only a rule that names it exactly allows it"
    return f"no rule allows {what}"


def _narrowed_to(layer: Layer) -> str:
    return one_line(", ".join(rule.text for rule in layer.rules)) or "nothing"


# steps -----------------------------------------------------------------------------------------------------------------


def _floor_step(policy: Policy, resource: Resource | None) -> Step:
    objection = policy.floor.objects_to(resource) if isinstance(resource, PathResource) else None
    if objection is None:
        return Step(FLOOR, None)
    return Step(FLOOR, Effect.DENY, f"{FLOOR}:{objection.name}", objection.reason)


def _brake_step(policy: Policy, request: AccessRequest, resource: Resource | None) -> Step:
    return Step("taint", Effect.ASK, BRAKE) if is_braked(policy, request, resource) else Step("taint", None)


def _step(layer: Layer, verdict: Verdict | None, resource: Resource | None) -> Step:
    if verdict is None:
        return Step(layer.name, None)
    rule: Rule | None = verdict.rule
    if rule is None:
        return Step(layer.name, verdict.effect, _silent_id(layer, resource))
    return Step(rule.layer, verdict.effect, rule.id, rule.text)
