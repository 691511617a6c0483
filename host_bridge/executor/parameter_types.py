"""The types a notebook declares for its parameters.

A declared type is text and is never evaluated. What isn't known here (a class of the notebook's own, say) accepts anything:
the notebook's code has the last word about its own types. `parameter_values` checks values, `parameter_text` reads them.
"""

from __future__ import annotations

import ast
import dataclasses
import re
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
