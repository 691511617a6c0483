"""Reading a notebook as plain JSON, for what needs to look at one without the two seconds nbformat takes to import."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from host_bridge.errors import HostBridgeError

Document = Mapping[str, Any]
"""A notebook of format 4: what `json.load` or nbformat gives."""


class UnreadableNotebookError(HostBridgeError, ValueError):
    """A file that is no notebook of format 4.

    Attributes:
        path: The file, empty for a notebook that wasn't read from one.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


def open_document(notebook: Document | str | os.PathLike[str]) -> Document:
    """Give a notebook's JSON, reading it if it is a path.

    Raises:
        UnreadableNotebookError: There is no such file, it isn't JSON, or it is no notebook of format 4.
    """
    if isinstance(notebook, Mapping):
        return _checked(notebook, "")
    path = os.fspath(notebook)
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UnreadableNotebookError(f"can't read the notebook {path}: {error.strerror}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableNotebookError(f"{path} is not a notebook: it isn't JSON ({error})", path=path) from None
    return _checked(document, path)


def _checked(document: Any, path: str) -> Document:
    subject = path or "this"
    if not isinstance(document, Mapping) or not isinstance(document.get("cells"), list):
        hint = ""
        if isinstance(document, Mapping) and "worksheets" in document:
            hint = "; it has format 3: convert it with `jupyter nbconvert --to notebook --nbformat 4`"
        raise UnreadableNotebookError(
            f"{subject} is not a notebook of format 4: it has no list of cells{hint}", path=path
        )
    return document


def joined(text: Any) -> str:
    """Give a text that a notebook file may hold as the list of its lines; nothing for what is no text."""
    if isinstance(text, str):
        return text
    if isinstance(text, list):
        return "".join(line for line in text if isinstance(line, str))
    return ""


def outputs(document: Document) -> Iterator[tuple[int, Mapping[str, Any], Mapping[str, Any]]]:
    """Go through all outputs as `(cell index, cell, output)`, passing over what is none."""
    for index, cell in enumerate(document["cells"]):
        found = cell.get("outputs") if isinstance(cell, Mapping) else None
        for output in found if isinstance(found, list) else ():
            if isinstance(output, Mapping):
                yield index, cell, output


def metadata_of(thing: Any) -> Mapping[str, Any]:
    """Give the metadata of a notebook, cell or output; empty where it has none."""
    found = thing.get("metadata") if isinstance(thing, Mapping) else None
    return found if isinstance(found, Mapping) else {}
