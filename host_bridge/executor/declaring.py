"""Writes what a notebook needs into its metadata, and nothing else; a notebook that isn't the one that ran stays as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from host_bridge.errors import NotebookError
from host_bridge.executor.notebooks import read_notebook, write_notebook
from host_bridge.executor.origin import StaleNotebookError
from host_bridge.provisioning.notebook import source_digest


def declare(
    path: str | os.PathLike[str], permissions: Mapping[str, Any], *, ran: str = "", force: bool = False
) -> dict[str, Any]:
    """Set a notebook's `metadata.hermes.permissions`; what it denies or asks about itself, and its note, stay.

    Args:
        path: The notebook; replaced in one step.
        permissions: What to declare: `allow` and `budgets`.
        ran: `source_digest` of the notebook that the declaration was learned from.
        force: Write it even if that is another.

    Returns:
        What it declares now.

    Raises:
        NotebookError: It can't be read, or is not the one that ran (`StaleNotebookError`).
        OutputError: It can't be written.
    """
    notebook = read_notebook(path)
    if not force and source_digest(notebook) != ran:
        what = "has changed since that run" if ran else "is not known to be what ran (the log names no source)"
        raise StaleNotebookError(
            f"{os.fspath(path)} {what}; run it again and learn from that run, or write with --force",
            path=os.fspath(path),
        )
    hermes = notebook.metadata.setdefault("hermes", {})
    if not isinstance(hermes, dict):
        raise NotebookError(
            f"{os.fspath(path)}: metadata.hermes is no object; correct the notebook's metadata", path=os.fspath(path)
        )
    present = hermes.get("permissions")
    kept = (
        {name: present[name] for name in ("ask", "deny", "note") if name in present}
        if isinstance(present, dict)
        else {}
    )
    declared = {**kept, **permissions}
    hermes["permissions"] = declared
    write_notebook(notebook, path)
    return declared
