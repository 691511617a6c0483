"""Text for a pull request: what notebooks hold is quoted so that it can't be anything but text there.

A notebook's words could otherwise close a table, mention people, or hide a line; and who reads a pull request decides by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from host_bridge.policy.display import escaped, one_line

MAX_BODY_CHARACTERS = 60_000  # GitHub takes 65,536; the others more
_MAX_CELL_CHARACTERS = 200
_BACKTICKS = re.compile("`+")


def code(text: str, limit: int = _MAX_CELL_CHARACTERS) -> str:
    """Give text as code within a line; it can stand in a table."""
    shown = one_line(text, limit).replace("|", "¦").strip()
    return f"{_fence(shown, 1)} {shown} {_fence(shown, 1)}" if "`" in shown else f"`{shown or ' '}`"


def block(text: str, language: str = "", *, limit: int = 4_000) -> str:
    """Give text as a block of code."""
    shown = "\n".join(escaped(line) for line in text[:limit].replace("\t", "    ").split("\n"))
    if len(text) > limit:
        shown += f"\n… ({len(text) - limit} more characters)"
    fence = _fence(shown, 3)
    return f"{fence}{language}\n{shown}\n{fence}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table; the cells are markdown that is safe already."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def cut(text: str) -> str:
    """Give a text that forges take."""
    if len(text) <= MAX_BODY_CHARACTERS:
        return text
    return f"{text[:MAX_BODY_CHARACTERS]}\n\n… (cut: {len(text) - MAX_BODY_CHARACTERS} more characters)"


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    return "`" * max(least, longest + 1)
