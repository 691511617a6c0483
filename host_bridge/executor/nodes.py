"""Outputs as the notebook format has them, from what a kernel says they are.

nbformat's own constructor checks each output against the whole schema, at about a millisecond; a kernel sends thousands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import nbformat
from nbformat import NotebookNode

# The format's own pattern for what may hold any JSON; everything else is text, or a list of texts.
_JSON_MIME_TYPE = re.compile(r"^application/(.*\+)?json$")


def output_node(kind: str, content: Mapping[str, Any]) -> NotebookNode:
    """Make the output that a message describes.

    Raises:
        ValueError: It describes none that a notebook could hold.
    """
    maker = _MAKERS.get(kind)
    if maker is None:
        raise ValueError(f"{kind} is no output")
    return maker(content)


def _display(content: Mapping[str, Any]) -> NotebookNode:
    data, metadata = content.get("data"), content.get("metadata", {})
    if not isinstance(data, dict) or not isinstance(metadata, dict):
        raise ValueError("a display without data or metadata")
    for mime_type, value in data.items():
        if not _is_text(value) and not _JSON_MIME_TYPE.search(mime_type):
            raise ValueError(f"{mime_type} is no text")
    return _node(output_type="display_data", data=data, metadata=metadata)


def _result(content: Mapping[str, Any]) -> NotebookNode:
    node = _display(content)
    count = content.get("execution_count")
    node["output_type"] = "execute_result"
    node["execution_count"] = count if is_execution_count(count) else None
    return node


def _stream(content: Mapping[str, Any]) -> NotebookNode:
    return _node(output_type="stream", name=_text(content, "name"), text=_text(content, "text"))


def _error(content: Mapping[str, Any]) -> NotebookNode:
    lines = content.get("traceback", [])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError("a traceback that is no list of lines")
    return _node(output_type="error", ename=_text(content, "ename"), evalue=_text(content, "evalue"), traceback=lines)


_MAKERS = {"display_data": _display, "execute_result": _result, "stream": _stream, "error": _error}


def is_execution_count(value: Any) -> bool:
    """Whether a number may stand before a cell."""
    return type(value) is int and 0 <= value < 2**53  # what a JavaScript reader keeps exactly


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")
    return value


def _node(**fields: Any) -> NotebookNode:
    node: NotebookNode = nbformat.from_dict(fields)
    return node
