"""Changing a default in a parameters cell's source, and nothing else in it: comments, layout and order stay.

The value's place is known from the parsed cell, and what comes out is read again before it is given back.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from host_bridge.executor.parameter_cells import Declaration, read_declarations, without_magics
from host_bridge.executor.parameter_source import render_value
from host_bridge.executor.parameter_types import ParameterError, last_name

_MODULE_CALL = re.compile(r'__import__\("\w+"\)\.(\w+)(?=\()')
_LINE_END = re.compile(rb"\r\n|\r|\n")  # Python's, when it numbers lines


class ParameterSourceError(Exception):
    """A default that can't be changed where it stands; says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a default is, or would be, in the source's bytes."""

    start: int
    end: int
    value: ast.expr | None


def replace_default(source: str, name: str, value: Any) -> tuple[str, str]:
    """Give a parameters cell's source with another default for one parameter.

    Returns:
        The cell's source, and the default's in it.

    Raises:
        ParameterSourceError: The parameter is declared in a way that can't be changed alone.
        ParameterError: The cell isn't Python, or no source gives the value back.
    """
    declared = read_declarations(source)
    place = _find(source, name)
    data = source.encode()
    old = data[place.start : place.end].decode()
    written = _in_the_style_of(place.value, old, render_value(name, value, shadowed={one.name for one in declared}))
    before = b" = " if place.value is None else b""
    changed = (data[: place.start] + before + written.encode() + data[place.end :]).decode()
    _check(declared, changed, name, value)
    return changed, written


def _find(source: str, name: str) -> _Place:
    offsets = _line_offsets(source)  # lines without magics are as they are in the source
    found: _Place | None = None
    for statement in ast.parse(without_magics(source)).body:
        for place in _places(statement, name, offsets):
            found = place  # the last one counts, as when the cell runs
    if found is None:
        raise ParameterSourceError("the parameters cell assigns it in no way that could be changed; write it as a line")
    return found


def _places(statement: ast.stmt, name: str, offsets: list[int]) -> Iterator[_Place]:
    if isinstance(statement, ast.AnnAssign) and last_name(statement.target) == name:
        if statement.value is None:
            end = _end(statement.annotation, offsets)
            yield _Place(end, end, None)
        else:
            yield _place(statement.value, offsets)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            value = _value_of(target, statement.value, name)
            if value is None:
                continue
            if len(statement.targets) > 1:
                raise ParameterSourceError("it is assigned together with others; give it a line of its own first")
            yield _place(value, offsets)


def _value_of(target: ast.expr, value: ast.expr, name: str) -> ast.expr | None:
    if isinstance(target, ast.Name):
        return value if target.id == name else None
    if not isinstance(target, ast.Tuple | ast.List):
        return None
    if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
        for item, its_value in zip(target.elts, value.elts, strict=True):
            found = _value_of(item, its_value, name)
            if found is not None:
                return found
        return None
    if any(isinstance(item, ast.Name) and item.id == name for item in ast.walk(target)):
        raise ParameterSourceError("its default is part of another value; give it a line of its own first")
    return None


def _place(value: ast.expr, offsets: list[int]) -> _Place:
    return _Place(offsets[value.lineno - 1] + value.col_offset, _end(value, offsets), value)


def _end(node: ast.expr, offsets: list[int]) -> int:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return offsets[node.end_lineno - 1] + node.end_col_offset


def _line_offsets(source: str) -> list[int]:
    return [0, *(match.end() for match in _LINE_END.finditer(source.encode()))]


def _in_the_style_of(old: ast.expr | None, old_source: str, new: str) -> str:
    """Keep what is a matter of taste: the quotes, and `date(…)` where the notebook has the name."""
    if isinstance(old, ast.Constant) and isinstance(old.value, str) and old_source.startswith('"'):
        return f'"{new[1:-1]}"' if new.startswith("'") and not set('"\\') & set(new) else new
    call = _MODULE_CALL.match(new)
    if call and isinstance(old, ast.Call) and last_name(old.func) == call[1]:
        return f"{ast.unparse(old.func)}{new[call.end() :]}"
    return new


def _check(declared: list[Declaration], changed: str, name: str, value: Any) -> None:
    try:
        after = {one.name: one for one in read_declarations(changed)}
    except ParameterError as error:
        raise ParameterSourceError(f"its default can't be written in its place: {error}") from None
    others_stay = all(after.get(one.name) == one for one in declared if one.name != name)
    if not others_stay or name not in after or not _is_equal(after[name].default, value):
        raise ParameterSourceError(
            "its default can't be changed without changing others; give it a line of its own first"
        )


def _is_equal(read: Any, value: Any) -> bool:
    # What only running the cell would tell is read as None. A value that isn't equal to itself is NaN.
    return read is None or bool(read == value) or bool(read != read and value != value)
