"""The types a notebook declares for its parameters: reading them, checking values, and reading values from text.

A declared type is text and is never evaluated. What isn't known here (a class of the notebook's own, say) accepts anything:
the notebook's code has the last word about its own types.

Where a channel can't say a type, the nearest it can say is converted: YAML and JSON have no tuple, set, date or path, so a
list is taken for a tuple and ISO text for a date. Nothing that loses something is done: `2.5` is no int, and `1` no bool.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import decimal
import json
import numbers
import pathlib
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from hermes_protocol.messages import secret_text
from host_bridge.errors import HostBridgeError


class ParameterError(HostBridgeError, ValueError):
    """Parameters that can't be given to a notebook.

    Attributes:
        name: The parameter at fault, empty where it isn't one.
    """

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class MismatchError(Exception):
    """A value that doesn't have the declared type; the text says what was expected."""


@dataclasses.dataclass(frozen=True, slots=True)
class SecretHandle:
    """`hermes.secret("NAME")` as a parameter's value: the name of a secret of the host's, whose value nobody here has."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _SECRET_NAME.fullmatch(self.name):
            raise ValueError("not the name of a secret")

    def __str__(self) -> str:
        return secret_text(self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class TypeSpec:
    """A declared type.

    Attributes:
        kind: One of the names in `_NAMES`' values, `"union"` or `"literal"`.
        arguments: The types within, or a literal's values.
        repeats: For a tuple, whether it is `tuple[X, ...]`.
    """

    kind: str
    arguments: tuple[Any, ...] = ()
    repeats: bool = False

    def __str__(self) -> str:
        if self.kind == "union":
            return " | ".join(map(str, self.arguments))
        if self.kind == "literal":
            return " or ".join(map(repr, self.arguments))
        name = _SHOWN.get(self.kind, self.kind)
        inner = [str(argument) for argument in self.arguments] + ["..."] * self.repeats
        return f"{name}[{', '.join(inner)}]" if inner else name


_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

ANY = TypeSpec("any")

_SHOWN = {
    "none": "None",
    "any": "Any",
    "decimal": "Decimal",
    "path": "Path",
    "uuid": "UUID",
    "handle": "the name of a secret",
}

# By the last part of a dotted name; how it was imported can't be known.
_NAMES = {
    "bool": "bool", "bool_": "bool",
    "int": "int", "int32": "int", "int64": "int",
    "float": "float", "float32": "float", "float64": "float", "Real": "float", "Number": "float",
    "complex": "complex", "str": "str", "Text": "str", "AnyStr": "str",
    "bytes": "bytes", "None": "none", "NoneType": "none",
    "list": "list", "List": "list", "Sequence": "list", "MutableSequence": "list", "Iterable": "list", "Collection": "list",
    "tuple": "tuple", "Tuple": "tuple",
    "set": "set", "Set": "set", "MutableSet": "set", "frozenset": "frozenset", "FrozenSet": "frozenset",
    "dict": "dict", "Dict": "dict", "Mapping": "dict", "MutableMapping": "dict",
    "date": "date", "datetime": "datetime", "time": "time", "timedelta": "timedelta",
    "Decimal": "decimal", "Path": "path", "PurePath": "path", "PosixPath": "path", "UUID": "uuid",
    "SecretHandle": "handle",
}  # fmt: skip
_WRAPPERS = frozenset({"Annotated", "Final", "ClassVar", "Required", "Secret"})


def parse_type(text: str) -> TypeSpec:
    """Read a declared type; what isn't understood is `ANY`."""
    try:
        return _parse(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return ANY


def last_name(node: ast.AST) -> str:
    """Give the last part of a dotted name, empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _parse(node: ast.expr) -> TypeSpec:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return TypeSpec("none")
        return parse_type(node.value) if isinstance(node.value, str) else ANY
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_parse(node.left), _parse(node.right)])
    if isinstance(node, ast.Subscript):
        return _parse_subscript(node)
    kind = _NAMES.get(last_name(node))
    return TypeSpec(kind) if kind else ANY


def _parse_subscript(node: ast.Subscript) -> TypeSpec:
    name = last_name(node.value)
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return TypeSpec("literal", tuple(ast.literal_eval(item) for item in inner))
    if name == "Optional":
        return _union([_parse(inner[0]), TypeSpec("none")])
    if name == "Union":
        return _union([_parse(item) for item in inner])
    if name in _WRAPPERS:
        return _parse(inner[0])
    kind = _NAMES.get(name)
    if kind is None:
        return ANY
    repeats = isinstance(inner[-1], ast.Constant) and inner[-1].value is ...
    if repeats:
        inner = inner[:-1]
    return TypeSpec(kind, tuple(_parse(item) for item in inner), repeats)


def _union(members: list[TypeSpec]) -> TypeSpec:
    flat: list[TypeSpec] = []
    for member in members:
        flat.extend(member.arguments if member.kind == "union" else [member])
    return ANY if ANY in flat else TypeSpec("union", tuple(dict.fromkeys(flat)))


# values ----------------------------------------------------------------------------------------------------------------


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


# text ------------------------------------------------------------------------------------------------------------------

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_STRUCTURES = frozenset({"list", "tuple", "set", "frozenset", "dict"})


def read_text(spec: TypeSpec, text: str) -> Any:
    """Read a value of a declared type from text, as it is given on a command line.

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
