"""Taking secrets out of a notebook: whatever a cell printed of them is replaced by `[secret NAME]`.

Found are the value itself and the spellings it gets on its way into an output: Python's `repr`, JSON's and HTML's escapes, a
URL's. Not found is what code made of it deliberately (reversed, encoded, one character per line): a cell that has a secret can
always give it away, so this is a net for accidents, not a wall.
"""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

_MIN_SUBSTRING = 4
"""Shorter secrets are only replaced where they are a whole word: "42" within "1942" is no leak, and texts would be ruined."""

_MIN_LINE = 8  # of a secret of several lines, such as a key, lines of this length are replaced by themselves as well

# What the format says and no cell can: replacing a word in them would break the notebook.
_STRUCTURE = frozenset({"cell_type", "output_type", "nbformat", "nbformat_minor", "execution_count", "id"})
_OUTPUT_STRUCTURE = _STRUCTURE | {"name"}  # a stream's


class Redactor:
    """Replaces secrets by their names. Made once for a run, since it compiles what it looks for.

    Attributes:
        longest: How long the longest spelling of a secret is, so how much of a text may be the beginning of one; 0 where there
            are no secrets.
    """

    def __init__(self, secrets: Mapping[str, Any]) -> None:
        self._names: dict[str, str] = {}
        self._numbers: dict[float, str] = {}
        for name, value in secrets.items():
            for text in _texts_of(value):
                for spelling in _spellings(text):
                    self._names.setdefault(spelling, name)
            for number in _numbers_of(value):
                self._numbers.setdefault(number, name)
        # The longest first, so that a secret containing another is replaced whole.
        ordered = sorted(self._names, key=len, reverse=True)
        self.longest = len(ordered[0]) if ordered else 0
        self._pattern = re.compile("|".join(map(_as_pattern, ordered))) if ordered else None

    def __bool__(self) -> bool:
        return self._pattern is not None or bool(self._numbers)

    def redact(self, text: str) -> str:
        """Give a text without secrets: a log line, an error message."""
        return self._replace(text)[0]

    def value(self, value: Any) -> Any:
        """Give plain data (what JSON can say) without secrets, keys included."""
        return self._value(value)[0]

    def notebook(self, notebook: MutableMapping[str, Any]) -> int:
        """Replace secrets everywhere in a notebook, in place.

        Returns:
            How many places were changed.
        """
        if not self:
            return 0
        changes = 0
        cells = notebook.get("cells")
        for cell in cells if isinstance(cells, list) else ():
            changes += self.cell(cell)
        for key in notebook:
            if key != "cells" and key not in _STRUCTURE:
                notebook[key], count = self._value(notebook[key])
                changes += count
        return changes

    def cell(self, cell: MutableMapping[str, Any]) -> int:
        """Replace secrets in one cell, in place.

        Returns:
            How many places were changed.
        """
        if not self:
            return 0
        changes = 0
        outputs = cell.get("outputs")
        if isinstance(outputs, list):
            changes += self._outputs(outputs)
        for key in cell:
            if key != "outputs" and key not in _STRUCTURE:
                cell[key], count = self._value(cell[key])
                changes += count
        return changes

    def _outputs(self, outputs: list[Any]) -> int:
        changes = self._join_split_streams(outputs)
        for output in outputs:
            for key in output:
                if key not in _OUTPUT_STRUCTURE or (key == "name" and output.get("output_type") != "stream"):
                    output[key], count = self._value(output[key])
                    changes += count
        return changes

    def _join_split_streams(self, outputs: list[Any]) -> int:
        """Join a stream's neighbouring pieces where a secret lies across them: a flush may come anywhere."""
        joins = 0
        start = 0
        while start < len(outputs):
            end = start + 1
            while end < len(outputs) and _same_stream(outputs[start], outputs[end]):
                end += 1
            texts = [_stream_text(output) for output in outputs[start:end]]
            if self.redact("".join(texts)) != "".join(map(self.redact, texts)):
                outputs[start]["text"] = "".join(texts)
                del outputs[start + 1 : end]
                joins += 1
                end = start + 1
            start = end
        return joins

    def _value(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, str):
            return self._replace(value)
        if isinstance(value, bool) or value is None:
            return value, 0
        if isinstance(value, int | float):
            name = self._numbers.get(value)
            return (value, 0) if name is None else (_mark(name), 1)
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, list):
            return self._list(value)
        return value, 0

    def _mapping(self, value: dict[str, Any]) -> tuple[Any, int]:
        changes = 0
        for key in list(value):
            value[key], count = self._value(value[key])
            changes += count
            clean, renamed = self._replace(key) if isinstance(key, str) else (key, 0)
            if renamed:
                value[clean] = value.pop(key)
                changes += renamed
        return value, changes

    def _list(self, value: list[Any]) -> tuple[Any, int]:
        if _is_split_text(value):
            # A secret of several lines lies across them.
            joined, count = self._replace("".join(value))
            return (joined.splitlines(keepends=True), count) if count else (value, 0)
        changes = 0
        for index, item in enumerate(value):
            value[index], count = self._value(item)
            changes += count
        return value, changes

    def _replace(self, text: str) -> tuple[str, int]:
        if self._pattern is None:
            return text, 0
        return self._pattern.subn(lambda match: _mark(self._names[match.group()]), text)


def redact(notebook: MutableMapping[str, Any], secret_values: Mapping[str, Any]) -> int:
    """Replace every literal occurrence of secrets in a notebook by `[secret NAME]`, in place.

    Sources, outputs, tracebacks, attachments and metadata are looked at, keys as well as values.

    Args:
        notebook: What `json.load` or nbformat gives.
        secret_values: The values by parameter name; of lists and dicts, every text and number within.

    Returns:
        How many places were changed.
    """
    return Redactor(secret_values).notebook(notebook)


def _mark(name: str) -> str:
    return f"[secret {name}]"


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | bytearray):
        yield repr(bytes(value))[2:-1]
        yield bytes(value).decode("utf-8", "replace")
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_of(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts_of(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _numbers_of(value: Any) -> Iterator[int | float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers_of(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _numbers_of(item)


def _spellings(text: str) -> Iterator[str]:
    pieces: Iterable[str] = [text]
    lines = text.splitlines()
    if len(lines) > 1:
        pieces = [text, *(line for line in lines if len(line) >= _MIN_LINE)]
    for piece in filter(str.strip, pieces):
        yield from (
            piece,
            piece.replace("\n", "\r\n"),
            repr(piece)[1:-1],
            json.dumps(piece)[1:-1],
            json.dumps(piece, ensure_ascii=False)[1:-1],
            html.escape(piece),
            html.escape(piece, quote=False),
            urllib.parse.quote(piece, safe="", errors="replace"),
            urllib.parse.quote_plus(piece, errors="replace"),
        )


def _as_pattern(text: str) -> str:
    if len(text) >= _MIN_SUBSTRING:
        return re.escape(text)
    return rf"(?<!\w){re.escape(text)}(?!\w)"


def _is_split_text(value: list[Any]) -> bool:
    """Whether a list is a text by its lines, as notebook files hold texts."""
    return (
        len(value) > 1
        and all(isinstance(item, str) for item in value)
        and all(item.endswith("\n") for item in value[:-1])
    )


def _same_stream(left: Any, right: Any) -> bool:
    kinds = {left.get("output_type"), right.get("output_type")}
    return kinds == {"stream"} and left.get("name") == right.get("name") is not None


def _stream_text(output: Mapping[str, Any]) -> str:
    text = output.get("text")
    return "".join(text) if isinstance(text, list) else str(text or "")
