"""Reading a parameter's value from text, as it is given on a command line."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

from host_bridge.executor.parameter_types import MismatchError, TypeSpec
from host_bridge.executor.parameter_values import convert

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_STRUCTURES = frozenset({"list", "tuple", "set", "frozenset", "dict"})


def read_text(spec: TypeSpec, text: str) -> Any:
    """Read a value of a declared type from text.

    Raises:
        MismatchError: The text says no such value.
    """
    try:
        return _read(spec, text)
    except (TypeError, ValueError, SyntaxError, RecursionError, ArithmeticError):
        raise MismatchError(str(spec)) from None


def _read(spec: TypeSpec, text: str) -> Any:
    if spec.kind == "any":
        return guess(text)
    if spec.kind == "str":
        return text
    if spec.kind == "union":
        return _read_union(spec, text)
    if spec.kind == "literal":
        return next(
            iter([option for option in spec.arguments if text in (str(option), repr(option))] or [_mismatch(spec)])
        )
    if spec.kind == "bool":
        return _read_bool(spec, text)
    if spec.kind == "none":
        return None if text in ("None", "null") else _mismatch(spec)
    if spec.kind in _STRUCTURES:
        return convert(spec, _read_structure(text))
    readers: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "complex": complex, "bytes": str.encode}
    readers["timedelta"] = float
    return convert(spec, readers.get(spec.kind, str)(text))


def _mismatch(spec: TypeSpec) -> Any:
    raise MismatchError(str(spec))


def _read_bool(spec: TypeSpec, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    return False if text.lower() in _FALSE else bool(_mismatch(spec))


def _read_union(spec: TypeSpec, text: str) -> Any:
    # Any text is a str, so that member is asked last.
    for member in sorted(spec.arguments, key=lambda member: member.kind == "str"):
        try:
            return read_text(member, text)
        except MismatchError:
            continue
    return _mismatch(spec)


def _read_structure(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def guess(text: str) -> Any:
    """Read text of which no type is known: None, a boolean, a number, or else the text."""
    constants = {"None": None, "True": True, "False": False, "true": True, "false": False, "null": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
