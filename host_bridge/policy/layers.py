"""The rules of one layer, laid out for deciding fast: by tool, then by clause (`matching`).

A *source* is one text with rules (a profile, a file, the command line); a *layer* is one or more sources that speak as one.
There is one layer of authority, which must allow a call, and any number of layers that only constrain it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterable, Mapping

from host_bridge.policy.floor import Floor
from host_bridge.policy.matching import Matcher
from host_bridge.policy.methods import judged_as
from host_bridge.policy.model import Effect, Resource
from host_bridge.policy.patterns import EVERY_TOOL, parse_rule
from host_bridge.policy.rules import Clause, Rule, Verdict

# What reads or writes the same content by another way: a `deny` or `ask` rule for the first is one for the second too.
SAME_CONTENT = {"search_files": "read_file", "patch": "write_file"}


class Role(enum.Enum):
    """What a layer's silence means."""

    AUTHORITY = "authority"
    """Must allow a call; silence is a denial."""
    CONSTRAINT = "constraint"
    """Silence about a tool leaves the decision to the others; a list of what is allowed excludes the rest."""
    DECLARATION = "declaration"
    """What a notebook says it needs; whatever it doesn't say is denied."""
    NARROWING = "narrowing"
    """What a cell still wants to be able to do; everything else is denied, for as long as it says so."""


_DENIED_BY_DEFAULT = Verdict(Effect.DENY)


class ToolRules:
    """One layer's rules about one tool."""

    __slots__ = ("_allowing", "_clauses", "_objecting", "_silence", "_steadfast")

    def __init__(self, tool: str, rules: Iterable[Rule], silence: Verdict | None) -> None:
        rules = list(rules)
        names = {tool, EVERY_TOOL}
        kin = {SAME_CONTENT[tool]} if tool in SAME_CONTENT else set()
        clauses = []
        objecting: list[Rule] = []
        for clause in Clause:
            meant = names | kin if clause in (Clause.DENY, Clause.ASK) else names
            chosen = [rule for rule in rules if rule.clause is clause and parse_rule(rule.text).tool in meant]
            if clause in (Clause.DENY, Clause.ASK):
                objecting += chosen
            if chosen:
                clauses.append(Matcher(clause, chosen))
        self._clauses = tuple(clauses)
        self._objecting = tuple(objecting)
        self._allowing = next((matcher for matcher in clauses if matcher.clause is Clause.ALLOW), None)
        self._silence = silence
        marked = [
            rule
            for rule in rules
            if rule.after_untrusted and rule.clause is Clause.ALLOW and parse_rule(rule.text).tool in names
        ]
        self._steadfast = Matcher(Clause.ALLOW, marked) if marked else None

    def judge(self, resource: Resource | None) -> Verdict | None:
        """Give the layer's answer; None when it leaves the decision to others."""
        for matcher in self._clauses:
            verdict = matcher.find(resource)
            if verdict is not None:
                return verdict
        return self._silence

    @property
    def is_silent(self) -> bool:
        """Whether its silence leaves the decision to others."""
        return self._silence is None

    def objections(self, resource: Resource | None) -> tuple[Rule, ...]:
        """Give every `deny` and `ask` rule that matches."""
        return tuple(rule for rule in self._objecting if _alone(rule).find(resource) is not None)

    def has_allowing(self, resource: Resource | None) -> bool:
        """Whether an `allow` rule matches, whatever other rules say."""
        return self._allowing is not None and self._allowing.find(resource) is not None

    def asks_unless_allowed(self, resource: Resource | None) -> bool:
        """Whether an `ask_unless_allowed` rule matches and no `allow` rule lifts it."""
        standing = (matcher for matcher in self._clauses if matcher.clause is Clause.ASK_UNLESS_ALLOWED)
        return any(matcher.find(resource) is not None for matcher in standing) and not self.has_allowing(resource)

    def allows_after_untrusted(self, resource: Resource | None) -> bool:
        """Whether any of the `allow` rules that match says that it holds after untrusted content too."""
        return self._steadfast is not None and self._steadfast.find(resource) is not None


@functools.lru_cache(maxsize=1024)  # of rules that object, when a denial says what could be done about it
def _alone(rule: Rule) -> Matcher:
    return Matcher(rule.clause, [rule])


class Layer:
    """Rules that speak as one.

    Args:
        name: For people.
        role: What its silence means.
        rules: Those of everybody and of every principal.

    Raises:
        PatternError: A pattern can't be compiled.
    """

    def __init__(self, name: str, role: Role, rules: Iterable[Rule]) -> None:
        self.name = name
        self.role = role
        self.rules = tuple(rules)
        self._tables = {principal: self._table(principal) for principal in {"", *(r.principal for r in self.rules)}}

    def judge(self, principal: str, tool: str, resource: Resource | None) -> Verdict | None:
        """Give the layer's answer about one resource of a call."""
        return self._rules_for(principal, judged_as(tool, resource)).judge(resource)

    def allows_after_untrusted(self, principal: str, tool: str, resource: Resource | None) -> bool:
        """Whether what this layer allows is allowed after untrusted content too."""
        return self._rules_for(principal, judged_as(tool, resource)).allows_after_untrusted(resource)

    def objections(self, principal: str, tool: str, resource: Resource | None) -> tuple[Rule, ...]:
        """Give every `deny` and `ask` rule that matches: what would have to go for the call to be allowed."""
        return self._rules_for(principal, judged_as(tool, resource)).objections(resource)

    def lacks_allowing(self, principal: str, tool: str, resource: Resource | None) -> bool:
        """Whether, with no rule objecting, this layer would still have to be given an `allow` rule."""
        rules = self._rules_for(principal, judged_as(tool, resource))
        return not rules.is_silent and not rules.has_allowing(resource)

    def would_still_ask(self, principal: str, tool: str, resource: Resource | None) -> bool:
        """Whether, with no rule objecting, this layer asks, and an `allow` rule to lift that would exclude all else."""
        rules = self._rules_for(principal, judged_as(tool, resource))
        return rules.is_silent and rules.asks_unless_allowed(resource)

    def has_section(self, principal: str) -> bool:
        """Whether some of the rules are for this principal alone."""
        return principal != "" and principal in self._tables

    def _rules_for(self, principal: str, tool: str) -> ToolRules:
        table = self._tables.get(principal)
        if table is None:
            table = self._tables[""]
        rules = table.get(tool)
        return rules if rules is not None else table[EVERY_TOOL]

    def _table(self, principal: str) -> Mapping[str, ToolRules]:
        rules = [rule for rule in self.rules if rule.principal in ("", principal)]
        tools = {parse_rule(rule.text).tool for rule in rules}
        tools |= {tool for tool, kin in SAME_CONTENT.items() if kin in tools}
        if "terminal" in tools:
            tools.add("process")
        return {tool: ToolRules(tool, rules, self._silence(tool, rules)) for tool in {*tools, EVERY_TOOL}}

    def _silence(self, tool: str, rules: list[Rule]) -> Verdict | None:
        if self.role is Role.AUTHORITY:
            return _DENIED_BY_DEFAULT
        listed = {parse_rule(rule.text).tool for rule in rules if rule.clause is Clause.ALLOW}
        if tool in listed:
            return _DENIED_BY_DEFAULT
        if self.role is Role.CONSTRAINT:
            return None
        # A process belongs to the session whose terminal call was declared.
        return None if tool == "process" and "terminal" in listed else _DENIED_BY_DEFAULT


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """All rules in force for a session.

    Attributes:
        principal: Whom the session acts for.
        profile: The profile's name.
        authority: The layer that must allow.
        constraints: The layers that may only narrow.
        floor: What none of them gives away.
        workspace: The session's workspace; a rule with a pattern allows commands in it only. Empty leaves that open.
        brakes_after_untrusted: Whether a call that acts asks a person once the session has received untrusted content.
        digest: SHA-256 over every source, for the audit log.
        sources: Layer name and path (or empty) of everything that was read, in order.
        accepted: What a person accepted of what the notebook declares; turns an ask into a yes, and nothing else.
    """

    principal: str
    profile: str
    authority: Layer
    constraints: tuple[Layer, ...]
    floor: Floor
    workspace: str
    digest: str
    sources: tuple[tuple[str, str], ...]
    brakes_after_untrusted: bool = False
    accepted: Layer | None = None

    def rule_text(self, rule_id: str) -> str:
        """Give a rule as it is written; empty where no layer has one of that id."""
        return next((rule.text for layer in self.layers for rule in layer.rules if rule.id == rule_id), "")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, the one with authority first."""
        return (self.authority, *self.constraints)
