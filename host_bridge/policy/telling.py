"""Which of a call's arguments tell a person most, for where there is room for a line: what it runs, reads, writes or reaches.

Only ever beside a place where all of them can be seen: a decision is made on the whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TELLING = ("command", "method", "url", "path", "urls", "query", "pattern", "action", "session_id")


def telling(arguments: Mapping[str, Any]) -> str:
    """Give the values that say most; all arguments with their names where none of these is among them."""
    told = [_word(arguments[name]) for name in _TELLING if arguments.get(name) not in (None, "", [])]
    return " ".join(told) or ", ".join(f"{name}={_word(value)}" for name, value in arguments.items())


def told_call(tool: str, arguments: str) -> str:
    """Give a call in a line.

    Args:
        tool: The tool.
        arguments: As JSON, which may have been written by anybody.
    """
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        given = None
    return f"{tool} {telling(given) if isinstance(given, dict) else arguments}".rstrip()


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_word, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
