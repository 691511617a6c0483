"""What the session is told of a notebook: what it says it needs, and what must not be written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.errors import NotebookError


def declared_permissions(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give what a notebook says it needs, `metadata.hermes.permissions`; None when it says nothing."""
    hermes = metadata.get("hermes")
    permissions = hermes.get("permissions") if isinstance(hermes, Mapping) else None
    if permissions is None:
        return None
    if not isinstance(permissions, Mapping):
        raise NotebookError("metadata.hermes.permissions is no mapping; correct the notebook's metadata")
    return permissions


def texts_within(value: Any) -> Iterator[str]:
    """Give every text within a secret: the audit log leaves them out by itself."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_within(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from texts_within(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif value is not None and not isinstance(value, bool):
        yield str(value)
