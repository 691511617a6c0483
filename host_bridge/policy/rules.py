"""A rule as it stands in a source, and what a layer says by one."""

from __future__ import annotations

import dataclasses
import enum

from host_bridge.policy.model import Effect


class Clause(enum.StrEnum):
    """The lists a table of rules has, strongest first. Within a layer the first with a matching rule decides."""

    DENY = "deny"
    ASK = "ask"
    ALLOW = "allow"
    ASK_UNLESS_ALLOWED = "ask_unless_allowed"


EFFECTS = {
    Clause.DENY: Effect.DENY,
    Clause.ASK: Effect.ASK,
    Clause.ALLOW: Effect.ALLOW,
    Clause.ASK_UNLESS_ALLOWED: Effect.ASK,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        text: As written.
        clause: The list it stands in.
        layer: Where it is from: `workspace profile`, `user`, `project`, …
        key: Its dotted place there, such as `rules.allow[2]`.
        principal: Whom it is about; empty for everybody.
        after_untrusted: Whether an `allow` also holds after the session has received untrusted content.
    """

    text: str
    clause: Clause
    layer: str
    key: str
    principal: str = ""
    after_untrusted: bool = False

    @property
    def id(self) -> str:
        """Names the rule in the audit log and in denials."""
        return f"{self.layer}:{self.key}"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What one layer says about one resource. Without a rule, the effect is the layer's default."""

    effect: Effect
    rule: Rule | None = None
