"""Reading the parameters that a notebook's code declares, without running it.

The cell is parsed, so that values over several lines, annotations and comments mean what they mean to Python. Defaults are
worked out where they are constants, or made of constants by what `_CALLS` lists; nothing of the notebook is called.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import decimal
import fractions
import io
import math
import operator
import pathlib
import re
import tokenize
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from host_bridge.executor.parameter_types import ParameterError, SecretHandle, last_name

_TYPE_COMMENT = re.compile(r"type:\s*(?!ignore\b)")
# "secret" alone or set off by a sign: "# secret: the API token", not "# secret ingredient of the score".
_SECRET_COMMENT = re.compile(r"secret\s*(?:$|[:;,.–—-]\s*|(?=\())", re.IGNORECASE)
_SECRET_NAMES = frozenset({"Secret", "SecretStr"})
_HEADINGS = frozenset({"parameters", "parameter"})
_MAX_EXPONENT = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """One assignment of a parameters cell.

    Attributes:
        type: As annotated, or the default's own; empty where neither tells.
        is_required: Whether it is annotated only, so that a value has to be given.
        default: The default's value; None where it can't be known without running the cell.
        default_source: The default as written, empty where there is none.
    """

    name: str
    type: str = ""
    is_required: bool = False
    default: Any = None
    default_source: str = ""
    help: str = ""
    is_secret: bool = False


class _NotConstantError(Exception):
    """An expression whose value only running it would tell."""


def read_declarations(source: str) -> list[Declaration]:
    """Read what a parameters cell assigns, in order; a name assigned twice has its last value.

    Raises:
        ParameterError: The cell isn't Python.
    """
    code = without_magics(source)
    try:
        tree = ast.parse(code)
        comments = _Comments(code)
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line}" if line else ""
        reason = getattr(error, "msg", None) or str(error)
        raise ParameterError(f"the notebook's parameters cell isn't Python: {reason}{where}") from None
    found: dict[str, Declaration] = {}
    for statement in tree.body:
        for declaration in _declarations(statement, code, comments):
            found[declaration.name] = declaration
    return list(found.values())


def without_magics(source: str) -> str:
    """Blank the lines that are IPython's and not Python's, keeping line numbers."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        lines = source.split("\n")
        return "\n".join("" if line.lstrip().startswith(("%", "!")) or line.startswith("?") else line for line in lines)
    return source


def _declarations(statement: ast.stmt, code: str, comments: _Comments) -> Iterator[Declaration]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield _annotated(statement, statement.target.id, code, comments.of(statement))
    elif isinstance(statement, ast.Assign):
        type_text, help_text, is_secret = _read_comment(comments.of(statement))
        for target in statement.targets:
            for name, value in _pairs(target, statement.value):
                yield _assigned(name, value, code, type_text, help_text, is_secret)


def _pairs(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """Match targets with values: `a, b = 1, 2` declares two parameters."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List):
        values: list[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
            values = list(value.elts)
        for item, its_value in zip(target.elts, values, strict=True):
            yield from _pairs(item, its_value)


def _annotated(statement: ast.AnnAssign, name: str, code: str, comment: str) -> Declaration:
    _, help_text, is_secret = _read_comment(comment)
    annotation = _unquoted(statement.annotation)
    is_secret = is_secret or _says_secret(annotation)
    declaration = Declaration(
        name, _type_text(annotation), statement.value is None, help=help_text, is_secret=is_secret
    )
    return _with_default(declaration, statement.value, code)


def _assigned(
    name: str, value: ast.expr | None, code: str, type_text: str, help_text: str, is_secret: bool
) -> Declaration:
    declaration = _with_default(Declaration(name, type_text, help=help_text, is_secret=is_secret), value, code)
    if declaration.type or declaration.default is None:
        return declaration
    return dataclasses.replace(declaration, type=type_name(declaration.default))


def type_name(value: Any) -> str:
    """Name a value's type as an annotation would."""
    if isinstance(value, pathlib.PurePath):
        return "Path"
    return type(value).__name__


def _with_default(declaration: Declaration, value: ast.expr | None, code: str) -> Declaration:
    if value is None:
        return declaration
    try:
        default = evaluate(value)
    except _NotConstantError:
        default = None
    text = ast.get_source_segment(code, value) or ast.unparse(value)
    return dataclasses.replace(declaration, default=default, default_source=text)


# annotations and comments ----------------------------------------------------------------------------------------------


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            return annotation
    return annotation


def _says_secret(annotation: ast.expr) -> bool:
    """Whether `Secret`, `Secret[str]` or `Annotated[str, Secret]` is said, under whatever module's name."""
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        extras = inner[1:] if last_name(annotation.value) == "Annotated" else inner[:0]
        return last_name(annotation.value) in _SECRET_NAMES or any(map(_says_secret, [*inner[:1], *extras]))
    if isinstance(annotation, ast.BinOp):
        return _says_secret(annotation.left) or _says_secret(annotation.right)
    if isinstance(annotation, ast.Call):
        return _says_secret(annotation.func)
    return last_name(annotation) in _SECRET_NAMES


def _type_text(annotation: ast.expr) -> str:
    if last_name(annotation) in _SECRET_NAMES:
        return "str"
    if isinstance(annotation, ast.Subscript) and last_name(annotation.value) in _SECRET_NAMES:
        return ast.unparse(annotation.slice)
    return ast.unparse(annotation)


def _read_comment(comment: str) -> tuple[str, str, bool]:
    """Take a comment apart: `(type, help, whether it says secret)`."""
    type_text = ""
    match = _TYPE_COMMENT.match(comment)
    if match:
        type_text, comment = _split_type(comment[match.end() :])
    secret = _SECRET_COMMENT.match(comment)
    if secret:
        comment = comment[secret.end() :].strip()
    return type_text, comment, secret is not None


def _split_type(text: str) -> tuple[str, str]:
    """Split at the first blank outside brackets: `List[int, str]  the help`."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in "[(") - (character in "])")
        if character.isspace() and depth <= 0:
            return text[:index], text[index:].strip().removeprefix("#").strip()
    return text, ""


class _Comments:
    """The comments of a cell, by line."""

    def __init__(self, code: str) -> None:
        self._texts: dict[int, str] = {}
        self._own_line: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                self._texts[token.start[0]] = token.string.lstrip("#").strip()
                if not token.line[: token.start[1]].strip():
                    self._own_line.add(token.start[0])

    def of(self, statement: ast.stmt) -> str:
        """Give the comment behind a statement, else the one above it."""
        last = statement.end_lineno or statement.lineno
        for line in (last, statement.lineno):
            if line in self._texts and line not in self._own_line:
                return self._texts[line]
        return self._above(statement.lineno)

    def _above(self, line: int) -> str:
        texts: list[str] = []
        while (line := line - 1) in self._own_line:
            texts.insert(0, self._texts[line])
        if texts and texts[0].strip(" :-=").lower() in _HEADINGS:
            texts = texts[1:]
        return " ".join(text for text in texts if text)


# defaults --------------------------------------------------------------------------------------------------------------

_CALLS: dict[str, Callable[..., Any]] = {
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "timezone": datetime.timezone,
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "Path": pathlib.PurePath,
    "PurePath": pathlib.PurePath,
    "UUID": uuid.UUID,
    "bool": bool,
    "bytearray": bytearray,
    "complex": complex,
    "secret": SecretHandle,
    "dict": dict,
    "float": float,
    "frozenset": frozenset,
    "int": int,
    "list": list,
    "set": set,
    "str": str,
    "tuple": tuple,
}
_FROM_ISO: dict[str, Callable[..., Any]] = {
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
}
_ATTRIBUTES = {"inf": math.inf, "nan": math.nan, "pi": math.pi, "e": math.e, "utc": datetime.UTC}
_MODULES_OF_ATTRIBUTES = frozenset({"math", "np", "numpy", "timezone", "datetime", "dt"})
_NUMBERS = (int, float, complex, decimal.Decimal, fractions.Fraction, datetime.timedelta)
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
}


def evaluate(node: ast.expr) -> Any:
    """Work out an expression made of constants.

    Raises:
        _NotConstantError: It isn't, or working it out would take long.
    """
    try:
        return _evaluate(node)
    except _NotConstantError:
        raise
    except Exception as error:  # whatever a constructor says to arguments that make no sense
        raise _NotConstantError(str(error)) from None


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_evaluate(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_evaluate(item) for item in items)
        case ast.Set(elts=items):
            return {_evaluate(item) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                _evaluate(key): _evaluate(value) for key, value in zip(keys, values, strict=True) if key is not None
            }
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return +_number(operand)
        case ast.BinOp():
            return _evaluate_binary(node)
        case ast.Attribute(value=owner, attr=name) if (
            name in _ATTRIBUTES and last_name(owner) in _MODULES_OF_ATTRIBUTES
        ):
            return _ATTRIBUTES[name]
        case ast.Call(func=function, args=arguments, keywords=keywords) if all(item.arg for item in keywords):
            return _evaluate_call(last_name(function), function, arguments, keywords)
    raise _NotConstantError(ast.dump(node)[:80])


def _number(node: ast.expr) -> Any:
    value = _evaluate(node)
    if not isinstance(value, _NUMBERS):
        raise _NotConstantError(repr(value))
    return value


def _evaluate_binary(node: ast.BinOp) -> Any:
    left, right = _evaluate(node.left), _evaluate(node.right)
    if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(node.op, ast.Div) and isinstance(left, pathlib.PurePath) and isinstance(right, str):
        return left / right
    if isinstance(node.op, ast.Pow | ast.LShift) and not (abs(right) <= _MAX_EXPONENT and abs(left) < 2**64):
        raise _NotConstantError("too large")
    if not isinstance(left, _NUMBERS) or not isinstance(right, _NUMBERS):
        raise _NotConstantError("not numbers")
    return _OPERATORS[type(node.op)](left, right)


def _evaluate_call(name: str, function: ast.expr, arguments: list[ast.expr], keywords: list[ast.keyword]) -> Any:
    if name == "fromisoformat" and isinstance(function, ast.Attribute):
        # `date.fromisoformat` and its kin: the class in front of it says what comes out.
        return _FROM_ISO[last_name(function.value)](*map(_evaluate, arguments))
    if name not in _CALLS:
        raise _NotConstantError(name)
    values = [_evaluate(argument) for argument in arguments]
    named = {str(keyword.arg): _evaluate(keyword.value) for keyword in keywords}
    if name == "Fraction" and any(isinstance(value, str) for value in values):
        raise _NotConstantError(name)  # the text "1e999999999" is a number, and takes hours
    if name in ("bytearray", "bytes") and any(isinstance(value, int) for value in values):
        raise _NotConstantError(name)  # as many zeros as asked for
    return _CALLS[name](*values, **named)
