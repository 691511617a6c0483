"""Checking a parameter's value against its declared type, and giving it in that type.

Where a channel can't say a type, the nearest it can say is converted: YAML and JSON have no tuple, set, date or path, so a
list is taken for a tuple and ISO text for a date. Nothing that loses something is done: `2.5` is no int, and `1` no bool.
"""

from __future__ import annotations

import datetime
import decimal
import numbers
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from host_bridge.executor.parameter_types import ANY, MismatchError, SecretHandle, TypeSpec


def convert(spec: TypeSpec, value: Any) -> Any:
    """Give a value in its declared type.

    Raises:
        MismatchError: It isn't of that type, and nothing harmless makes it so.
    """
    if spec.kind == "any":
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    try:
        return _CONVERTERS[spec.kind](spec, value)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        raise MismatchError(str(spec)) from None


def _expect(condition: object) -> None:
    if not condition:
        raise TypeError


def _bool(spec: TypeSpec, value: Any) -> bool:
    _expect(isinstance(value, bool))
    return bool(value)


def _int(spec: TypeSpec, value: Any) -> int:
    _expect(isinstance(value, numbers.Integral) and not isinstance(value, bool))
    return int(value)


def _float(spec: TypeSpec, value: Any) -> float:
    _expect(isinstance(value, numbers.Real) and not isinstance(value, bool | decimal.Decimal))
    number = float(value)
    _expect(number == value or number != number)  # an int beyond 2**53 that a float can't hold
    return number


def _complex(spec: TypeSpec, value: Any) -> complex:
    _expect(isinstance(value, numbers.Complex) and not isinstance(value, bool))
    return complex(value)


def _str(spec: TypeSpec, value: Any) -> str:
    _expect(isinstance(value, str))
    return str.__str__(value)


def _bytes(spec: TypeSpec, value: Any) -> bytes:
    _expect(isinstance(value, bytes | bytearray))
    return bytes(value)


def _none(spec: TypeSpec, value: Any) -> None:
    _expect(value is None)


def _items(spec: TypeSpec, value: Any) -> list[Any]:
    inner = spec.arguments[0] if spec.arguments else ANY
    return [convert(inner, item) for item in value]


def _list(spec: TypeSpec, value: Any) -> list[Any]:
    _expect(isinstance(value, list | tuple))
    return _items(spec, value)


def _tuple(spec: TypeSpec, value: Any) -> tuple[Any, ...]:
    _expect(isinstance(value, list | tuple))
    if spec.repeats or not spec.arguments:
        return tuple(_items(spec, value))
    return tuple(convert(inner, item) for inner, item in zip(spec.arguments, value, strict=True))


def _set(spec: TypeSpec, value: Any) -> set[Any]:
    _expect(isinstance(value, set | frozenset | list | tuple))
    return set(_items(spec, value))


def _frozenset(spec: TypeSpec, value: Any) -> frozenset[Any]:
    return frozenset(_set(spec, value))


def _dict(spec: TypeSpec, value: Any) -> dict[Any, Any]:
    _expect(isinstance(value, Mapping))
    keys, values = spec.arguments if len(spec.arguments) == 2 else (ANY, ANY)
    return {convert(keys, key): convert(values, item) for key, item in value.items()}


def _date(spec: TypeSpec, value: Any) -> datetime.date:
    if isinstance(value, str):
        return datetime.date.fromisoformat(value)
    _expect(isinstance(value, datetime.date) and not isinstance(value, datetime.datetime))
    return value  # type: ignore[no-any-return]


def _from_iso(kind: type[datetime.datetime] | type[datetime.time]) -> Callable[[TypeSpec, Any], Any]:
    def read(spec: TypeSpec, value: Any) -> Any:
        if isinstance(value, str):
            return kind.fromisoformat(value)
        _expect(isinstance(value, kind))
        return value

    return read


def _timedelta(spec: TypeSpec, value: Any) -> datetime.timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.timedelta(seconds=value)
    _expect(isinstance(value, datetime.timedelta))
    return value  # type: ignore[no-any-return]


def _made_from(kind: type[Any], *sources: type[Any]) -> Callable[[TypeSpec, Any], Any]:
    def make(spec: TypeSpec, value: Any) -> Any:
        if isinstance(value, kind):
            return value
        _expect(isinstance(value, sources) and not isinstance(value, bool))
        return kind(value)

    return make


def _union_member(spec: TypeSpec, value: Any) -> Any:
    converted = []
    for member in spec.arguments:
        try:
            result = convert(member, value)
        except MismatchError:
            continue
        if type(result) is type(value):
            return result  # no conversion beats one
        converted.append(result)
    _expect(converted)
    return converted[0]


def _literal(spec: TypeSpec, value: Any) -> Any:
    _expect(any(value == option and type(value) is type(option) for option in spec.arguments))
    return value


_CONVERTERS: dict[str, Callable[[TypeSpec, Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "complex": _complex,
    "str": _str,
    "bytes": _bytes,
    "none": _none,
    "list": _list,
    "tuple": _tuple,
    "set": _set,
    "frozenset": _frozenset,
    "dict": _dict,
    "date": _date,
    "datetime": _from_iso(datetime.datetime),
    "time": _from_iso(datetime.time),
    "timedelta": _timedelta,
    "decimal": _made_from(decimal.Decimal, int, str),
    "path": _made_from(pathlib.Path, str, pathlib.PurePath),
    "uuid": _made_from(uuid.UUID, str),
    "handle": _made_from(SecretHandle, str),
    "union": _union_member,
    "literal": _literal,
}
