"""Reading and writing whole notebooks: validated both ways, upgraded when read, replaced in one step when written.

A notebook remembers the file it was read from, and is not written over what somebody else wrote there meanwhile.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import nbformat
from nbformat import NotebookNode

from host_bridge.errors import NotebookError
from host_bridge.executor.cell_ids import normalise_ids
from host_bridge.executor.origin import Origin, check_unchanged, folder_lock, origin_of, remember, text_digest
from host_bridge.executor.reading import is_remote, read_text
from host_bridge.executor.saving import write_notebook_file


def read_notebook(path: str | os.PathLike[str]) -> NotebookNode:
    """Read a notebook as format 4, in its newest minor version. Cells without an id of their own get one.

    What that changed is told by `origin.origin_of(notebook).changes`.

    Raises:
        NotebookError: It can't be read, isn't JSON, or isn't a valid notebook.
    """
    path = os.fspath(path)
    text = read_text(path)
    notebook = parse_notebook(text, path)
    if not is_remote(path):
        changes = origin_of(notebook).changes
        remember(notebook, Origin(os.path.realpath(path), text_digest(text), changes))
    return notebook


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
            version = nbformat.reader.get_version(notebook)
            notebook = nbformat.convert(notebook, 4)
            notebook = nbformat.v4.upgrade(notebook) or notebook
            count = normalise_ids(notebook, have_none=version < (4, 5))
            nbformat.validate(notebook)
    except nbformat.reader.NotJSONError:
        raise NotebookError(f"{name} is not a notebook: it isn't JSON", path=path) from None
    except nbformat.ValidationError as error:
        raise NotebookError(f"{name} is not a valid notebook: {_first_line(error)}", path=path) from None
    except Exception as error:  # nbformat's readers expect a notebook and stumble over anything else
        raise NotebookError(f"{name} is not a notebook: {_first_line(error)}", path=path) from None
    node: NotebookNode = nbformat.from_dict(notebook)  # format 3 has another class for its nodes
    remember(node, Origin(changes=_changes(version, count)))
    return node


def _changes(version: tuple[int, int], count: int) -> tuple[str, ...]:
    newest = (nbformat.v4.nbformat, nbformat.v4.nbformat_minor)
    if version < newest:
        old, new = (".".join(map(str, number)) for number in (version, newest))
        return (f"upgraded from format {old} to {new}",)
    return (f"gave {count} cell{'s' if count > 1 else ''} an id of their own",) if count else ()


def write_notebook(notebook: dict[str, Any], path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a notebook: the bytes nbformat writes, replacing the file in one step.

    A notebook that is written where it was read from is written over what was read, and nothing else.

    Args:
        notebook: The notebook.
        path: Where to.
        force: Write also over what somebody else has written there since.

    Raises:
        NotebookError: It isn't valid; the file is as it was.
        StaleNotebookError: The file has changed since the notebook was read; it is as somebody else left it.
        OutputError: It can't be written.
    """
    check_notebook(notebook)
    path = os.fspath(path)
    origin = origin_of(notebook)
    if os.path.realpath(path) != origin.path:
        write_notebook_file(notebook, path)
        return
    with folder_lock(origin.path):
        if not force:
            check_unchanged(origin)
        write_notebook_file(notebook, path)
        remember(notebook, Origin(origin.path, text_digest(read_text(origin.path))))


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
