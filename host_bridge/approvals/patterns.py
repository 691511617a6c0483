"""The bounded yes to a loop: a rule as a policy has them, so many calls, so long.

It is never wider than what was asked about suggests: it names the asked call's tool, it has a pattern wherever the call has
something to compare one with, it matches the call that was asked about as narrowly as an `allow` rule does, and commands run in
the same folder and get no secret that the asked call had not.
"""

from __future__ import annotations

import math

from host_bridge.approvals.calls import AskedCall
from host_bridge.control import Pattern
from host_bridge.policy.layers import Layer, Role
from host_bridge.policy.model import CommandResource, Effect, Resource, UrlResource
from host_bridge.policy.patterns import PatternError, parse_rule
from host_bridge.policy.remedies import rule_for, shown_rule
from host_bridge.policy.rules import Clause, Rule

MAX_CALLS = 1000  # more than that is a rule's business: answer `always`, or write one
MAX_SECONDS = 24 * 3600.0

_LAYER = "answer"


class LoopPattern:
    """Which calls a yes covers, whatever their number. Immutable.

    Args:
        bounds: What the person said.
        asked: The call that was asked about.

    Raises:
        PatternError: It is no rule, or wider than the question; the text says what to write instead.
    """

    def __init__(self, bounds: Pattern, asked: AskedCall) -> None:
        if not 1 <= bounds.calls <= MAX_CALLS:
            raise PatternError(f"a pattern is for 1 to {MAX_CALLS} calls, not for {bounds.calls}")
        if not (math.isfinite(bounds.seconds) and 0 < bounds.seconds <= MAX_SECONDS):
            raise PatternError(f"a pattern holds for up to {MAX_SECONDS:g} seconds, not for {bounds.seconds:g}")
        parsed = parse_rule(bounds.rule)
        if parsed.tool != asked.tool:
            raise PatternError(f"the pattern is about {parsed.tool}, the question about {asked.tool}")
        if parsed.pattern is None and asked.resources:
            raise PatternError(f"{shown_rule(bounds.rule)} bounds nothing; write a pattern: {asked.tool}(…)")
        self.bounds = bounds
        self.rule_id = asked.rule_id
        self._was_untrusted = bool(asked.untrusted)
        self._secrets = frozenset(asked.secrets)
        self._folders = _folders(asked.resources)
        self._layer = Layer(_LAYER, Role.NARROWING, [Rule(bounds.rule, Clause.ALLOW, _LAYER, "pattern")])
        if not self.covers(asked):
            raise PatternError(f"{shown_rule(bounds.rule)} does not match the call that was asked about")

    def covers(self, call: AskedCall) -> bool:
        """Whether a call is one of those meant: asked about by the same rule, and all it touches matches."""
        if call.rule_id != self.rule_id or (call.untrusted and not self._was_untrusted):
            return False
        if not (_folders(call.resources) <= self._folders and self._secrets.issuperset(call.secrets)):
            return False
        for resource in call.resources or (None,):
            verdict = self._layer.judge(call.principal, call.tool, resource)
            if verdict is None or verdict.effect is not Effect.ALLOW:
                return False
        return True


def suggested_rule(asked: AskedCall) -> str:
    """Give the rule to propose as a pattern for a loop of such calls; empty where no single one would do.

    A loop's next call has other arguments. So where the rule for this call is for nothing else, what is proposed is the rule
    that asks: a person wrote it about such calls, and it will ask about the next one too.
    """
    rules = {rule_for(asked.tool, resource) for resource in asked.resources or (None,)}
    exact = rules.pop() if len(rules) == 1 else ""
    for rule in (asked.rule, exact) if _is_for_one(exact, asked) else (exact, asked.rule):
        try:
            LoopPattern(Pattern(rule=rule, calls=1, seconds=1), asked)
        except PatternError:
            continue
        return rule
    return ""


def _is_for_one(rule: str, asked: AskedCall) -> bool:
    """Whether a rule made for a call is for calls like it only: one for a page is for its whole host."""
    return not rule.endswith(" *)") and not any(isinstance(resource, UrlResource) for resource in asked.resources)


def _folders(resources: tuple[Resource, ...]) -> frozenset[str]:
    return frozenset(resource.folder for resource in resources if isinstance(resource, CommandResource))
