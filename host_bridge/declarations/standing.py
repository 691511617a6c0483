"""What of a declaration the policy in force would allow, ask about or deny: each rule tried with a call it stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from host_bridge.declarations.inclusion import is_allowed_by
from host_bridge.errors import InvalidCallError
from host_bridge.policy.engine import explain
from host_bridge.policy.layers import SAME_CONTENT, Policy
from host_bridge.policy.loading import read_declaration
from host_bridge.policy.methods import LOOKING, METHOD_TOOLS, METHODS
from host_bridge.policy.model import Access, AccessRequest, CommandResource, Effect, Resource, TextResource
from host_bridge.policy.origins import parse_url
from host_bridge.policy.patterns import EVERY_TOOL, Kind, ParsedRule, PatternError, parse_path, parse_rule
from host_bridge.policy.rules import Clause, Rule
from host_bridge.policy.subjects import path_resource
from host_bridge.policy.urls import parse_url_pattern
from host_bridge.policy.words import parse_command

_WRITING = frozenset(("write_file", "patch"))
_ANYTHING = "x"  # what stands for a wildcard


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How one declared rule stands before the policy.

    Attributes:
        rule: The rule.
        clause: The list it is declared in.
        effect: What the policy without the declaration says to a call it stands for: `allow`, `ask` or `deny`.
        by: The layer and rule that said so.
        wholly: Whether that is proven for every call the rule stands for.
    """

    rule: str
    clause: str
    effect: str
    by: str
    wholly: bool


def standings(policy: Policy, permissions: Mapping[str, Any]) -> tuple[Standing, ...]:
    """Say how each declared rule that allows or asks stands.

    Args:
        policy: Loaded without the declaration.
        permissions: `metadata.hermes.permissions`.

    Raises:
        PolicyError: The declaration can't be meant.
    """
    _, rules = read_declaration(permissions)
    return tuple(_standing(policy, rule) for rule in rules if rule.clause in (Clause.ALLOW, Clause.ASK))


def _standing(policy: Policy, rule: Rule) -> Standing:
    parsed = parse_rule(rule.text)
    resources, is_exact = _example(parsed, policy.workspace)
    explanation = explain(policy, AccessRequest(policy.principal, parsed.tool, resources))
    decision = explanation.decision
    steps = [step for trail in explanation.trails for step in trail.steps if step.effect is decision.effect]
    deciding = steps[-1] if steps else None
    by = f"{deciding.layer}: {deciding.rule}" if deciding and deciding.rule else decision.rule_id
    wholly = is_exact or (
        decision.effect is Effect.ALLOW
        and not _takes_away(policy, parsed.tool)
        and deciding is not None
        and _is_covered(rule.text, deciding.rule)
    )
    return Standing(rule.text, rule.clause.value, decision.effect.name.lower(), by, wholly)


def _is_covered(rule: str, wider: str) -> bool:
    try:
        return is_allowed_by(rule, wider)
    except PatternError:
        return False


def _takes_away(policy: Policy, tool: str) -> bool:
    """Whether any rule may make an exception for some calls of a tool, as far as its rules' tools tell."""
    meant = {tool, EVERY_TOOL, SAME_CONTENT.get(tool, tool)}
    others: Iterable[Rule] = (rule for layer in policy.layers for rule in layer.rules)
    return bool(policy.constraints) or any(
        rule.clause in (Clause.DENY, Clause.ASK) and parse_rule(rule.text).tool in meant for rule in others
    )


def _example(rule: ParsedRule, workspace: str) -> tuple[tuple[Resource, ...], bool]:
    """Give what a call the rule stands for is about, and whether the rule stands for nothing else."""
    if rule.pattern is None or not rule.kinds:
        return (), False  # only rules for every call allow a call about nothing, which is what this rule is
    match rule.kinds[0]:
        case Kind.PATH:
            path = parse_path(rule.pattern)
            names = ("".join(_ANYTHING if piece is None else piece for piece in name) for name in path.names)
            access = Access.WRITE if rule.tool in _WRITING else Access.READ
            text = ("/" if path.is_absolute else "") + "/".join(names)
            return (path_resource(text or ".", access, workspace or "/workspace"),), path.literal is not None
        case Kind.COMMAND:
            command = parse_command(rule.pattern)
            argv = tuple(
                word.literal if word.literal is not None else _matching(word.is_matched_by) for word in command.words
            )
            return (CommandResource(argv, " ".join(argv), workspace),), command.is_literal
        case Kind.URL:
            return _place(rule.tool, rule.pattern)
        case _:
            return (TextResource(rule.pattern.replace("*", _ANYTHING)),), "*" not in rule.pattern


def _matching(matches: Any) -> str:
    candidates = (_ANYTHING, "1", "x.py", "-x", "--x", "src/x", "x/x")
    return next((text for text in candidates if matches(text)), _ANYTHING)


def _place(tool: str, pattern: str) -> tuple[tuple[Resource, ...], bool]:
    parsed = parse_url_pattern(pattern)
    # The one that is hardest to be allowed stands for all of them: the last of those that a rule may name.
    method = max(parsed.methods or LOOKING, key=METHODS.index) if tool in METHOD_TOOLS or parsed.methods else ""
    host = parsed.host.replace("*", f"{_ANYTHING}.example" if parsed.host == "*" else _ANYTHING)
    port = f":{parsed.port}" if parsed.port else ""
    rest = pattern.partition("://")[2]
    path = rest[rest.find("/") :].replace("*", _ANYTHING) if "/" in rest else "/"
    shown = f"[{host}]" if ":" in host else host
    try:
        url = parse_url(f"{parsed.scheme or 'https'}://{shown}{port}{path}")
        return (dataclasses.replace(url, method=method),), False
    except InvalidCallError:
        return (), False
