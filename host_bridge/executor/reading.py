"""Getting a notebook's text from wherever it is, and looking at it before nbformat is there to check it."""

from __future__ import annotations

import json
from typing import Any

from host_bridge.errors import NotebookError


def is_remote(path: str) -> bool:
    """Whether papermill's handlers read and write this path."""
    return "://" in path or path == "-"


def read_text(path: str) -> str:
    """Read a notebook's text, from this machine or wherever papermill can.

    Raises:
        NotebookError: It can't be read.
    """
    try:
        if is_remote(path):
            from papermill.iorw import papermill_io

            return str(papermill_io.read(path))
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise NotebookError(f"can't read the notebook {path}: {error.strerror or error}", path=path) from error
    except UnicodeDecodeError:
        raise NotebookError(f"{path} is not a notebook: it isn't UTF-8 text", path=path) from None
    except Exception as error:  # each remote store's client has its own
        raise NotebookError(f"can't read the notebook {path}: {error}", path=path) from error


def glance(text: str) -> dict[str, Any] | None:
    """Give a notebook's JSON if it looks like format 4, unchecked; None for whatever needs nbformat to say what it is."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("nbformat") != 4:
        return None
    cells = document.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        return None
    return document if isinstance(document.get("metadata"), dict) else None
