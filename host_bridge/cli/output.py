"""What the commands write: results on standard output, remarks on standard error; text of others made harmless."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import click

from host_bridge.policy.display import collapsed, escaped, one_line

_SHORT_CHARACTERS = 80
_LEAST_WIDTH = 16  # a column below that says nothing any more: rather let the terminal wrap
_MAX_SHOWN_CHARACTERS = 8192  # the longest command line the policy understands: what is asked about is shown whole


def print_json(value: Any) -> None:
    """Write a result for programs: one JSON document, two spaces of indentation, a newline."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=not _speaks_utf8(), default=str))


def write_page(path: str, text: str) -> None:
    """Write a page that only its user can read, since it holds what notebooks and tapes hold; `-` is standard output.

    The file often has a name of ours, in a folder that a kernel may write: no link is followed, and no pipe waited for.

    Raises:
        click.UsageError: There is a link.
        OSError: Nothing can be written there.
    """
    if path == "-":
        click.echo(text, nl=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise click.UsageError(f"{path} is a link, and no page is written through one; name another file") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)


def print_note(text: str) -> None:
    """Write a remark to standard error, where it doesn't disturb who reads the result."""
    click.echo(text, err=True)


def plain(text: str) -> str:
    """Make somebody else's text safe to show on a terminal, keeping its lines."""
    # Collapsed before it is cut, so that padding can't push anything out of sight.
    shown = "\n".join(escaped(line) for line in collapsed(text).split("\n"))
    left_out = len(shown) - _MAX_SHOWN_CHARACTERS
    return shown if left_out <= 0 else f"{shown[:_MAX_SHOWN_CHARACTERS]}… ({left_out} more characters)"


def table(rows: Iterable[Sequence[str]], *, gives_way: int | None = None, margin: int = 0) -> str:
    """Lay rows out in columns as wide as their widest cell.

    Args:
        rows: Texts.
        gives_way: The column that is cut in its middle where a terminal has no room for all of it. For overviews only: what
            somebody decides on is never cut.
        margin: How far in the table will stand.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    room = terminal_width()
    if gives_way is not None and room is not None:
        others = sum(widths) - widths[gives_way] + 2 * (len(widths) - 1)
        widths[gives_way] = min(widths[gives_way], max(_LEAST_WIDTH, room - margin - others))
        for row in cells:
            row[gives_way] = shortened(row[gives_way], widths[gives_way])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def terminal_width() -> int | None:
    """Give how many columns the terminal has that the result goes to; None where it goes elsewhere, to be read whole."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def shortened(text: str, width: int) -> str:
    """Give text of a width, without its middle: the ends of a path and of a command say most."""
    if len(text) <= width:
        return text
    head = width // 2
    return f"{text[:head]}…{text[len(text) - (width - head - 1) :]}"


def hanging(first: str, text: str) -> str:
    """Give text behind a beginning; on a terminal its further lines stand below its own first one.

    Args:
        first: The beginning, without what colours it.
        text: The text.
    """
    room = terminal_width()
    if room is None or room - len(first) < _LEAST_WIDTH:
        return text
    width = room - len(first)
    pieces = (textwrap.wrap(line, width, break_on_hyphens=False, break_long_words=False) for line in text.splitlines())
    return f"\n{'':{len(first)}}".join(piece for lines in pieces for piece in lines)


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
