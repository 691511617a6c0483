"""Says in plain text what a declaration allows and what a difference of two is. Text of others is made harmless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from host_bridge.declarations.difference import AuthorityDifference, BudgetChange, Gain, Gained
from host_bridge.policy.display import escaped, one_line
from host_bridge.policy.loading import read_declaration
from host_bridge.policy.methods import LOOKING, METHOD_TOOLS, METHODS, split_methods
from host_bridge.policy.patterns import Kind, ParsedRule, parse_rule
from host_bridge.policy.remedies import shown_rule

_VERBS = {
    "terminal": "run",
    "process": "look after commands it started",
    "read_file": "read",
    "write_file": "write",
    "patch": "change",
    "list_files": "list",
    "search_files": "search",
    "web_extract": "fetch pages of",
    "web_search": "search the web for",
    "http_request": "make HTTP requests to",
}
_EVERYTHING = {
    "terminal": "any command line at all, also ones nobody can take apart",
    "read_file": "any file, also those that may hold secrets",
    "web_extract": "any public place",
    "web_search": "anything",
    "http_request": "any public place, with any method and body",
}


def rule_sentence(rule: str) -> str:
    """Say what calls a rule is about, as the end of "the notebook may …"."""
    parsed = parse_rule(rule)
    verb = _VERBS.get(parsed.tool)
    if verb is None:
        return f"call {one_line(parsed.tool)}" + (
            "" if parsed.pattern is None else f" about {shown_rule(parsed.pattern)}"
        )
    if parsed.pattern is None:
        return verb if parsed.tool == "process" else f"{verb} {_EVERYTHING.get(parsed.tool, 'anything')}"
    return f"{verb} {_pattern(parsed)}"


def _pattern(rule: ParsedRule) -> str:
    pattern, kinds = rule.pattern or "", rule.kinds
    shown = shown_rule(pattern)
    if Kind.PATH in kinds and pattern.endswith("/**"):
        return f"{shown_rule(pattern.removesuffix('/**')) or '/'} and all beneath it"
    if Kind.URL in kinds:
        named, place = split_methods(pattern)
        methods = sorted(named or (LOOKING if rule.tool in METHOD_TOOLS else ()), key=METHODS.index)
        shown = shown_rule(place.removeprefix("domain:").removeprefix("url:"))
        return f"{shown} ({', '.join(methods)})" if methods else shown
    return f"`{shown}`" if Kind.COMMAND in kinds else shown


def declaration_sentences(permissions: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Say what a notebook declares, a line each.

    Raises:
        PolicyError: It can't be meant.
    """
    if permissions is None:
        return ("It declares nothing, so it may do whatever the policy allows.",)
    declaration, _ = read_declaration(permissions)
    lines = [f"It may {rule_sentence(rule)}." for rule in declaration.allow]
    lines += [f"It may {rule_sentence(rule)}, when a person says yes." for rule in declaration.ask]
    lines += [f"It may never {rule_sentence(rule)}." for rule in declaration.deny]
    lines += [
        f"It may use up to {_number(limit)} {name.replace('_', ' ')}." for name, limit in declaration.budgets.items()
    ]
    return (*lines, "Everything else is denied to it.")


def difference_sentences(difference: AuthorityDifference) -> tuple[str, ...]:
    """Say what changed, what was gained first, a line each."""
    if difference.declaration == "removed":
        return ("THE DECLARATION IS GONE: the notebook could now do EVERYTHING THE POLICY ALLOWS.",)
    if difference.declaration == "added":
        return ("It now declares what it needs; everything else is denied to it from now on.",)
    lines = [_gained(one) for one in difference.gained]
    lines += [_budget("higher budget", change) for change in difference.raised]
    lines += [f"no longer: {rule_sentence(rule)}" for rule in difference.lost]
    lines += [_budget("lower budget", change) for change in difference.lowered]
    return tuple(lines) or ("What it may do is unchanged.",)


def _gained(one: Gained) -> str:
    match one.how:
        case Gain.ALLOWED:
            return f"NEW: it could {rule_sentence(one.rule)}"
        case Gain.WIDENED:
            return f"WIDER: it could {rule_sentence(one.rule)}; so far: {rule_sentence(one.before)}"
        case Gain.ASKED:
            return f"NEW: it could, with a person's yes, {rule_sentence(one.rule)}"
        case Gain.UNASKED:
            return f"NO LONGER ASKED: it could {rule_sentence(one.rule)} without the question it declared"
        case Gain.UNDENIED:
            return f"NO LONGER DENIED: it gave up its own rule never to {rule_sentence(one.rule)}"


def _budget(what: str, change: BudgetChange) -> str:
    name = escaped(change.name)
    return f"{what}: {name} from {_limit(change.before)} to {_limit(change.after)}"


def _limit(value: float | None) -> str:
    return "no limit of its own" if value is None else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
