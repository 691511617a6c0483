"""The answer `always`: the narrowest sensible rule, in the user's policy file, for the agent that asked and no other.

It is looked at before anything is written whether the rule would do what the person wants. Where it would not (a rule that asks
on purpose is stronger than one that allows; after untrusted content a mark is needed that no answer sets), nothing is written,
nothing is allowed, and the person is told by being asked again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from host_bridge.approvals.calls import AskedCall
from host_bridge.control import SessionConfig
from host_bridge.errors import PolicyError
from host_bridge.policy.engine import decide
from host_bridge.policy.layers import Policy
from host_bridge.policy.model import AccessRequest, Effect, Resource
from host_bridge.policy.remedies import rule_for, shown_rule
from host_bridge.policy.rules import Clause


class PolicyRules:
    """Writes the rules of one session's user.

    Args:
        config: The session's.
        load: Gives the policy that would be in force with a further TOML text.
        known_tools: What a rule may be about.
    """

    def __init__(self, config: SessionConfig, load: Callable[[str], Policy], known_tools: Collection[str]) -> None:
        self._path = config.user_policy_path
        self._principal = config.principal
        self._load = load
        self._known_tools = known_tools

    def problem(self, calls: tuple[AskedCall, ...]) -> str:
        """See `RuleBook`."""
        try:
            rules = self._missing(calls)
        except PolicyError as error:
            return str(error)
        if "" in rules:
            return "no rule can be recommended that would allow exactly this"
        if len(rules) > 1:
            # One rule is written whole or not at all; of several, the first could stay behind alone.
            return f"it would take several rules: {', '.join(map(shown_rule, sorted(rules)))}; write them yourself"
        (rule,) = rules
        try:
            policy = self._load(f"[agents.{json.dumps(self._principal)}.rules]\nallow = [{json.dumps(rule)}]\n")
        except PolicyError as error:
            return str(error)
        for call in calls:
            decision = decide(
                policy, AccessRequest(call.principal, call.tool, call.resources, untrusted=call.untrusted)
            )
            if decision.effect is not Effect.ALLOW:
                return (
                    f"with the rule {shown_rule(rule)} it would still be asked: {decision.reason}; change that instead"
                )
        return ""

    def add(self, calls: tuple[AskedCall, ...]) -> None:
        """See `RuleBook`."""
        # It brings a parser that few sessions need.
        from host_bridge.policy.editing import add_rule

        (rule,) = self._missing(calls)
        add_rule(self._path, Clause.ALLOW, rule, principal=self._principal, known_tools=self._known_tools)

    def _missing(self, calls: tuple[AskedCall, ...]) -> set[str]:
        """Give the rules for all that the calls are about, but for what is allowed already, such as the file that is saved.

        Raises:
            PolicyError: The policy doesn't load any more.
        """
        policy = self._load("")
        parts = [(call, resource) for call in calls for resource in call.resources or (None,)]
        asked = [(call, resource) for call, resource in parts if not _is_allowed(policy, call, resource)]
        return {rule_for(call.tool, resource) for call, resource in asked or parts}


def _is_allowed(policy: Policy, call: AskedCall, resource: Resource | None) -> bool:
    resources = () if resource is None else (resource,)
    request = AccessRequest(call.principal, call.tool, resources, untrusted=call.untrusted)
    return decide(policy, request).effect is Effect.ALLOW
