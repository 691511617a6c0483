"""Finds a text that every match of a regular expression contains, to leave out files that can't match without reading lines."""

from __future__ import annotations

import re

_FLAGS = re.compile(r"\(\?[aLimsux-]+[:)]")
_WITH_DIGITS = frozenset("xuUN0123456789")  # escapes that take characters behind them in
_QUANTIFIERS = frozenset("?*+{")


def required_text(pattern: str) -> str:
    """Give the longest such text that is easily found; empty where there is none.

    Only what stands outside of all groups and classes counts, and only in patterns without alternatives there and without
    flags: anything else could match without it.
    """
    if _FLAGS.search(pattern):
        return ""
    runs = [""]
    position = depth = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        literal = ""
        if character == "[":
            position = _behind_class(pattern, position)
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "|" and depth == 0:
            return ""
        elif character == "{":
            position = max(position, pattern.find("}", position) + 1)
        elif character == "\\":
            escaped = pattern[position : position + 1]
            if escaped in _WITH_DIGITS:
                return ""
            position += 1
            literal = "" if escaped.isalnum() else escaped
        elif character not in ".^$*+?{}|":
            literal = character
        if depth == 0 and literal and pattern[position : position + 1] not in _QUANTIFIERS:
            runs[-1] += literal
        else:
            runs.append("")
    return max(runs, key=len)


def _behind_class(pattern: str, position: int) -> int:
    if pattern[position : position + 1] == "^":
        position += 1
    if pattern[position : position + 1] == "]":
        position += 1  # in the first place it is a member
    while position < len(pattern) and pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return position + 1
