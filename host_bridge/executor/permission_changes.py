"""How what a notebook says it needs differs between two of its versions: what a reviewer has to see first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.errors import PolicyError
from host_bridge.executor.documents import Document, metadata_of

_WIDENING = ("allow",)
_NARROWING = ("ask", "deny")
_BUDGETS = "budgets"


@dataclasses.dataclass(frozen=True, slots=True)
class PermissionChange:
    """One line of a declaration that came or went.

    Attributes:
        kind: `gained` where the notebook may do more after it, `lost` where it may do less, `changed` for what isn't known
            here and is for a person to judge.
        what: The line, as `allow: terminal(make test)`.
    """

    kind: str
    what: str


def permission_changes(before: Document, after: Document) -> list[PermissionChange]:
    """Compare the declarations of two notebooks."""
    old, new = _declaration(before), _declaration(after)
    if old == new:
        return []
    if new is None:
        return [PermissionChange("gained", "everything its runner may do: the notebook declares nothing any more")]
    if old is None:
        lines = [PermissionChange("lost", "everything that is not declared: the notebook declared nothing before")]
        return lines + [PermissionChange("changed", f"declared: {line}") for _, line in _lines(new)]
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return [PermissionChange("changed", "a declaration that is no table")]
    return list(_compared(old, new))


def _declaration(notebook: Document) -> Any:
    hermes = metadata_of(notebook).get("hermes")
    return hermes.get("permissions") if isinstance(hermes, Mapping) else None


def _compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[PermissionChange]:
    before, after = list(_lines(old)), list(_lines(new))
    gained = _gained(old, new)
    for key, line in after:
        if (key, line) not in before:
            yield PermissionChange(_kind(key, line, gained, came=True), line)
    for key, line in before:
        if (key, line) not in after:
            yield PermissionChange(_kind(key, line, gained, came=False), f"no longer {line}")


def _gained(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[tuple[str, bool]] | None:
    """Give the lines by which something is really gained, and whether they came or went; None where nobody can say."""
    from host_bridge.declarations.difference import Gain, authority_diff

    try:
        difference = authority_diff(old, new)
    except PolicyError:
        return None
    clauses = {Gain.ASKED: "ask", Gain.UNASKED: "ask", Gain.UNDENIED: "deny"}
    lines = {
        (f"{clauses.get(one.how, 'allow')}: {one.rule}", one.how not in (Gain.UNASKED, Gain.UNDENIED))
        for one in difference.gained
    }
    return lines | {(_BUDGETS, came) for came in (True, False) if difference.raised}


def _kind(key: str, line: str, gained: set[tuple[str, bool]] | None, *, came: bool) -> str:
    kind = "changed"
    if key in (*_WIDENING, *_NARROWING):
        kind = "gained" if came == (key in _WIDENING) else "lost"
    if gained is None:
        return kind
    if (_BUDGETS if key == _BUDGETS else line, came) in gained:
        return "gained"
    return "changed" if kind == "gained" else kind  # a line came, and what it says was possible before


def _lines(declaration: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(declaration, Mapping):
        yield "", repr(declaration)
        return
    for key, value in declaration.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            yield str(key), f"{key}: {item}"
