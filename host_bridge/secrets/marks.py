"""Where in a call's arguments secrets are meant: the marks a kernel sends, checked, and followed when the call runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hermes_protocol.messages import SecretMark, secret_text
from host_bridge.errors import InvalidCallError


def marked_names(marks: Sequence[SecretMark], arguments: Any) -> tuple[str, ...]:
    """Give the names of the secrets that a call's arguments stand for, sorted.

    What is shown, hashed and approved has `[secret NAME]` where the value will be. So that this means one thing only, a call
    that uses a secret may have that text nowhere else.

    Raises:
        InvalidCallError: A mark points at something else, or the text stands where none points.
    """
    places = {(mark.name, mark.argument, mark.offset) for mark in marks}
    for name, way, offset in places:
        text = _at(arguments, way)
        if not isinstance(text, str) or not text.startswith(secret_text(name), offset):
            raise InvalidCallError(f"the secret {name} is marked where it doesn't stand; use hermes.secret({name!r})")
    names = sorted({mark.name for mark in marks})
    for name in names:
        expected = sum(place[0] == name for place in places)
        if _count(arguments, secret_text(name)) != expected:
            raise InvalidCallError(
                f"the text {secret_text(name)} stands beside the secret of that name in one call, so nobody could tell which "
                "is meant; leave the text out"
            )
    return tuple(names)


def put_in(value: Any, names: Collection[str], read: Callable[[str], str]) -> Any:
    """Give plain data with the values of secrets in the places of their names.

    Args:
        value: A call's arguments, or a part of them.
        names: What `marked_names` gave.
        read: Gives a value.
    """
    values = {secret_text(name): read(name) for name in names if _count(value, secret_text(name))}
    if not values:
        return value
    pattern = re.compile("|".join(map(re.escape, values)))
    return _replace(value, pattern, values)


def _replace(value: Any, pattern: re.Pattern[str], values: dict[str, str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(lambda found: values[found[0]], value)  # in one go: a value may look like a name
    if isinstance(value, dict):
        return {key: _replace(item, pattern, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace(item, pattern, values) for item in value]
    return value


def _at(arguments: Any, way: Sequence[str | int]) -> Any:
    value = arguments
    for step in way:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and type(step) is int and 0 <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def _count(value: Any, text: str) -> int:
    if isinstance(value, str):
        return value.count(text)
    if isinstance(value, dict):
        return sum(_count(key, text) + _count(item, text) for key, item in value.items())
    if isinstance(value, list | tuple):
        return sum(_count(item, text) for item in value)
    return 0
