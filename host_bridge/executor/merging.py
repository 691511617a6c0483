"""Merging two versions of a notebook with the one they both come from, cell by cell.

Cells are matched by id. What only one side changed is taken from it; a cell that both changed is merged line by line if their
changes don't touch; anything else is a conflict, named by its cell. Before a merge is given back it is checked by
`merge_check`, which knows nothing of how it was made. Outputs are never merged: they belong to the source that made them.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from host_bridge.executor.alignment import match_cells
from host_bridge.executor.changes import comparable_outputs, lasting_metadata
from host_bridge.executor.documents import Document, metadata_of
from host_bridge.executor.line_merge import marked, merge_lines
from host_bridge.executor.parameter_cells import without_magics

CONFLICT_KEY = "conflict"
_MISSING: Any = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """Something that both sides changed and that a person or an agent has to decide.

    Attributes:
        cell_id: The cell; empty for the notebook's own metadata and the order of its cells.
        part: `source`, `outputs`, `metadata.…`, `cell_type`, `deleted`, `inserted`, `order`.
        text: What happened.
        ours: What is in the way of one another; None where that isn't one value.
        theirs: The other.
    """

    cell_id: str
    part: str
    text: str
    ours: Any = None
    theirs: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Merge:
    """A merge. True if it is whole.

    Attributes:
        notebook: The result. With conflicts it has ours where both differ, cells of both sides, and both versions of a source
            marked as git marks them; each such cell, or the notebook, says so in `metadata.hermes.conflict`.
        conflicts: What is left to decide.
        notes: What a person should know of a merge without conflicts: outputs that were dropped.
    """

    notebook: NotebookNode
    conflicts: list[Conflict]
    notes: list[str]

    def __bool__(self) -> bool:
        return not self.conflicts

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON, without the notebook."""
        return {
            "merged": not self.conflicts,
            "conflicts": [dataclasses.asdict(conflict) for conflict in self.conflicts],
            "notes": self.notes,
        }


def merge_notebooks(base: NotebookNode, ours: NotebookNode, theirs: NotebookNode) -> Merge:
    """Merge `ours` and `theirs`, both made from `base`.

    Raises:
        MergeError: The result didn't pass the check; nothing of it should be used.
    """
    from host_bridge.executor.merge_check import check_merge

    versions = _Versions(base, _renamed(base, ours), _renamed(base, theirs))
    merge = _Merging(versions).merge()
    check_merge(versions.base, versions.ours, versions.theirs, merge)
    return merge


@dataclasses.dataclass(frozen=True, slots=True)
class _Versions:
    base: NotebookNode
    ours: NotebookNode
    theirs: NotebookNode


def _renamed(base: NotebookNode, other: NotebookNode) -> NotebookNode:
    """Give a cell that is the base's under another id the base's id: files without ids get theirs from what cells say."""
    other = copy.deepcopy(other)
    ids = {cell.id for cell in other.cells}
    for old, new in match_cells(base, other):
        name = base.cells[old].id
        if name != other.cells[new].id and name not in ids:
            other.cells[new].id = name
    return other


class _Merging:
    """One merge, being made."""

    def __init__(self, versions: _Versions) -> None:
        self._base, self._ours, self._theirs = (
            {cell.id: cell for cell in notebook.cells} for notebook in (versions.base, versions.ours, versions.theirs)
        )
        self._versions = versions
        self._conflicts: list[Conflict] = []
        self._notes: list[str] = []

    def merge(self) -> Merge:
        result = copy.deepcopy(self._versions.ours)
        cells = []
        for cell_id in self._order():
            cell = self._cell(cell_id)
            if cell is not None:
                cells.append(cell)
        result.cells = cells
        metadata = (
            dict(notebook.metadata) for notebook in (self._versions.base, self._versions.ours, self._versions.theirs)
        )
        result.metadata = nbformat.from_dict(self._mapping("", "metadata", *map(_without_run, metadata)))
        _mark(result, [conflict.part for conflict in self._conflicts if not conflict.cell_id])
        return Merge(result, self._conflicts, self._notes)

    def _conflict(self, cell_id: str, part: str, text: str, ours: Any = None, theirs: Any = None) -> None:
        self._conflicts.append(Conflict(cell_id, part, text, ours, theirs))

    # which cells, in which order ---------------------------------------------------------------------------------------

    def _order(self) -> list[str]:
        """Give the ids of all cells that may be in the result, in its order."""
        base, ours, theirs = (
            [cell.id for cell in notebook.cells]
            for notebook in (self._versions.base, self._versions.ours, self._versions.theirs)
        )
        common = set(base) & set(ours) & set(theirs)
        orders = [[name for name in names if name in common] for names in (base, ours, theirs)]
        lead, other = (theirs, ours) if orders[1] == orders[0] != orders[2] else (ours, theirs)
        if orders[1] not in (orders[0], orders[2]) and orders[2] != orders[0]:
            self._conflict("", "order", "both sides put the cells in another order", orders[1], orders[2])
        return self._woven(lead, other, common)

    def _woven(self, lead: Sequence[str], other: Sequence[str], common: set[str]) -> list[str]:
        """Put what only the other side has behind the cell it follows there."""
        order = list(lead)
        inserted_by_lead = {name for name in lead if name not in self._base}
        behind = ""
        for name in other:
            if name not in order:
                index = order.index(behind) + 1 if behind else 0
                if name not in self._base:
                    index = self._after_rivals(name, order, index, common, inserted_by_lead)
                order.insert(index, name)
            behind = name
        return order

    def _after_rivals(
        self, name: str, order: Sequence[str], index: int, common: set[str], inserted: Iterable[str]
    ) -> int:
        """Give the place behind what the other side inserted between the same cells: nobody said which comes first."""
        first, last = index, index
        while first > 0 and order[first - 1] not in common:
            first -= 1
        while last < len(order) and order[last] not in common:
            last += 1
        rivals = [place for place in range(first, last) if order[place] in inserted]
        if not rivals:
            return index
        names = [order[place] for place in rivals]
        if not any((conflict.cell_id, conflict.part) == (names[0], "inserted") for conflict in self._conflicts):
            text = f"both sides insert cells in one place: {', '.join(names)} and {name}; which comes first?"
            self._conflict(names[0], "inserted", text)
        return max(index, rivals[-1] + 1)

    # one cell ----------------------------------------------------------------------------------------------------------

    def _cell(self, cell_id: str) -> NotebookNode | None:
        base, ours, theirs = (cells.get(cell_id) for cells in (self._base, self._ours, self._theirs))
        if base is None:
            return self._inserted(cell_id, ours, theirs)
        if ours is None or theirs is None:
            return self._deleted(cell_id, base, ours, theirs)
        return self._changed(cell_id, base, ours, theirs)

    def _inserted(self, cell_id: str, ours: NotebookNode | None, theirs: NotebookNode | None) -> NotebookNode:
        if ours is None or theirs is None:
            cell = copy.deepcopy(ours or theirs)
            assert cell is not None  # one of them has the id
            if any(conflict.cell_id == cell_id and conflict.part == "inserted" for conflict in self._conflicts):
                _mark(cell, ["inserted"])
            return cell
        empty = nbformat.from_dict({"cell_type": ours.cell_type, "id": cell_id, "metadata": {}, "source": ""})
        return self._changed(cell_id, empty, ours, theirs)

    def _deleted(
        self, cell_id: str, base: NotebookNode, ours: NotebookNode | None, theirs: NotebookNode | None
    ) -> NotebookNode | None:
        kept = ours or theirs
        if kept is None or (_lasting(kept) == _lasting(base)):
            return None
        who, other = ("ours", "theirs") if ours is None else ("theirs", "ours")
        self._conflict(
            cell_id,
            "deleted",
            f"{who} deletes the cell, {other} changes it",
            None if ours is None else ours.source,
            None if theirs is None else theirs.source,
        )
        cell = copy.deepcopy(kept)
        _mark(cell, ["deleted"])
        return cell

    def _changed(self, cell_id: str, base: NotebookNode, ours: NotebookNode, theirs: NotebookNode) -> NotebookNode:
        before = len(self._conflicts)
        cell = copy.deepcopy(ours)
        cell_type = self._value(cell_id, "cell_type", base.cell_type, ours.cell_type, theirs.cell_type)
        source = self._source(cell_id, base, ours, theirs, cell_type)
        metadata = self._mapping(cell_id, "metadata", *map(lasting_metadata, (base, ours, theirs)))
        attachments = self._mapping(
            cell_id, "attachments", *(dict(one.get("attachments", {})) for one in (base, ours, theirs))
        )
        if cell_type != ours.cell_type:
            cell = copy.deepcopy(theirs)
        cell.source = source
        cell.metadata = nbformat.from_dict(metadata)
        cell.pop("attachments", None)
        if attachments:
            cell["attachments"] = nbformat.from_dict(attachments)
        if cell_type == "code":
            self._take_outputs(cell_id, cell, base, ours, theirs)
        _mark(cell, [conflict.part for conflict in self._conflicts[before:]])
        return cell

    def _source(
        self, cell_id: str, base: NotebookNode, ours: NotebookNode, theirs: NotebookNode, cell_type: str
    ) -> str:
        merged = merge_lines(base.source, ours.source, theirs.source)
        if merged is not None and cell_type == "code" and not _parses_like(merged, ours.source, theirs.source):
            merged = None
        if merged is not None:
            return merged
        self._conflict(cell_id, "source", "both sides change the same lines", ours.source, theirs.source)
        return marked(ours.source, theirs.source)

    def _take_outputs(
        self, cell_id: str, cell: NotebookNode, base: NotebookNode, ours: NotebookNode, theirs: NotebookNode
    ) -> None:
        """Outputs come whole, from a version with the source that is in the result."""
        versions = [version for version in (ours, theirs) if version.source == cell.source and "outputs" in version]
        changed = [version for version in versions if comparable_outputs(version) != comparable_outputs(base)]
        if len(changed) == 2 and comparable_outputs(ours) != comparable_outputs(theirs):
            self._conflict(cell_id, "outputs", "both sides have other outputs for the same source; run it again")
        chosen = next(iter(changed or versions), None)
        if chosen is None and (ours.get("outputs") or theirs.get("outputs")):
            self._notes.append(f"cell {cell_id}: its outputs were dropped, its source is a merge; run it again")
        cell.outputs = copy.deepcopy(chosen.outputs) if chosen is not None else []
        cell.execution_count = chosen.execution_count if chosen is not None else None

    # values ------------------------------------------------------------------------------------------------------------

    def _value(self, cell_id: str, part: str, base: Any, ours: Any, theirs: Any) -> Any:
        if theirs == base or ours == theirs:
            return ours
        if ours == base:
            return theirs
        mappings = [{} if value is _MISSING else value for value in (base, ours, theirs)]
        if all(isinstance(value, Mapping) for value in mappings) and _MISSING not in (ours, theirs):
            return self._mapping(cell_id, part, *mappings)
        shown = [None if value is _MISSING else value for value in (ours, theirs)]
        self._conflict(cell_id, part, f"both sides change {part}", *shown)
        return ours

    def _mapping(
        self, cell_id: str, part: str, base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any]
    ) -> dict[str, Any]:
        result = {}
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            values = (side.get(key, _MISSING) for side in (base, ours, theirs))
            value = self._value(cell_id, f"{part}.{key}", *values)
            if value is not _MISSING:
                result[key] = copy.deepcopy(value)
        return result


def _lasting(cell: NotebookNode) -> Any:
    return cell.cell_type, cell.source, lasting_metadata(cell), cell.get("attachments")


def _without_run(metadata: dict[str, Any]) -> dict[str, Any]:
    """A merge is no run: what a run wrote about itself is of neither side."""
    kept = {key: value for key, value in metadata.items() if key != "papermill"}
    hermes = kept.get("hermes")
    if isinstance(hermes, Mapping) and "run" in hermes:
        kept["hermes"] = {key: value for key, value in hermes.items() if key != "run"}
        if not kept["hermes"]:
            del kept["hermes"]
    return kept


def _mark(thing: NotebookNode, parts: Sequence[str]) -> None:
    """Have a cell, or the notebook itself, say that something about it is undecided."""
    if parts:
        hermes = thing.metadata.get("hermes")
        kept = dict(hermes) if isinstance(hermes, Mapping) else {}
        thing.metadata["hermes"] = nbformat.from_dict({**kept, CONFLICT_KEY: list(parts)})


def undecided(notebook: Document) -> list[str]:
    """Say where a notebook has conflicts that nobody has resolved: `cell <id>`, or `the notebook` itself."""
    cells = [(f"cell {cell.get('id', index)}", cell) for index, cell in enumerate(notebook["cells"])]
    found = []
    for name, thing in (("the notebook", notebook), *cells):
        hermes = metadata_of(thing).get("hermes")
        if isinstance(hermes, Mapping) and CONFLICT_KEY in hermes:
            found.append(name)
    return found


def _parses_like(merged: str, ours: str, theirs: str) -> bool:
    """Whether a merge of two Python texts is one. Of what wasn't Python before nobody can say."""
    return _is_python(merged) or not (_is_python(ours) and _is_python(theirs))


def _is_python(source: str) -> bool:
    try:
        compile(without_magics(source), "<cell>", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
