"""What the commands write: results on standard output, remarks on standard error; text of others made harmless."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from host_bridge.policy.display import collapsed, escaped, one_line

_SHORT_CHARACTERS = 80
_MAX_SHOWN_CHARACTERS = 8192  # the longest command line the policy understands: what is asked about is shown whole


def print_json(value: Any) -> None:
    """Write a result for programs: one JSON document, two spaces of indentation, a newline."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not _speaks_utf8(), default=str))


def print_note(text: str) -> None:
    """Write a remark to standard error, where it doesn't disturb who reads the result."""
    click.echo(text, err=True)


def plain(text: str) -> str:
    """Make somebody else's text safe to show on a terminal, keeping its lines."""
    # Collapsed before it is cut, so that padding can't push anything out of sight.
    shown = "\n".join(escaped(line) for line in collapsed(text).split("\n"))
    left_out = len(shown) - _MAX_SHOWN_CHARACTERS
    return shown if left_out <= 0 else f"{shown[:_MAX_SHOWN_CHARACTERS]}… ({left_out} more characters)"


def table(rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out in columns as wide as their widest cell."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def short(value: Any) -> str:
    """Give a value in the room of a table's cell."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return f"({counted(len(value), 'row')})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHORT_CHARACTERS else f"{text[: _SHORT_CHARACTERS - 1]}…"


def counted(count: int, noun: str) -> str:
    """Spell a number of things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def indented(text: str) -> str:
    """Give text two spaces in."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
