"""Reading and writing whole notebooks: validated both ways, upgraded when read, replaced in one step when written."""

from __future__ import annotations

import os
import warnings
from typing import Any

import nbformat
from nbformat import NotebookNode

from host_bridge.errors import NotebookError
from host_bridge.executor.reading import read_text
from host_bridge.executor.saving import write_notebook_file


def read_notebook(path: str | os.PathLike[str]) -> NotebookNode:
    """Read a notebook as format 4, in its newest minor version. Cells without an id get one.

    Raises:
        NotebookError: It can't be read, isn't JSON, or isn't a valid notebook.
    """
    path = os.fspath(path)
    return parse_notebook(read_text(path), path)


def parse_notebook(text: str, path: str = "") -> NotebookNode:
    """Read a notebook's text, as `read_notebook` does.

    Raises:
        NotebookError: It isn't JSON, or isn't a valid notebook.
    """
    name = path or "the notebook"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about ids that are missing or double: they are put right here
            notebook = nbformat.reader.reads(text)
            notebook = nbformat.convert(notebook, 4)
            notebook = nbformat.v4.upgrade(notebook) or notebook
            nbformat.validate(notebook)
    except nbformat.reader.NotJSONError:
        raise NotebookError(f"{name} is not a notebook: it isn't JSON", path=path) from None
    except nbformat.ValidationError as error:
        raise NotebookError(f"{name} is not a valid notebook: {_first_line(error)}", path=path) from None
    except Exception as error:  # nbformat's readers expect a notebook and stumble over anything else
        raise NotebookError(f"{name} is not a notebook: {_first_line(error)}", path=path) from None
    node: NotebookNode = nbformat.from_dict(notebook)  # format 3 has another class for its nodes
    return node


def write_notebook(notebook: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a notebook: the bytes nbformat writes, replacing the file in one step.

    Raises:
        NotebookError: It isn't valid; the file is as it was.
        OutputError: It can't be written.
    """
    check_notebook(notebook)
    write_notebook_file(notebook, os.fspath(path))


def check_notebook(notebook: dict[str, Any]) -> None:
    """Check a notebook against its format.

    Raises:
        NotebookError: It isn't valid.
    """
    try:
        _check_ids(notebook)
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise NotebookError(f"not a valid notebook: {_first_line(error)}") from None
    except NotebookError:
        raise
    except Exception as error:
        raise NotebookError(f"not a notebook: {_first_line(error)}") from None


def _check_ids(notebook: dict[str, Any]) -> None:
    """nbformat gives ids to cells that have none, in place, and warns; here a missing one is not valid."""
    if (notebook["nbformat"], notebook["nbformat_minor"]) < (4, 5):
        return
    seen = set()
    for index, cell in enumerate(notebook["cells"]):
        if "id" not in cell:
            raise NotebookError(f"not a valid notebook: cell {index} has no id", cell_index=index)
        if cell["id"] in seen:
            raise NotebookError(
                f"not a valid notebook: cell {index} has the id of another, {cell['id']!r}", cell_index=index
            )
        seen.add(cell["id"])


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
