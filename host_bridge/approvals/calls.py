"""One call that needs a person's word, as all of `approvals` sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from host_bridge.policy.model import Resource

LoopKey = tuple[str, str, int | None, int, bool]
"""Calls of one loop share it: tool, rule, cell, line, and whether untrusted content was read by then.

The line is the kernel's word. A lie makes questions more or fewer, never an answer wider: what was shown is what runs.
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AskedCall:
    """One call whose rule says `ask`.

    Attributes:
        digest: Names the normalised call.
        shown: Its normalised arguments.
        resources: What it would touch, canonical.
        rule_id: The rule that asks.
        rule: The same as it is written; empty where it is none of a policy's.
        reason: Why, for people.
        remedy: What would allow it without asking.
        line: In the cell, by the kernel's word; 0 when unknown.
        untrusted: Where untrusted content came from, empty if none was read.
        secrets: Names of the secrets it would have; part of `shown`, too.
        is_unseen: Whether some of it comes only after the answer (an upload), so that a yes can't be for what it is.
    """

    call_id: str
    principal: str
    tool: str
    digest: str
    shown: Mapping[str, Any]
    resources: tuple[Resource, ...] = ()
    rule_id: str = ""
    rule: str = ""
    reason: str = ""
    remedy: str = ""
    cell_index: int | None = None
    line: int = 0
    untrusted: str = ""
    secrets: tuple[str, ...] = ()
    is_unseen: bool = False

    @property
    def loop(self) -> LoopKey:
        """What the calls of one loop have in common."""
        return (self.tool, self.rule_id, self.cell_index, self.line, bool(self.untrusted))
