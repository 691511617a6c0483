"""What changed between two versions of a notebook, or between two runs of it, in terms that a decision can be made on.

nbdime tells how to turn one file into the other; here is what that means: which cells, by their ids, which parameters,
permissions and results. Numbers of executions and papermill's records are no change of a notebook.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.executor.alignment import is_injected, match_cells, moved_cells
from host_bridge.executor.call_changes import CallChanges, call_changes
from host_bridge.executor.documents import Document, joined, metadata_of
from host_bridge.executor.parameters import ParameterError, inspect_parameters
from host_bridge.executor.permission_changes import PermissionChange, permission_changes
from host_bridge.executor.scraps import plain_json, scrap_values
from host_bridge.executor.taped_changes import taped_changes

_OF_RUNS = frozenset({"papermill", "execution"})
_MAX_DIFF_CHARACTERS = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class CellChange:
    """One cell that isn't the same in both.

    Attributes:
        kind: `added`, `removed`, `changed` or `moved`; one that both changed and moved is `changed`.
        id: Its id: in the second notebook, or the first if it was removed.
        index_before: Its place in the first notebook; None if it was added.
        index_after: Its place in the second; None if it was removed.
        parts: What of it changed: `source`, `outputs`, `metadata`, `cell_type`, `attachments`, `id`, `place`.
        source_diff: A unified difference of its source, empty if that didn't change.
    """

    kind: str
    id: str
    cell_type: str
    index_before: int | None
    index_after: int | None
    parts: list[str] = dataclasses.field(default_factory=list)
    source_diff: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ValueChange:
    """A parameter or a scrap with another value.

    Attributes:
        before: None where it had none.
        after: None where it has none any more.
        kind: `added`, `removed` or `changed`.
    """

    name: str
    kind: str
    before: Any
    after: Any


@dataclasses.dataclass(frozen=True, slots=True)
class NotebookChanges:
    """All that changed.

    Attributes:
        cells: In the order of the second notebook, removed ones where they were.
        parameters: Declared defaults, as source; a secret's are not shown.
        given: The values that the two runs were given.
        permissions: What the notebook may do more or less.
        scraps: Recorded values.
        outputs: Ids of the cells whose outputs differ.
        calls: The tool calls of the two runs; None where the notebooks tell of none.
    """

    cells: list[CellChange]
    parameters: list[ValueChange]
    given: list[ValueChange]
    permissions: list[PermissionChange]
    scraps: list[ValueChange]
    outputs: list[str]
    calls: CallChanges | None


def summarise(before: Document, after: Document, tapes: tuple[str, str] = ("", "")) -> NotebookChanges:
    """Say what changed between two notebooks of format 4.

    Args:
        before: The first.
        after: The second.
        tapes: The tapes of the runs that they are, where both have one.

    Raises:
        TapeError: A tape can't be read.
    """
    cells = list(_cell_changes(before, after))
    return NotebookChanges(
        cells=cells,
        parameters=_value_changes(_defaults(before), _defaults(after)),
        given=_value_changes(_given(before), _given(after)),
        permissions=permission_changes(before, after),
        scraps=_value_changes(scrap_values(before), scrap_values(after)),
        outputs=[change.id for change in cells if "outputs" in change.parts],
        calls=taped_changes(*tapes) if all(tapes) else call_changes(before, after),
    )


# cells -----------------------------------------------------------------------------------------------------------------


def _cell_changes(before: Document, after: Document) -> Iterator[CellChange]:
    pairs = match_cells(before, after)
    moved = moved_cells(pairs)
    old_of = {new: old for old, new in pairs}
    matched = {old for old, _ in pairs}
    removed = [index for index in range(len(before["cells"])) if index not in matched]
    for index, cell in enumerate(after["cells"]):
        old = old_of.get(index)
        while removed and old is not None and (old, index) not in moved and removed[0] < old:
            yield _whole("removed", before["cells"], removed.pop(0))
        if old is None:
            yield _whole("added", after["cells"], index)
        elif change := _compared(before["cells"][old], cell, old, index, (old, index) in moved):
            yield change
    for index in removed:
        yield _whole("removed", before["cells"], index)


def _whole(kind: str, cells: Any, index: int) -> CellChange:
    cell, is_new = cells[index], kind == "added"
    source = joined(cell.get("source"))
    return CellChange(
        kind,
        str(cell.get("id", "")),
        str(cell.get("cell_type", "")),
        None if is_new else index,
        index if is_new else None,
        source_diff=source_diff("", source) if is_new else source_diff(source, ""),
    )


def _compared(
    old: Mapping[str, Any], new: Mapping[str, Any], before: int, after: int, moved: bool
) -> CellChange | None:
    parts = [
        part
        for part, one, other in (
            ("source", joined(old.get("source")), joined(new.get("source"))),
            ("outputs", comparable_outputs(old), comparable_outputs(new)),
            ("metadata", lasting_metadata(old), lasting_metadata(new)),
            ("cell_type", old.get("cell_type"), new.get("cell_type")),
            ("attachments", old.get("attachments"), new.get("attachments")),
            ("id", old.get("id"), new.get("id")),
        )
        if one != other and not (part == "id" and _is_injected_pair(old, new))
    ]
    if not parts and not moved:
        return None
    return CellChange(
        "changed" if parts else "moved",
        str(new.get("id", "")),
        str(new.get("cell_type", "")),
        before,
        after,
        parts + ["place"] * moved,
        source_diff(joined(old.get("source")), joined(new.get("source"))),
    )


def _is_injected_pair(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return is_injected(old) and is_injected(new)


def lasting_metadata(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Give a cell's metadata without what a run writes there."""
    kept = {key: value for key, value in metadata_of(cell).items() if key not in _OF_RUNS}
    hermes = kept.get("hermes")
    if isinstance(hermes, Mapping):
        kept["hermes"] = {key: value for key, value in hermes.items() if key != "state"}
        if not kept["hermes"]:
            del kept["hermes"]
    if kept.get("tags") == []:  # papermill gives each cell a list of them
        del kept["tags"]
    return kept


def comparable_outputs(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give a cell's outputs without their numbers; texts are whole, however the file splits them."""
    found = cell.get("outputs")
    made = []
    for output in found if isinstance(found, list) else []:
        plain = {key: value for key, value in output.items() if key != "execution_count"}
        if isinstance(plain.get("text"), list):
            plain["text"] = joined(plain["text"])
        if isinstance(plain.get("data"), Mapping):
            plain["data"] = {key: _joined_lines(value) for key, value in plain["data"].items()}
        made.append(plain)
    return made


def _joined_lines(value: Any) -> Any:
    is_lines = isinstance(value, list) and bool(value) and all(isinstance(line, str) for line in value)
    return joined(value) if is_lines else value


def source_diff(before: str, after: str) -> str:
    """Give a unified difference of two texts; empty if they are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="")
    text = "\n".join(lines)
    return text if len(text) <= _MAX_DIFF_CHARACTERS else f"{text[:_MAX_DIFF_CHARACTERS]}\n… (cut)"


# values ----------------------------------------------------------------------------------------------------------------


def _defaults(notebook: Document) -> dict[str, Any]:
    try:
        declared = inspect_parameters(notebook)
    except ParameterError:
        return {}  # a cell that isn't Python: its source is compared all the same
    return {
        name: "(secret)" if parameter.secret else parameter.default_source or "(required)"
        for name, parameter in declared.items()
    }


def _given(notebook: Document) -> dict[str, Any]:
    papermill = metadata_of(notebook).get("papermill")
    parameters = papermill.get("parameters") if isinstance(papermill, Mapping) else None
    return (
        {str(name): plain_json(value) for name, value in parameters.items()} if isinstance(parameters, Mapping) else {}
    )


def _value_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ValueChange]:
    changes = []
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            changes.append(ValueChange(name, "removed", before[name], None))
        elif name not in before:
            changes.append(ValueChange(name, "added", None, after[name]))
        elif before[name] != after[name]:
            changes.append(ValueChange(name, "changed", before[name], after[name]))
    return changes
