"""Pieces of HTML that results are shown with, in whatever application shows the notebook.

Everything a tool returns was written by somebody else: it is escaped, links go to web addresses only and say where, and no
character can hide or reorder what stands beside it. Applications lay tables out for numbers (text to the right, on one line),
so the few rules that text needs stand with the elements; one that takes them away shows the same words.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

MAX_SHOWN_CHARACTERS = 200
MAX_UNFOLDED_CHARACTERS = 40_000  # half of it from the beginning, half from the end: the value itself has all of it

_TEXT_CELL = ' style="text-align: left; vertical-align: top; white-space: pre-wrap; overflow-wrap: anywhere"'
_NAME_CELL = ' style="text-align: left; vertical-align: top; white-space: nowrap"'
_NUMBER_CELL = ' style="text-align: right; vertical-align: top; white-space: nowrap"'
_PRE = (
    ' tabindex="0"'  # a box that scrolls has to be reached by the keyboard too
    ' style="font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 32em; overflow: auto"'
)
_WRAPPED = ' style="overflow-wrap: anywhere"'
_MAX_NAME_CHARACTERS = 60  # a longer one, such as a path, may take several lines
_AMOUNT = re.compile(r"-|[0-9][0-9,.]*( [A-Za-z]{1,3})?")
_SHAPES_LETTERS = "\u200c\u200d"  # joiners: Persian, Hindi and many an emoji are not written without them
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def visible(text: str) -> str:
    """Give text in which nothing is hidden: control characters, direction marks and the like appear as `\\u{202e}`."""
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in _SHAPES_LETTERS:
        return character
    return " " if character.isspace() else f"\\u{{{ord(character):x}}}"


def laid_out(text: str) -> str:
    """Give what a program printed as a terminal leaves it: without colours, each line as it was last written."""
    lines = (line.removesuffix("\r").rpartition("\r")[2] for line in _ANSI.sub("", text).expandtabs().split("\n"))
    return "\n".join(map(visible, lines))


def cut(text: str, most: int = MAX_SHOWN_CHARACTERS) -> str:
    """Give text as one line, cut where it is long."""
    shown = visible(text[: most + 1])
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return " ".join(shown.split()) if "\n" in text or "\r" in text else shown


def escaped(text: str) -> str:
    """Give text as HTML, with everything in it visible."""
    return html.escape(visible(text))


def block(markup: str) -> str:
    """Give a piece of HTML a line of its own, that doesn't run out of the page."""
    return f"<div{_WRAPPED}>{markup}</div>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Give a table. Without names of columns, the first cell of a row is its heading."""
    has_names = any(columns)
    head = "".join(f'<th scope="col"{_NAME_CELL}>{html.escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cells(row, is_named=not has_names))}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if has_names else ''}<tbody>{body}</tbody></table>"


def _cells(row: Sequence[Any], *, is_named: bool) -> Iterable[str]:
    for place, value in enumerate(row):
        text = cut(_shown(value))
        if is_named and place == 0 and len(row) > 1:
            style = _NAME_CELL if len(text) <= _MAX_NAME_CHARACTERS else _TEXT_CELL
            yield f'<th scope="row"{style}>{html.escape(text)}</th>'
        else:
            style = _NUMBER_CELL if not is_named and _AMOUNT.fullmatch(text) else _TEXT_CELL
            yield f"<td{style}>{html.escape(text)}</td>"


def _shown(value: Any) -> str:
    """Give a value as a person reads it: several as a list, not as Python's tuple of them."""
    if isinstance(value, tuple):
        return "; ".join(map(_shown, value))
    return value if isinstance(value, str) else str(value)


def link(url: str, text: str) -> str:
    """Give a link if the address is one of the web, plain text otherwise: `javascript:` must not become clickable."""
    words = html.escape(cut(text or url))
    if not url.lower().startswith(("http://", "https://")):
        return words
    return f'<a href="{html.escape(url, quote=True)}" target="_blank" rel="noopener noreferrer">{words}</a>'


def details(summary: str, text: str) -> str:
    """Give text that is folded away under a summary, its middle left out where it is very long."""
    left_out = len(text) - MAX_UNFOLDED_CHARACTERS
    if left_out > 0:
        half = MAX_UNFOLDED_CHARACTERS // 2
        pieces = (laid_out(text[:half]), f"[… {left_out:,} characters not shown …]", laid_out(text[-half:]))
        body = "\n".join(pieces)
    else:
        body = laid_out(text)
    return f"<details><summary{_WRAPPED}>{escaped(summary)}</summary><pre{_PRE}>{html.escape(body)}</pre></details>"
