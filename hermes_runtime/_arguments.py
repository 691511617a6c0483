"""What a notebook passes, made into what can be sent, or refused with the name of what can't."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hermes_protocol.messages import MAX_TIMEOUT_SECONDS
from hermes_runtime._errors import InvalidToolRequestError, UnknownToolError
from hermes_runtime._secrets import is_hidden

MAX_DEPTH = 30  # the wire allows 32, and the arguments' own map counts

_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_SCALARS = frozenset({str, int, bool, type(None)})
_BYTES = (bytes, bytearray, memoryview)


def check_seconds(value: Any, name: str = "timeout") -> float:
    """Refuse a time that would be no limit.

    Raises:
        InvalidToolRequestError: It isn't a positive number of at most a day.
    """
    if type(value) is not float and type(value) is not int:
        try:
            number = math.nan if value is None or isinstance(value, bool | str) else float(value)
        except (TypeError, ValueError):
            number = math.nan
    else:
        number = value
    if 0 < number <= MAX_TIMEOUT_SECONDS:
        return float(number)
    raise InvalidToolRequestError(
        f"{name}={value!r}: give a positive number of seconds, at most {MAX_TIMEOUT_SECONDS:,.0f}; "
        "every call needs a limit, and longer work belongs in terminal(…, background=True)"
    )


def check_tool_name(name: Any) -> str:
    """Refuse what can't be a tool's name; on the wire it would end the connection.

    Raises:
        UnknownToolError: No tool can be called that.
    """
    if isinstance(name, str) and _TOOL_NAME.fullmatch(name):
        return name
    raise UnknownToolError(f"{name!r:.100} can't be a tool's name: those are lower case, like read_file")


def split_arguments(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """Separate plain values from bytes, which travel beside the request.

    Raises:
        InvalidToolRequestError: A value that can't be sent; the text says which and what can.
    """
    plain: dict[str, Any] = {}
    contents: dict[str, memoryview] = {}
    for name, value in arguments.items():
        if type(value) in _SCALARS:
            plain[name] = value
        elif isinstance(value, _BYTES):
            if not _TOOL_NAME.fullmatch(name):
                raise InvalidToolRequestError(f"{name!r:.100} can't name bytes: such arguments are lower case")
            contents[name] = view_bytes(value)
        else:
            plain[name] = to_plain(value, name)
    return plain, contents


def view_bytes(content: bytes | bytearray | memoryview) -> memoryview:
    """Give any bytes as a flat view without copying.

    Raises:
        InvalidToolRequestError: A view of scattered memory.
    """
    view = memoryview(content)
    if not view.c_contiguous:
        raise InvalidToolRequestError("the bytes must be contiguous: pass bytes(…) of them")
    return view.cast("B") if view.nbytes else memoryview(b"")


def to_plain(value: Any, name: str, depth: int = 0) -> Any:
    """Give a value as JSON could say it: tuples as lists, paths and text subclasses as text, numpy's numbers as Python's.

    Raises:
        InvalidToolRequestError: There is no such form.
    """
    if depth > MAX_DEPTH:
        raise InvalidToolRequestError(f"{name} is nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidToolRequestError(f"{name} holds {value}, which can't be sent: pass None or text instead")
        return float(value)
    if isinstance(value, Mapping):
        return {_plain_key(key, name): to_plain(item, f"{name}[{key!r:.50}]", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _plain_items(value, name, depth)
    if isinstance(value, str | int):
        return str.__str__(value) if isinstance(value, str) else int.__int__(value)
    if is_hidden(value):
        raise InvalidToolRequestError(
            f"{name} can't be a secret: this tool takes none there; terminal takes them as secrets=[hermes.secret(…)]"
        )
    if hasattr(value, "__fspath__"):
        return to_plain(value.__fspath__(), name, depth + 1)
    if not isinstance(value, _BYTES) and hasattr(value, "tolist"):  # numpy's scalars and arrays
        return to_plain(value.tolist(), name, depth + 1)
    raise InvalidToolRequestError(
        f"{name} is a {kind.__module__}.{kind.__qualname__}, which can't be sent: pass text, numbers, lists or dicts "
        "(bytes only as an argument of their own)"
    )


def _plain_items(values: Iterable[Any], name: str, depth: int) -> list[Any]:
    return [to_plain(item, f"{name}[{index}]", depth + 1) for index, item in enumerate(values)]


def _plain_key(key: Any, name: str) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise InvalidToolRequestError(f"{name} has the key {key!r:.50}, and only text can be one")
