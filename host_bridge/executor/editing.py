"""Changing a notebook cell by cell, by the cells' ids: nothing moves under whoever edits by them, as with indexes.

All of it works in place, on a notebook that `notebooks.read_notebook` gave; a cell whose source changes loses its outputs,
which are no longer what it would put out.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from host_bridge.errors import NotebookError
from host_bridge.executor.cell_ids import is_valid_id, new_id
from host_bridge.executor.parameter_defaults import ParameterSourceError, replace_default
from host_bridge.executor.parameters import (
    ParameterError,
    check_parameters,
    find_parameters_cell,
    inspect_parameters,
    parse_parameter,
)

_MAKERS: dict[str, Any] = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


class CellNotFoundError(NotebookError, LookupError):
    """No cell of that id."""


def find_cell(notebook: Mapping[str, Any], cell_id: str) -> int:
    """Give the index of the cell with this id.

    Raises:
        CellNotFoundError: There is none.
    """
    ids = [cell.get("id", "") for cell in notebook["cells"]]
    if cell_id in ids:
        return ids.index(cell_id)
    close = difflib.get_close_matches(cell_id, ids, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "`hermes-runtime edit NOTEBOOK cells` lists the ids"
    raise CellNotFoundError(f"the notebook has no cell {cell_id!r}; {hint}")


def parameters_cell(notebook: Mapping[str, Any]) -> NotebookNode | None:
    """Give the cell tagged `parameters`; None if none is."""
    index = find_parameters_cell(notebook)
    return None if index is None else notebook["cells"][index]


def set_parameter(notebook: NotebookNode, name: str, value: Any) -> str:
    """Set the default that the parameters cell gives a parameter; all else in the cell stays as it was written.

    Returns:
        The default's new source.

    Raises:
        ParameterError: It isn't declared, has another type, is a secret, or is declared in a way that can't be changed alone.
    """
    declared = inspect_parameters(notebook)
    lenient = {key: dataclasses.replace(parameter, required=False) for key, parameter in declared.items()}
    value = check_parameters(lenient, {name: value})[name]
    if declared[name].secret:
        raise ParameterError(
            f"parameter {name!r} is a secret: a default would be in the notebook for all to read; give it to each run",
            name=name,
        )
    cell = parameters_cell(notebook)
    assert cell is not None  # it declares `name`
    try:
        source, written = replace_default(cell.source, name, value)
    except ParameterSourceError as error:
        raise ParameterError(f"parameter {name!r}: {error}", name=name) from None
    if source != cell.source:
        _set_source(cell, source)
    return written


def set_parameter_from_text(notebook: NotebookNode, name: str, text: str) -> str:
    """Set a parameter's default from a command line's text, read as its declared type.

    Raises:
        ParameterError: As `set_parameter`, and for text that says no value of the type.
    """
    return set_parameter(notebook, name, parse_parameter(text, inspect_parameters(notebook).get(name)))


def replace_cell(notebook: NotebookNode, cell_id: str, source: str, *, cell_type: str | None = None) -> int:
    """Give a cell another source, and on request another type; its id and metadata stay.

    Returns:
        The cell's index.

    Raises:
        CellNotFoundError: There is no such cell.
        NotebookError: There is no such type.
    """
    index = find_cell(notebook, cell_id)
    cell = notebook.cells[index]
    if cell_type is not None and cell_type != cell.cell_type:
        made = _made(cell_type, source, cell_id)
        made.metadata = cell.metadata
        notebook.cells[index] = made
    elif source != cell.source:
        _set_source(cell, source)
    return index


def insert_cell(
    notebook: NotebookNode,
    source: str,
    *,
    after: str | None = None,
    before: str | None = None,
    cell_type: str = "code",
    tags: Sequence[str] = (),
    cell_id: str | None = None,
) -> str:
    """Insert a cell behind or in front of another; at the end where neither is named.

    Returns:
        The new cell's id.

    Raises:
        CellNotFoundError: The other cell doesn't exist.
        NotebookError: There is no such type, or the id is invalid or taken.
    """
    if after is not None and before is not None:
        raise NotebookError("a cell goes either after another or before one; name one of them")
    if after is not None:
        index = find_cell(notebook, after) + 1
    elif before is not None:
        index = find_cell(notebook, before)
    else:
        index = len(notebook.cells)
    taken = {cell.id for cell in notebook.cells}
    if cell_id is None:
        cell_id = new_id(cell_type, source, taken)
    elif not is_valid_id(cell_id):
        raise NotebookError(f"{cell_id!r} can't be a cell's id: up to 64 letters, digits, '-' and '_' can")
    elif cell_id in taken:
        raise NotebookError(f"the notebook has a cell {cell_id!r} already")
    cell = _made(cell_type, source, cell_id)
    if tags:
        cell.metadata["tags"] = list(tags)
    notebook.cells.insert(index, cell)
    return cell_id


def delete_cell(notebook: NotebookNode, cell_id: str) -> NotebookNode:
    """Delete a cell, and give it.

    Raises:
        CellNotFoundError: There is no such cell.
    """
    cell: NotebookNode = notebook.cells.pop(find_cell(notebook, cell_id))
    return cell


def _made(cell_type: str, source: str, cell_id: str) -> NotebookNode:
    if cell_type not in _MAKERS:
        raise NotebookError(f"{cell_type!r} is no type of cell; there are {', '.join(_MAKERS)}")
    cell: NotebookNode = _MAKERS[cell_type](source, id=cell_id)
    return cell


def _set_source(cell: NotebookNode, source: str) -> None:
    cell.source = source
    if cell.cell_type == "code":
        cell.outputs = []
        cell.execution_count = None
