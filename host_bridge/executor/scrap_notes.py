"""Giving back what JSON could not say, from the notes that `hermes.glue` left beside a scrap's data.

A note is `[path, kind]` or `[path, kind, more]`; the kinds are listed in docs/scraps.md. Notes come from a kernel and are
believed in nothing: one that doesn't fit leaves the plain data as it is. Nothing is evaluated and nothing unpickled.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import json
import math
import pathlib
import re
import uuid
from collections.abc import Callable
from typing import Any

_FRACTION = re.compile(r"-?\d+(/\d+)?")  # `Fraction` also reads "1e999999999", and works on it for hours
_ROOT = 0


def restore(data: Any, notes: Any) -> tuple[Any, list[Any]]:
    """Apply notes to a copy of the data.

    Returns:
        The value, and the notes that were not applied: those of a kind that only informs (`numpy`, `dataframe`), is not
        known, or doesn't fit the data.
    """
    if not isinstance(notes, list) or not notes:
        return data, []
    try:
        holder = [json.loads(json.dumps(data))]
    except (TypeError, ValueError, RecursionError):
        return data, notes
    left = []
    for note in notes:
        try:
            _apply(holder, note)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            left.append(note)
    return holder[_ROOT], left


def _apply(holder: list[Any], note: Any) -> None:
    path, kind, *more = note
    if type(path) is not list:
        raise TypeError(path)
    container: Any = holder
    step: Any = _ROOT
    for following in path:
        container, step = _step_into(container, step), following
    container[step] = _RESTORERS[kind](_step_into(container, step), more[0] if more else None)


def _step_into(container: Any, step: Any) -> Any:
    # Exact types: True is an index to Python, and -1 a place from the end.
    if type(container) is list and type(step) is int and step >= 0:
        return container[step]
    if type(container) is dict and type(step) is str:
        return container[step]
    raise LookupError(step)


def _array(value: Any, more: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(value)
    return value


def _text(value: Any, more: Any) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _fraction(text: str) -> fractions.Fraction:
    if not _FRACTION.fullmatch(text):
        raise ValueError(text)
    return fractions.Fraction(text)


def _timedelta(value: Any, more: Any) -> datetime.timedelta:
    days, seconds, microseconds = more
    return datetime.timedelta(days=days, seconds=seconds, microseconds=microseconds)


_KEYS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": {"True": True, "False": False}.__getitem__,
    "none": {"None": None}.__getitem__,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
}


def _keys(value: Any, more: Any) -> dict[Any, Any]:
    if type(value) is not dict or type(more) is not dict:
        raise TypeError(value)
    return {_KEYS[more[text]](text) if text in more else text: item for text, item in value.items()}


_RESTORERS: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda value, more: None,
    "nan": lambda value, more: math.nan,
    "inf": lambda value, more: math.inf,
    "-inf": lambda value, more: -math.inf,
    "tuple": lambda value, more: tuple(_array(value, more)),
    "set": lambda value, more: set(_array(value, more)),
    "frozenset": lambda value, more: frozenset(_array(value, more)),
    "complex": lambda value, more: complex(*_array(value, more)),
    "datetime": lambda value, more: datetime.datetime.fromisoformat(_text(value, more)),
    "date": lambda value, more: datetime.date.fromisoformat(_text(value, more)),
    "time": lambda value, more: datetime.time.fromisoformat(_text(value, more)),
    "timedelta": _timedelta,
    "decimal": lambda value, more: decimal.Decimal(_text(value, more)),
    "fraction": lambda value, more: _fraction(_text(value, more)),
    "uuid": lambda value, more: uuid.UUID(_text(value, more)),
    "path": lambda value, more: pathlib.PurePath(_text(value, more)),
    "bytes": lambda value, more: base64.b64decode(_text(value, more), validate=True),
    "keys": _keys,
}
