"""A block of lines of ours in somebody else's text file: put in, found again, and taken out so that the rest is as it was."""

from __future__ import annotations

import re

_BEGIN = "# >>> hermes-runtime"
_END = "# <<< hermes-runtime"
_JOINED = ", the line above had no end"
_BLOCK = re.compile(
    rf"(?P<indent>[ ]*){re.escape(_BEGIN)}(?P<note>[^\n]*)\n(?P<body>.*?)^[ ]*{re.escape(_END)}[^\n]*\n",
    re.DOTALL | re.MULTILINE,
)
_NOTE = ": written by `hermes-runtime init-repo`, taken out by its --remove"


def find_block(text: str) -> str | None:
    """Give the lines of our block; None if the text has none."""
    match = _BLOCK.search(text)
    return match["body"] if match else None


def put_block(text: str, body: str, *, indent: str = "") -> str:
    """Put our block at the end of a text, or in the place of the one it has."""
    note = _NOTE
    present = _BLOCK.search(text)
    if present is not None:
        note, indent = present["note"], present["indent"]
    elif text and not text.endswith("\n"):
        text, note = text + "\n", note + _JOINED
    block = f"{indent}{_BEGIN}{note}\n{body}{indent}{_END}\n"
    if present is not None:
        return text[: present.start()] + block + text[present.end() :]
    return text + block


def take_block(text: str) -> str:
    """Take our block out."""
    match = _BLOCK.search(text)
    if match is None:
        return text
    before = text[: match.start()]
    if match["note"].endswith(_JOINED):
        before = before.removesuffix("\n")
    return before + text[match.end() :]
