"""How the tool calls of two runs differ, from what their notebooks tell of them.

A notebook holds counts only; which hosts and paths were reached and what came back is in the runs' tapes: `taped_changes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from host_bridge.executor.documents import Document, metadata_of


@dataclasses.dataclass(frozen=True, slots=True)
class CallChanges:
    """Two runs' tool calls.

    Attributes:
        counts: By tool, `[before, after]`, where they differ.
        outcomes: The same by outcome: `ok`, `denied`, `failed`, …
        new_hosts: What the second run reached on the network and the first did not.
        new_paths: Files likewise.
        different_results: Calls that both made and that gave something else, as `tool(arguments)`.
    """

    counts: dict[str, list[int]]
    outcomes: dict[str, list[int]]
    new_hosts: list[str] = dataclasses.field(default_factory=list)
    new_paths: list[str] = dataclasses.field(default_factory=list)
    different_results: list[str] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.counts, self.outcomes, self.new_hosts, self.new_paths, self.different_results))


def call_changes(before: Document, after: Document) -> CallChanges | None:
    """Compare the tool calls of two executed notebooks; None unless both tell of a run."""
    old, new = _recorded(before), _recorded(after)
    if old is None or new is None:
        return None
    tools, outcomes = (
        differing_counts(_counts(old.get(key)), _counts(new.get(key))) for key in ("by_tool", "by_outcome")
    )
    return CallChanges(tools, outcomes)


def _recorded(notebook: Document) -> Mapping[str, Any] | None:
    hermes = metadata_of(notebook).get("hermes")
    run = hermes.get("run") if isinstance(hermes, Mapping) else None
    calls = run.get("tool_calls") if isinstance(run, Mapping) else None
    return calls if isinstance(calls, Mapping) else None


def differing_counts(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, list[int]]:
    """Give what was counted differently, by name, as `[before, after]`."""
    names = sorted({*before, *after})
    return {
        name: [before.get(name, 0), after.get(name, 0)] for name in names if before.get(name, 0) != after.get(name, 0)
    }


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): count for name, count in value.items() if type(count) is int}
