"""What the commands write: results on standard output, everything else on standard error; text of others made harmless."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import click

_LONGEST_RUN_OF_SPACES = 8
_KEPT_CONTROLS = {"\n", "\t"}


def print_json(value: Any) -> None:
    """Write a result for programs: one JSON document, two spaces of indentation, a newline."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not _speaks_utf8(), default=str))


def print_note(text: str) -> None:
    """Write a remark to standard error, where it doesn't disturb who reads the result."""
    click.echo(text, err=True)


def plain(text: str, *, limit: int = 2000) -> str:
    """Make somebody else's text safe to show on a terminal.

    Control, format (bidirectional marks, zero-width letters) and unassigned characters become visible escapes, long runs of
    blanks become a count, and what is cut off is counted: nothing in it can move the cursor or hide behind a margin.
    """
    pieces = []
    run = 0
    for character in text:
        if character == " ":
            run += 1
            continue
        pieces.append(_blanks(run))
        run = 0
        pieces.append(character if _is_harmless(character) else _escaped(character))
    pieces.append(_blanks(run))
    shown = "".join(pieces)
    return shown if len(shown) <= limit else f"{shown[:limit]}… ({len(shown) - limit} more characters)"


def one_line(text: str, *, limit: int = 200) -> str:
    """Make somebody else's text safe to show within a line."""
    return plain(text, limit=limit).replace("\n", "\\n").replace("\t", "\\t")


def _blanks(count: int) -> str:
    return " " * count if count <= _LONGEST_RUN_OF_SPACES else f" ⟨{count} spaces⟩ "


def _is_harmless(character: str) -> bool:
    # C*: controls, formats, surrogates, private use, unassigned. Zl, Zp, Zs: line breaks and blanks that aren't a space.
    return character in _KEPT_CONTROLS or unicodedata.category(character) not in {
        "Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs",
    }  # fmt: skip


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii") if character != "\xa0" else "\\xa0"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out in columns as wide as their widest cell."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
