"""Why a setting doesn't have its declared shape, in the words of the file it stands in: `[tools.terminal] timeout_seconds`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_PLACE = re.compile(r" - at `(?:key` in `)?\$\.?(?P<field>[^`]*)`\Z")
_NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_OPTIONAL = re.compile(r"\A(Expected `[^`]*?) \| null(?=[` ])")  # TOML has no null: to leave a key out is that
_TOML_WORDS = (
    ("must be a dict", "must be a table"),
    ("or a dict", "or a table"),
    (", not a dict", ", not a table"),
    ("must be True or False", "must be true or false"),
    (", not a bool", ", not true or false"),
)


def misfit(error: msgspec.ValidationError, kind: Any, table: str = "") -> tuple[str, str]:
    """Say what of some settings doesn't fit.

    Args:
        error: What `msgspec.convert` raised.
        kind: The declared shape.
        table: The name of the table that has this shape; empty for the whole file.

    Returns:
        The dotted key at fault, and a clause: `[tools.terminal] timeout_seconds must be a number, not text`.
    """
    field = place_of(error)
    clause = in_words(error, kind)
    named = _NAMED.fullmatch(_PLACE.sub("", str(error)))
    key = ".".join(filter(None, (table, field, named["name"] if named else "")))
    if named and "missing" in clause:
        return key, clause.replace(f"`{_joined(field, named['name'])}`", spelled(key), 1)
    place = _joined(table, field)
    if field:
        return key, clause.replace(f"`{field}`", f"[{place}]" if named else spelled(place), 1)
    if named and table:
        head, name, rest = clause.partition(f"`{named['name']}`")
        return key, f"{head}{name} in [{table}]{rest}" if name else clause
    return key, clause if named or not table else clause.replace("it ", f"[{table}] ", 1)


def place_of(error: msgspec.ValidationError) -> str:
    """Give the dotted place that doesn't fit; empty for the whole."""
    place = _PLACE.search(str(error))
    return place["field"] if place else ""


def in_words(error: msgspec.ValidationError, kind: Any) -> str:
    """Say in a clause what doesn't fit, in the words of TOML."""
    from hermes_protocol.misfits import explain  # no start waits for what only a mistake needs

    clause = explain(msgspec.ValidationError(_OPTIONAL.sub(r"\1", str(error))), kind, "key")
    for word, toml in _TOML_WORDS:
        clause = clause.replace(word, toml)
    return clause


def spelled(key: str) -> str:
    """Give a dotted key as the file has it: its table in brackets, then its name."""
    table, _, name = key.rpartition(".")
    return f"[{table}] {name}" if table else name


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))
