"""Finds where the hunks of a V4A patch go in a file.

A hunk's place is where its context and removed lines stand, behind the hunk before it; lines are compared exactly, or, if
that finds nothing, without the white space at their ends. Where several places fit and no `@@` line says which, none is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from host_bridge.tools.line_edits import Edit, split_lines, trimmed
from host_bridge.tools.v4a import Hunk, PatchError

_MAX_PLACES = 5  # named in an error


def place_hunks(hunks: Sequence[Hunk], content: bytes) -> list[Edit]:
    """Find where the hunks go in a file.

    Returns:
        The edits, in order.

    Raises:
        PatchError: A hunk's lines aren't there, or in several places.
    """
    lines = split_lines(content)
    placing = _Placing(lines)
    edits: list[Edit] = []
    for number, hunk in enumerate(hunks, start=1):
        edits.extend(placing.edits(hunk, f"hunk {number}"))
    return [kept for edit in _ended(_joined(edits), lines) if (kept := trimmed(edit))]


class _Placing:
    """Goes through a file once, from hunk to hunk."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines
        self._texts = (_Text([line.rstrip(b"\r\n") for line in lines]), _Text([line.rstrip() for line in lines]))
        self._newline = b"\r\n" if sum(line.endswith(b"\r\n") for line in lines) * 2 > len(lines) else b"\n"
        self._at = 0

    def edits(self, hunk: Hunk, name: str) -> list[Edit]:
        for header in hunk.headers:
            self._at = self._find([header.encode()], name, f"'@@ {header}'", unique=False, strip=True) + 1
        expected = [text.encode() for kind, text in hunk.lines if kind in " -"]
        if expected:
            start = self._find(expected, name, _sketch(hunk), unique=not hunk.headers, at_end=hunk.at_end)
        else:
            start = self._at if hunk.headers and not hunk.at_end else len(self._lines)
        self._at = start + len(expected)
        return self._edits_at(start, hunk)

    def _edits_at(self, start: int, hunk: Hunk) -> list[Edit]:
        edits = []
        position = start
        for is_context, run in itertools.groupby(hunk.lines, key=lambda line: line[0] == " "):
            changes = list(run)
            if is_context:
                position += len(changes)
                continue
            count = sum(kind == "-" for kind, _ in changes)
            added = tuple(text.encode() + self._newline for kind, text in changes if kind == "+")
            edits.append(Edit(position, tuple(self._lines[position : position + count]), added))
            position += count
        return edits

    def _find(
        self, wanted: list[bytes], name: str, sketch: str, *, unique: bool, at_end: bool = False, strip: bool = False
    ) -> int:
        for text, lines in zip(self._texts, (wanted, [line.rstrip() for line in wanted]), strict=True):
            places = text.places(lines, self._at, at_end=at_end)
            if len(places) > 1 and unique:
                raise PatchError(
                    f"{name}: {sketch} fits at lines {', '.join(str(place + 1) for place in places)}: "
                    "add context, or a line '@@ ' with a line before it"
                )
            if places:
                return places[0]
        if strip:  # a header may leave out the indentation
            for place in range(self._at, len(self._lines)):
                if self._lines[place].strip() == wanted[0].strip():
                    return place
        behind = f" behind line {self._at}" if self._at else ""
        where = " at the end" if at_end else behind
        raise PatchError(f"{name}: {sketch} is not in the file{where}: read the file again and copy its lines exactly")


class _Text:
    """Lines to look for lines in."""

    def __init__(self, lines: list[bytes]) -> None:
        self._text = b"\n" + b"".join(line + b"\n" for line in lines)
        # Where each line begins in it, less the newline before.
        self._starts = [0, *itertools.accumulate(len(line) + 1 for line in lines)]

    def places(self, wanted: list[bytes], start: int, *, at_end: bool) -> list[int]:
        """Give the line indexes from `start` on where `wanted` stands; the first few."""
        needle = b"\n" + b"".join(line + b"\n" for line in wanted)
        if at_end:
            place = len(self._starts) - 1 - len(wanted)
            return [place] if place >= start and self._text.endswith(needle) else []
        places: list[int] = []
        offset = self._text.find(needle, self._starts[start])
        line, counted = start, self._starts[start]
        while offset >= 0 and len(places) < _MAX_PLACES:
            line += self._text.count(b"\n", counted, offset)
            counted = offset
            places.append(line)
            offset = self._text.find(needle, offset + 1)
        return places


def _joined(edits: Sequence[Edit]) -> list[Edit]:
    """Make one of edits that touch."""
    joined: list[Edit] = []
    for edit in edits:
        if joined and joined[-1].end == edit.start:
            before = joined.pop()
            edit = Edit(before.start, before.removed + edit.removed, before.added + edit.added)
        joined.append(edit)
    return joined


def _ended(edits: Sequence[Edit], lines: Sequence[bytes]) -> list[Edit]:
    """Keep the file's last line as it was: with or without an ending; and end the one that was last and no longer is."""
    if not edits or not lines or lines[-1].endswith(b"\n"):
        return list(edits)
    *others, last = edits
    if last.end < len(lines) or not last.added:
        return list(edits)
    added = (*last.added[:-1], last.added[-1].rstrip(b"\r\n"))
    if last.removed:
        return [*others, Edit(last.start, last.removed, added)]
    ending = last.added[-1][len(added[-1]) :]
    return [*others, Edit(last.start - 1, (lines[-1],), (lines[-1] + ending, *added))]


def _sketch(hunk: Hunk) -> str:
    first = next(text for kind, text in hunk.lines if kind in " -")
    return f"what begins with '{first[:80]}'"
