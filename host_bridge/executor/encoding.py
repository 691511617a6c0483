"""A notebook's JSON in pieces: what nbformat's writer gives, byte for byte, one cell at a time.

nbformat copies and encodes the whole notebook for every save, so the saves of a run of n cells cost n². Here a cell's bytes
are made when it changes, and a save only writes pieces:

    HEAD  cell  SEPARATOR  cell  …  TAIL, with metadata and format version
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

_CELL_DEPTH = 2  # a cell stands in the list of cells, which stands in the notebook; nbformat indents by one space
_SLAB_CHARACTERS = 2**20
_TRANSIENT_NOTEBOOK_KEYS = frozenset({"orig_nbformat", "orig_nbformat_minor", "signature"})
_SPLIT_MIME_TYPES = frozenset({"application/javascript", "image/svg+xml"})


Piece = tuple[bytes, ...]
"""An encoded cell: its bytes, in order. A large one is several, so that encoding it doesn't take its size twice."""


def encode_cell(cell: Mapping[str, Any]) -> Piece:
    """Give a cell as it stands in a notebook file, without the line break and indentation before it."""
    writer = _Writer()
    writer.write(_disk_cell(cell), _CELL_DEPTH)
    return writer.finish()


def join_notebook(notebook: Mapping[str, Any], cells: Iterable[Piece]) -> Iterator[bytes]:
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
            writer = _Writer()
            writer.write(fields[key], 1)
            yield from writer.finish()
        before = ","
    yield b"\n}\n"  # nbformat.write ends the file's last line


def _join_cells(cells: Iterable[Piece]) -> Iterator[bytes]:
    separator = b"[\n  "
    for piece in cells:
        yield separator
        yield from piece
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


class _Writer:
    """Does what `json.dumps(indent=1, sort_keys=True, ensure_ascii=False)` does, in pure Python once it indents."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._done: list[bytes] = []

    def finish(self) -> Piece:
        """Give what was written."""
        self._flush()
        return tuple(self._done)

    def write(self, value: Any, depth: int) -> None:
        """Write a value whose line is indented by `depth`."""
        kind = type(value)
        if kind is str:
            self._texts.append(encode_basestring(value))
        elif kind is _Lines:
            self._write_lines(value.text, depth)
        elif value is None or kind is bool:
            self._texts.append("null" if value is None else "true" if value else "false")
        elif isinstance(value, dict):
            self._write_mapping(value, depth)
        elif isinstance(value, list | tuple):
            self._write_sequence(value, depth)
        elif isinstance(value, bytes):
            self._texts.append(encode_basestring(value.decode("ascii")))
        else:
            self._texts.append(json.dumps(value, ensure_ascii=False))

    def _write_mapping(self, mapping: dict[Any, Any], depth: int) -> None:
        before, line = "{", _line(depth + 1)
        for key, value in sorted(mapping.items(), key=_first):
            self._texts.append(f"{before}{line}{_encode_key(key)}: ")
            self.write(value, depth + 1)
            before = ","
        self._texts.append("{}" if before == "{" else f"{_line(depth)}}}")

    def _write_sequence(self, sequence: Sequence[Any], depth: int) -> None:
        before, line = "[", _line(depth + 1)
        for value in sequence:
            self._texts.append(before + line)
            self.write(value, depth + 1)
            before = ","
        self._texts.append("[]" if before == "[" else f"{_line(depth)}]")

    def _write_lines(self, text: str, depth: int) -> None:
        before, line = "[", _line(depth + 1)
        for slab in _slabs(text):
            self._texts.append(before + line)
            self._texts.append(f",{line}".join(map(encode_basestring, slab.splitlines(True))))
            if len(slab) >= _SLAB_CHARACTERS:
                self._flush()
            before = ","
        self._texts.append("[]" if before == "[" else f"{_line(depth)}]")

    def _flush(self) -> None:
        # Half of a surrogate pair is no character and UTF-8 can't hold it: what Python calls a backslash replacement is
        # exactly JSON's escape for it, so the file stays readable and says what the text said.
        self._done.append("".join(self._texts).encode("utf-8", "backslashreplace"))
        self._texts.clear()


def _slabs(text: str) -> Iterator[str]:
    """Give a text in parts that end with a line, so that splitting the parts into lines splits the text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _SLAB_CHARACTERS) + 1 or len(text)
        yield text[start:end]
        start = end


def _line(depth: int) -> str:
    return "\n" + " " * depth


def _first(item: tuple[Any, Any]) -> Any:
    return item[0]


def _encode_key(key: Any) -> str:
    if type(key) is str:
        return encode_basestring(key)
    # What json makes of a key that is no text, by asking it.
    return json.dumps({key: 0}, ensure_ascii=False)[1:-4]
