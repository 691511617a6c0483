"""What the session is told of a notebook: what it says it needs, and what must not be written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.errors import NotebookError
from host_bridge.provisioning.notebook import read_document, source_digest


def declared_permissions(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give what a notebook says it needs, `metadata.hermes.permissions`; None when it says nothing."""
    hermes = metadata.get("hermes")
    permissions = hermes.get("permissions") if isinstance(hermes, Mapping) else None
    if permissions is None:
        return None
    if not isinstance(permissions, Mapping):
        raise NotebookError("metadata.hermes.permissions is no mapping; correct the notebook's metadata")
    return permissions


def digest_before_injection(notebook: Mapping[str, Any], path: object) -> str:
    """Name the source of a notebook that papermill has put parameters into, as it was before.

    What a person accepted is the file, and the parameters are from whoever starts the run.

    Args:
        notebook: What is going to run.
        path: The file papermill read, if it was one.
    """
    document = read_document(path) if isinstance(path, str) and "://" not in path else None
    if document is not None and source_digest(_without_injected(document)) == source_digest(
        _without_injected(notebook)
    ):
        return source_digest(document)
    return source_digest(notebook)


def _without_injected(notebook: Mapping[str, Any]) -> dict[str, Any]:
    cells = notebook.get("cells")
    kept = [cell for cell in (cells if isinstance(cells, list) else []) if not _is_injected(cell)]
    return {"cells": kept, "metadata": notebook.get("metadata")}


def _is_injected(cell: Any) -> bool:
    metadata = cell.get("metadata") if isinstance(cell, Mapping) else None
    tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
    return isinstance(tags, list) and "injected-parameters" in tags


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
