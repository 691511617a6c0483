"""Comparing notebooks by their cells: nbdime's structured difference as plain data, and a sentence about it.

nbdime keeps what it ignores in module-wide state, so one comparison runs at a time, with every detail counted; what a reader
wants to overlook can be left out of the operations by their path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from host_bridge.executor.changes import NotebookChanges, summarise
from host_bridge.executor.documents import Document
from host_bridge.executor.notebooks import parse_notebook, read_notebook
from host_bridge.executor.origin import origin_of, remember
from host_bridge.executor.taped_changes import find_tape

_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class NotebookDifference:
    """What changes one notebook into another. False when nothing does.

    Attributes:
        operations: nbdime's: a list of `{"op": "add" | "remove" | "replace" | "addrange" | "removerange" | "patch", "key", …}`,
            nested by `patch`; see nbdime's documentation of its diff format.
        cells_added: Indexes in the second notebook.
        cells_removed: Indexes in the first notebook.
        cells_changed: By index in the first notebook, which parts of the cell differ: `source`, `outputs`, `metadata`, …
        metadata_changed: Whether the notebooks' own metadata or format differ.
        summary: All this in a sentence.
        changes: What it means: cells by id, parameters, permissions, results, tool calls.
        digests: The contents of the first notebook and the second; `patching` checks that a difference fits by them.
    """

    operations: list[dict[str, Any]]
    cells_added: list[int]
    cells_removed: list[int]
    cells_changed: dict[int, list[str]]
    metadata_changed: bool
    summary: str
    changes: NotebookChanges
    digests: tuple[str, str]

    def __bool__(self) -> bool:
        return bool(self.operations)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {
            **dataclasses.asdict(self),
            "identical": not self,
            "cells_changed": {str(index): parts for index, parts in self.cells_changed.items()},
        }


def diff_notebooks(a: str | os.PathLike[str] | Document, b: str | os.PathLike[str] | Document) -> NotebookDifference:
    """Compare two notebooks.

    Raises:
        NotebookError: One of them can't be read, or isn't a valid notebook.
    """
    first, second = open_notebook(a), open_notebook(b)
    tapes = tuple(find_tape(origin_of(notebook).path, notebook) for notebook in (first, second))
    with _one_at_a_time:
        from nbdime.diffing.notebooks import diff_notebooks as nbdime_diff
        from nbdime.diffing.notebooks import reset_notebook_differ

        reset_notebook_differ()
        operations = [_plain(operation) for operation in nbdime_diff(first, second)]
    return _describe(
        operations, summarise(first, second, (tapes[0], tapes[1])), (content_digest(first), content_digest(second))
    )


def content_digest(notebook: Document) -> str:
    """Name all that a notebook holds, outputs and metadata included, however its file spells it."""
    text = json.dumps(notebook, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def open_notebook(notebook: str | os.PathLike[str] | Document) -> Any:
    """Give a notebook in its newest format, reading it if it is a path."""
    if isinstance(notebook, Mapping):
        node = parse_notebook(json.dumps(notebook))
        remember(node, origin_of(notebook))  # the tape of a run lies beside the file it was read from
        return node
    return read_notebook(notebook)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _describe(
    operations: list[dict[str, Any]], changes: NotebookChanges, digests: tuple[str, str]
) -> NotebookDifference:
    added: list[int] = []
    removed: list[int] = []
    changed: dict[int, list[str]] = {}
    shift = 0  # from an index in the first notebook to the one in the second
    for operation in _cell_operations(operations):
        index = operation["key"]
        if operation["op"] == "addrange":
            count = len(operation["valuelist"])
            added += range(index + shift, index + shift + count)
            shift += count
        elif operation["op"] == "removerange":
            removed += range(index, index + operation["length"])
            shift -= operation["length"]
        elif operation["op"] == "patch":
            changed[index] = sorted({str(part["key"]) for part in operation["diff"]})
    metadata = any(operation["key"] != "cells" for operation in operations)
    sentence = _sentence(added, removed, changed, metadata)
    return NotebookDifference(operations, added, removed, changed, metadata, sentence, changes, digests)


def _cell_operations(operations: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for operation in operations:
        if operation["key"] == "cells" and operation["op"] == "patch":
            yield from operation["diff"]


def _sentence(added: list[int], removed: list[int], changed: dict[int, list[str]], metadata: bool) -> str:
    parts = [
        f"{len(found)} cell{'s' if len(found) > 1 else ''} {word}"
        for found, word in ((added, "added"), (removed, "removed"), (changed, "changed"))
        if found
    ]
    if changed:
        touched = sorted({part for parts_of_cell in changed.values() for part in parts_of_cell})
        parts[-1] += f" ({', '.join(touched)})"
    if metadata:
        parts.append("metadata changed")
    return ", ".join(parts) or "no difference"
