"""The ids of cells: what edits, differences, merges and run records name cells by.

A cell without a usable id gets one made from what the cell says, so that two people who read the same old file mean the same
cells, and a merge of their work finds what they have in common.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from host_bridge.executor.documents import joined

_VALID_ID = re.compile(r"[a-zA-Z0-9-_]{1,64}")  # the notebook format's own pattern
_ID_CHARACTERS = 8  # as nbformat's


def normalise_ids(notebook: dict[str, Any], *, have_none: bool) -> int:
    """Give an id to each cell that has none, an invalid one, or that of a cell before it. Works in place.

    Args:
        notebook: Format 4; what isn't a list of cells is left for validation to refuse.
        have_none: Whether the file's format knows no ids, so that those present are random and mean nothing.

    Returns:
        How many cells got one.
    """
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        return 0
    first: dict[str, int] = {}
    for index, cell in enumerate(cells):
        if not have_none and is_valid_id(cell.get("id")):
            first.setdefault(cell["id"], index)
    taken = set(first)
    count = 0
    for index, cell in enumerate(cells):
        if not have_none and first.get(cell["id"] if is_valid_id(cell.get("id")) else "") == index:
            continue
        cell["id"] = new_id(str(cell.get("cell_type")), joined(cell.get("source")), taken)
        taken.add(cell["id"])
        count += 1
    return count


def is_valid_id(value: object) -> bool:
    """Whether the notebook format takes it."""
    return isinstance(value, str) and _VALID_ID.fullmatch(value) is not None


def new_id(cell_type: str, source: str, taken: set[str]) -> str:
    """Make an id from a cell's content, other than those that are taken."""
    number = 0
    while True:
        text = "\0".join((cell_type, source, str(number)))
        made = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_CHARACTERS]
        if made not in taken:
            return made
        number += 1
