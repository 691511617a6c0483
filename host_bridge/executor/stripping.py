"""Taking out of a notebook what running it put in, so that a repository holds what somebody wrote, and a rerun is no change.

nbstripout takes the outputs; cells it keeps them for (`keep_output`) keep them. Here goes the rest of what a run leaves:
records of papermill and ours with paths, parameters and times, the cell of injected parameters, what a kernel says of its
language.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from nbformat import NotebookNode

from host_bridge.errors import NotebookError

_INJECTED = "injected-parameters"
_EXTRA_KEYS = [
    "metadata.papermill",
    "metadata.hermes.run",
    "metadata.signature",
    "metadata.widgets",
    "cell.metadata.papermill",
    "cell.metadata.execution",
    "cell.metadata.ExecuteTime",
    "cell.metadata.hermes.state",
]


def strip_text(text: str, name: str = "standard input") -> str:
    """Strip a notebook's text, in the spelling that nbformat has for it; its format's version stays.

    Raises:
        NotebookError: It is no notebook. Nothing may pass for stripped that isn't.
    """
    import nbformat
    from nbformat import reader

    try:
        notebook = reader.reads(text)
        major, _ = reader.get_version(notebook)
        strip_notebook(notebook)
        stripped: str = nbformat.versions[major].writes_json(notebook)
    except Exception as error:  # nbformat's and nbstripout's, for whatever isn't as they expect
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotebookError(f"{name} is not a notebook that could be stripped: {first}", path=name) from None
    return stripped if stripped.endswith("\n") else stripped + "\n"


def strip_notebook(notebook: NotebookNode) -> None:
    """Strip a notebook in place."""
    from nbstripout import strip_output

    strip_output(
        notebook,
        keep_output=False,
        keep_count=True,  # a kept output without its number passes for one of a cell that never ran
        keep_id=True,
        extra_keys=_EXTRA_KEYS,
        drop_tagged_cells=[_INJECTED],
    )
    _drop_empty(notebook.metadata, "hermes")
    _strip_language(notebook.metadata)
    for number, cell in enumerate(notebook.get("cells", []), start=1):
        _drop_empty(cell.get("metadata", {}), "hermes")
        _drop_empty(cell.get("metadata", {}), "tags")  # papermill gives each cell a list of them
        if "execution_count" in cell:
            _number(cell, number)


def _drop_empty(metadata: MutableMapping[str, Any], key: str) -> None:
    if metadata.get(key) in ({}, []):
        del metadata[key]


def _strip_language(metadata: MutableMapping[str, Any]) -> None:
    """A run writes what its kernel says of its language, version and all; the kernel's name says what matters of it."""
    language = metadata.get("language_info")
    name = language.get("name") if isinstance(language, Mapping) else None
    if name in (None, "python") or "kernelspec" in metadata:
        metadata.pop("language_info", None)
    else:
        metadata["language_info"] = NotebookNode(name=name)


def _number(cell: NotebookNode, number: int) -> None:
    """Number a cell that keeps outputs by its place, which no rerun changes."""
    has_run = bool(cell.get("outputs")) and cell["execution_count"] is not None
    cell["execution_count"] = number if has_run else None
    for output in cell.get("outputs", []):
        if "execution_count" in output:
            output["execution_count"] = cell["execution_count"]
