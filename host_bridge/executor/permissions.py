"""What a notebook says it needs."""

from __future__ import annotations

from collections.abc import Mapping
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
