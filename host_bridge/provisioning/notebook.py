"""What a session is told of a notebook: the permissions it declares, and which source they and a person's answers belong to.

Read without trusting or understanding the rest of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_NOTEBOOK_BYTES = 128 * 2**20  # read before the kernel starts; a larger one has outputs nobody opens in a browser


def source_digest(notebook: Mapping[str, Any]) -> str:
    """Name a notebook's source: what it runs and what it says it needs, not what came out of it or how it is described.

    Every code cell counts, whatever its tags say of it: a tag must not keep a changed cell out of a person's sight.

    Args:
        notebook: Its JSON, format 4; whatever in it isn't of the right shape counts as empty.

    Returns:
        SHA-256, in hex.
    """
    cells = notebook.get("cells")
    sources = [
        "".join(source) if isinstance(source := cell.get("source", ""), list) else source
        for cell in (cells if isinstance(cells, list) else [])
        if isinstance(cell, Mapping) and cell.get("cell_type") == "code"
    ]
    metadata = notebook.get("metadata")
    hermes = metadata.get("hermes") if isinstance(metadata, Mapping) else None
    permissions = hermes.get("permissions") if isinstance(hermes, Mapping) else None
    return hashlib.sha256(msgspec.json.encode([sources, permissions], order="sorted")).hexdigest()


def declared_permissions(notebook: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give a notebook's `metadata.hermes.permissions`; None when it declares nothing."""
    try:
        declared = notebook["metadata"]["hermes"]["permissions"]
    except (KeyError, TypeError):
        return None
    # Something that isn't a table is no declaration the policy could apply; empty narrows to nothing at all.
    return declared if isinstance(declared, dict) else {}


def read_document(path: str) -> dict[str, Any] | None:
    """Give a notebook file's JSON; None for whatever isn't a regular file with a JSON object in it.

    A declaration can only narrow, so a file that can't be read changes nothing: it is then no notebook that anybody opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_NOTEBOOK_BYTES:
                return None
            document = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
