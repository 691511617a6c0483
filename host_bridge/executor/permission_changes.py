"""How what a notebook says it needs differs between two of its versions: what a reviewer has to see first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.executor.documents import Document, metadata_of

_WIDENING = ("allow",)
_NARROWING = ("ask", "deny")


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
    for key, line in after:
        if (key, line) not in before:
            yield PermissionChange(_kind(key, came=True), line)
    for key, line in before:
        if (key, line) not in after:
            yield PermissionChange(_kind(key, came=False), f"no longer {line}")


def _kind(key: str, *, came: bool) -> str:
    if key in _WIDENING:
        return "gained" if came else "lost"
    if key in _NARROWING:
        return "lost" if came else "gained"
    return "changed"


def _lines(declaration: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(declaration, Mapping):
        yield "", repr(declaration)
        return
    for key, value in declaration.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            yield str(key), f"{key}: {item}"
