"""What a change to a notebook would newly be able to do: a difference of authority, not of text.

Both sides are `metadata.hermes.permissions` as they stand in a notebook, None where it declares nothing. Sorting, splitting or
narrowing rules gains nothing; whatever can't be proven to be covered (`host_bridge.declarations.inclusion`) counts as gained.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any

from host_bridge.declarations.inclusion import Effort, is_allowed_by, is_caught_by
from host_bridge.policy.layers import SAME_CONTENT
from host_bridge.policy.loading import Declaration, read_declaration
from host_bridge.policy.patterns import EVERY_TOOL, parse_rule
from host_bridge.policy.rules import Clause, Rule

Permissions = Mapping[str, Any] | None
PROCESS = "process"


class Gain(enum.StrEnum):
    """How something was gained."""

    ALLOWED = "allowed"
    """A rule that allows what was not declared."""
    WIDENED = "widened"
    """A rule in the place of a narrower one."""
    ASKED = "asked"
    """A rule that asks about what was not declared."""
    UNASKED = "unasked"
    """What the notebook itself wanted to be asked about isn't asked any more."""
    UNDENIED = "undenied"
    """What the notebook itself denied isn't denied any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gained:
    """One thing that became possible.

    Attributes:
        how: In what way.
        rule: The rule: of the later declaration, or, where it is gone, of the earlier one.
        before: The narrower rule it took the place of.
    """

    how: Gain
    rule: str
    before: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class BudgetChange:
    """A limit that changed; None is no limit of the declaration's own."""

    name: str
    before: float | None
    after: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class AuthorityDifference:
    """What changed, from the earlier declaration to the later one.

    Attributes:
        declaration: `none` (neither declares anything), `removed` (everything the policy allows is possible again), `added`
            (what isn't declared is denied from now on), or `kept`.
        gained: What became possible.
        lost: Rules that allowed or asked about what isn't possible any more.
        raised: Budgets that became larger, or were given up.
        lowered: Budgets that became smaller, or are new.
    """

    declaration: str
    gained: tuple[Gained, ...] = ()
    lost: tuple[str, ...] = ()
    raised: tuple[BudgetChange, ...] = ()
    lowered: tuple[BudgetChange, ...] = ()

    @property
    def gains(self) -> bool:
        """Whether the later notebook could do anything that the earlier one could not."""
        return self.declaration == "removed" or bool(self.gained or self.raised)

    def __bool__(self) -> bool:
        return self.gains or self.declaration == "added" or bool(self.lost or self.lowered)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {"gains": self.gains, **dataclasses.asdict(self)}


def authority_diff(a: Permissions, b: Permissions) -> AuthorityDifference:
    """Compare what two versions of a notebook declare. Pure.

    Args:
        a: The earlier version's `metadata.hermes.permissions`; None for no declaration.
        b: The later version's.

    Raises:
        PolicyError: One of them can't be meant; such a notebook doesn't run at all.
    """
    effort = Effort()
    before = None if a is None else _Side(a, effort)
    after = None if b is None else _Side(b, effort)
    if before is None or after is None:
        one = before or after
        if one is None:
            return AuthorityDifference("none")
        return AuthorityDifference("removed" if after is None else "added")
    gained = (*_newly_allowed(before, after), *_newly_asked(before, after), *_given_up(before, after))
    raised, lowered = _budgets(before.declaration, after.declaration)
    widened = {one.before for one in gained if one.before}
    lost = tuple(rule for rule in _lost(before, after) if rule not in widened)
    return AuthorityDifference("kept", _without_implied(gained, after), lost, raised, lowered)


def _without_implied(gained: tuple[Gained, ...], after: _Side) -> tuple[Gained, ...]:
    """Leave out that commands newly allowed may be looked after: it goes without saying."""
    if after.implies_process and any(parse_rule(one.rule).tool == "terminal" for one in gained):
        return tuple(one for one in gained if one.rule != PROCESS)
    return gained


class _Side:
    """One version's declaration, its rules spelled out for every tool they are about."""

    def __init__(self, permissions: Mapping[str, Any], effort: Effort) -> None:
        self._effort = effort
        self.declaration, rules = read_declaration(permissions)
        allowed = _texts(rules, Clause.ALLOW)
        # Whoever may start commands may look after them, unless a rule says otherwise: `host_bridge.policy.layers`.
        tools = {parse_rule(text).tool for text in allowed}
        self.implies_process = "terminal" in tools and PROCESS not in tools
        self.allow = (*allowed, PROCESS) if self.implies_process else allowed
        self.ask = _with_kin(_texts(rules, Clause.ASK))
        self.deny = _with_kin(_texts(rules, Clause.DENY))
        # Looked up first: what both sides have is most of it.
        self._allowed, self._asked, self._denied = frozenset(self.allow), frozenset(self.ask), frozenset(self.deny)
        self.tools = {parse_rule(rule).tool for rule in (*self.allow, *self.ask)}

    def has(self, rule: str) -> bool:
        """Whether it allows by this very rule."""
        return rule in self._allowed

    def is_narrower(self, rule: str, wider: str) -> bool:
        """Whether one rule is shown to be the narrower of two."""
        return is_allowed_by(rule, wider, self._effort)

    def allows(self, rule: str) -> bool:
        return rule in self._allowed or any(is_allowed_by(rule, wider, self._effort) for wider in self.allow)

    def asks(self, rule: str) -> bool:
        return rule in self._asked or any(is_caught_by(rule, wider, self._effort) for wider in self.ask)

    def denies(self, rule: str) -> bool:
        return rule in self._denied or any(is_caught_by(rule, wider, self._effort) for wider in self.deny)

    def allows_all_of(self, rule: str) -> bool:
        """Whether calls that a rule is generously about are allowed, whatever their spelling: by a rule for every call."""
        return parse_rule(rule).tool in self._allowed

    def reaches(self, rule: str) -> bool:
        """Whether anything the rule may be about could be called at all."""
        tool = parse_rule(rule).tool
        return bool(self.tools) and (tool == EVERY_TOOL or EVERY_TOOL in self.tools or tool in self.tools)


def _texts(rules: Iterable[Rule], clause: Clause) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.text for rule in rules if rule.clause is clause))


def _with_kin(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Add what rules that ask or deny are about besides: other tools that reach the same content."""
    added = []
    for text in texts:
        parsed = parse_rule(text)
        for tool, same in SAME_CONTENT.items():
            if parsed.tool == same:
                added.append(tool if parsed.pattern is None else f"{tool}({parsed.pattern})")
    return tuple(dict.fromkeys((*texts, *added)))


def _newly_allowed(before: _Side, after: _Side) -> Iterable[Gained]:
    for rule in after.allow:
        if before.allows(rule):
            continue
        narrower = [old for old in before.allow if not after.has(old) and after.is_narrower(old, rule)]
        if narrower:
            yield from (Gained(Gain.WIDENED, rule, old) for old in narrower)
        else:
            yield Gained(Gain.ALLOWED, rule)


def _newly_asked(before: _Side, after: _Side) -> Iterable[Gained]:
    for rule in after.ask:
        if not before.asks(rule) and not before.allows_all_of(rule):
            yield Gained(Gain.ASKED, rule)


def _given_up(before: _Side, after: _Side) -> Iterable[Gained]:
    for rule in before.deny:
        if after.reaches(rule) and not after.denies(rule):
            yield Gained(Gain.UNDENIED, rule)
    for rule in before.ask:
        if after.reaches(rule) and not after.denies(rule) and not after.asks(rule):
            yield Gained(Gain.UNASKED, rule)


def _lost(before: _Side, after: _Side) -> Iterable[str]:
    for rule in before.allow:
        if not after.allows(rule) and not (rule == PROCESS and before.implies_process):
            yield rule
    for rule in before.ask:
        if not after.asks(rule) and not after.reaches(rule):
            yield rule


def _budgets(before: Declaration, after: Declaration) -> tuple[tuple[BudgetChange, ...], tuple[BudgetChange, ...]]:
    changes = [
        BudgetChange(name, before.budgets.get(name), after.budgets.get(name))
        for name in {**before.budgets, **after.budgets}
        if before.budgets.get(name) != after.budgets.get(name)
    ]
    raised = tuple(one for one in changes if one.after is None or (one.before is not None and one.after > one.before))
    return raised, tuple(one for one in changes if one not in raised)
