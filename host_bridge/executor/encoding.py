"""A notebook's JSON in pieces: what nbformat's writer gives, byte for byte, one cell at a time.

nbformat copies and encodes the whole notebook for every save, so the saves of a run of n cells cost n². Here a cell's bytes
are made when it changes, and a save only writes pieces:

    HEAD  cell  SEPARATOR  cell  …  TAIL, with metadata and format version
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring
from typing import Any

_CELL_DEPTH = 2  # a cell stands in the list of cells, which stands in the notebook; nbformat indents by one space
_TRANSIENT_NOTEBOOK_KEYS = frozenset({"orig_nbformat", "orig_nbformat_minor", "signature"})
_SPLIT_MIME_TYPES = frozenset({"application/javascript", "image/svg+xml"})


def encode_cell(cell: Mapping[str, Any]) -> bytes:
    """Give a cell as it stands in a notebook file, without the line break and indentation before it."""
    return _to_bytes(_encode(_disk_cell(cell), _CELL_DEPTH))


def join_notebook(notebook: Mapping[str, Any], cells: Iterable[bytes]) -> Iterator[bytes]:
    """Give the file's bytes, in order, from its encoded cells and all that is not a cell.

    Args:
        notebook: Its `cells` are not looked at.
        cells: One piece for each cell, from `encode_cell`.
    """
    fields = {key: value for key, value in notebook.items() if key != "cells"}
    fields["metadata"] = {
        key: value for key, value in notebook["metadata"].items() if key not in _TRANSIENT_NOTEBOOK_KEYS
    }
    before = "{"
    for key in sorted([*fields, "cells"]):
        yield f"{before}\n {encode_basestring(key)}: ".encode()
        if key == "cells":
            yield from _join_cells(cells)
        else:
            yield _to_bytes(_encode(fields[key], 1))
        before = ","
    yield b"\n}\n"  # nbformat.write ends the file's last line


def _join_cells(cells: Iterable[bytes]) -> Iterator[bytes]:
    separator = b"[\n  "
    for cell in cells:
        yield separator
        yield cell
        separator = b",\n  "
    yield b"[]" if separator.startswith(b"[") else b"\n ]"


def _disk_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Split the texts that nbformat splits into lines, and leave out what it leaves out. Copies what it changes."""
    copy = dict(cell)
    if isinstance(copy.get("source"), str):
        copy["source"] = _Lines(copy["source"])
    if copy.get("metadata", {}).keys() & {"trusted"}:
        copy["metadata"] = {key: value for key, value in copy["metadata"].items() if key != "trusted"}
    if "attachments" in copy:
        copy["attachments"] = {name: _disk_bundle(bundle) for name, bundle in copy["attachments"].items()}
    if copy.get("cell_type") == "code":
        copy["outputs"] = [_disk_output(output) for output in copy["outputs"]]
    return copy


def _disk_output(output: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = output["output_type"]
    if kind in ("execute_result", "display_data"):
        return {**output, "data": _disk_bundle(output.get("data", {}))} if "data" in output else output
    if kind == "stream" and isinstance(output["text"], str):
        return {**output, "text": _Lines(output["text"])}
    return output


def _disk_bundle(bundle: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _Lines(value) if isinstance(value, str) and _is_split(key) else value for key, value in bundle.items()}


def _is_split(mime_type: str) -> bool:
    return mime_type.startswith("text/") or mime_type in _SPLIT_MIME_TYPES


class _Lines:
    """A text that is written as the list of its lines."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _encode(value: Any, depth: int) -> str:
    """Do what `json.dumps(indent=1, sort_keys=True, ensure_ascii=False)` does, whose encoder is pure Python once it indents."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is _Lines:
        return _join("[", map(encode_basestring, value.text.splitlines(True)), "]", depth)
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, dict):
        items = (f"{_encode_key(key)}: {_encode(item, depth + 1)}" for key, item in sorted(value.items(), key=_first))
        return _join("{", items, "}", depth)
    if isinstance(value, list | tuple):
        return _join("[", [_encode(item, depth + 1) for item in value], "]", depth)
    if isinstance(value, bytes):
        return encode_basestring(value.decode("ascii"))
    return json.dumps(value, ensure_ascii=False)


def _first(item: tuple[Any, Any]) -> Any:
    return item[0]


def _encode_key(key: Any) -> str:
    if type(key) is str:
        return encode_basestring(key)
    # What json makes of a key that is no text, by asking it.
    return json.dumps({key: 0}, ensure_ascii=False)[1:-4]


def _join(opening: str, items: Iterable[str], closing: str, depth: int) -> str:
    line = "\n" + " " * (depth + 1)
    body = f",{line}".join(items)
    if not body:
        return opening + closing
    return f"{opening}{line}{body}\n{' ' * depth}{closing}"


def _to_bytes(text: str) -> bytes:
    # Half of a surrogate pair is no character and UTF-8 can't hold it: what Python calls a backslash replacement is
    # exactly JSON's escape for it, so the file stays readable and says what the text said.
    return text.encode("utf-8", "backslashreplace")
