"""Parameters as Python source that gives back exactly what was given.

Papermill writes tuples, sets, dates, `Decimal` and numpy's numbers as text, and a name as it comes. Here every value is
written so that running the line makes an equal value of the same type, and what can't be written so is refused.

A value that needs a module says `__import__("datetime").date(…)`: an `import` line in the cell could replace a name that the
notebook's own code imported before it, such as `from datetime import datetime`.
"""

from __future__ import annotations

import builtins
import datetime
import decimal
import fractions
import keyword
import math
import pathlib
import sys
import unicodedata
import uuid
import zoneinfo
from collections.abc import Callable, Collection, Mapping
from typing import Any

from host_bridge.executor.parameter_types import ParameterError, SecretHandle

_MAX_DEPTH = 90  # Python's parser takes 200 brackets within each other, and a frozenset needs two
_MAX_DECIMAL_BITS = 10_000  # Python refuses to read or write integers of more than 4300 digits in decimal


class _NoSourceError(Exception):
    """A value that no source gives back."""


def check_name(name: object) -> str:
    """Give a parameter's name back if it can be assigned to and nothing else.

    Raises:
        ParameterError: It can't.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ParameterError(f"{name!r:.200} can't name a parameter: it isn't a Python identifier", name=str(name))
    if keyword.iskeyword(name):
        raise ParameterError(f"{name!r} can't name a parameter: it is a Python keyword", name=name)
    if name.startswith("__") and name.endswith("__"):
        raise ParameterError(f"{name!r} can't name a parameter: such names belong to Python itself", name=name)
    if unicodedata.normalize("NFKC", name) != name:
        # Python reads the normal form, so the name assigned to would be another.
        raise ParameterError(
            f"{name!r} can't name a parameter: write it {unicodedata.normalize('NFKC', name)!r}", name=name
        )
    return name


def render_parameters(
    parameters: Mapping[str, Any], *, secrets: Collection[str] = (), comment: str = "Parameters"
) -> str:
    """Give the source of the injected cell, in the shape that readers of papermill's notebooks expect.

    Args:
        parameters: Values by name; no secret among them.
        secrets: Names of parameters that the kernel gets without the notebook seeing them; mentioned in a comment.
        comment: The cell's first line.

    Raises:
        ParameterError: A name can't be assigned to, or no source gives a value back.
    """
    lines = [f"# {' '.join(comment.split())}", *render_assignments(parameters).splitlines()]
    lines += [f"# {check_name(name)}: secret, handed to the kernel outside this notebook" for name in secrets]
    return "\n".join(lines) + "\n"


def render_assignments(parameters: Mapping[str, Any]) -> str:
    """Give one line of source per parameter, and nothing else: what a request of its own sends for secrets.

    Raises:
        ParameterError: As `render_parameters`.
    """
    shadowed = frozenset(parameters)
    lines = []
    for name, value in parameters.items():
        lines.append(f"{check_name(name)} = {render_value(name, value, shadowed=shadowed)}\n")
    return "".join(lines)


def render_value(name: str, value: Any, *, shadowed: Collection[str] = ()) -> str:
    """Give the source of one parameter's value.

    Args:
        name: The parameter, for an error.
        value: Its value.
        shadowed: Names that the cell assigns, and that may mean something else than Python's own there.

    Raises:
        ParameterError: No source gives the value back.
    """
    try:
        return _Writer(shadowed).write(value)
    except _NoSourceError as error:
        raise ParameterError(f"parameter {name!r}: {error}", name=name) from None


class _Writer:
    """Writes values as source in a cell where some built-in names may mean something else."""

    def __init__(self, shadowed: Collection[str]) -> None:
        self._shadowed = shadowed
        self._depth = 0

    def write(self, value: Any) -> str:
        writer = _WRITERS.get(type(value))
        if writer is None:
            return _write_foreign(self, value)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _NoSourceError(f"it is nested more than {_MAX_DEPTH} deep, or within itself")
        try:
            return writer(self, value)
        finally:
            self._depth -= 1

    def builtin(self, name: str) -> str:
        """Name a built-in, also where a parameter has taken its name."""
        assert hasattr(builtins, name)
        return f'__import__("builtins").{name}' if name in self._shadowed else name

    def items(self, values: Any) -> str:
        return ", ".join(map(self.write, values))

    def call(self, module: str, name: str, *arguments: str) -> str:
        return f'__import__("{module}").{name}({", ".join(arguments)})'


Write = Callable[[_Writer, Any], str]


def _write_int(writer: _Writer, value: int) -> str:
    return hex(value) if value.bit_length() > _MAX_DECIMAL_BITS else repr(value)


def _write_float(writer: _Writer, value: float) -> str:
    return repr(value) if math.isfinite(value) else f"{writer.builtin('float')}({str(value)!r})"


def _write_complex(writer: _Writer, value: complex) -> str:
    return f"{writer.builtin('complex')}({writer.write(value.real)}, {writer.write(value.imag)})"


def _write_tuple(writer: _Writer, value: tuple[Any, ...]) -> str:
    return f"({writer.items(value)},)" if len(value) == 1 else f"({writer.items(value)})"


def _write_set(writer: _Writer, value: set[Any]) -> str:
    return f"{{{writer.items(_steady(value))}}}" if value else f"{writer.builtin('set')}()"


def _write_frozenset(writer: _Writer, value: frozenset[Any]) -> str:
    return (
        f"{writer.builtin('frozenset')}({{{writer.items(_steady(value))}}})"
        if value
        else f"{writer.builtin('frozenset')}()"
    )


def _steady(value: Any) -> list[Any]:
    """Order a set's members, so that the same parameters give the same cell in every process."""
    return sorted(value, key=lambda member: (type(member).__qualname__, repr(member)))


def _write_dict(writer: _Writer, value: dict[Any, Any]) -> str:
    return f"{{{', '.join(f'{writer.write(key)}: {writer.write(item)}' for key, item in value.items())}}}"


def _write_range(writer: _Writer, value: range) -> str:
    return f"{writer.builtin('range')}({value.start}, {value.stop}, {value.step})"


def _write_bytearray(writer: _Writer, value: bytearray) -> str:
    return f"{writer.builtin('bytearray')}({bytes(value)!r})"


def _write_date(writer: _Writer, value: datetime.date) -> str:
    return writer.call("datetime", "date", str(value.year), str(value.month), str(value.day))


def _clock(writer: _Writer, value: datetime.datetime | datetime.time) -> list[str]:
    fields = [
        f"{name}={getattr(value, name)}" for name in ("minute", "second", "microsecond", "fold") if getattr(value, name)
    ]
    zone = [] if value.tzinfo is None else [f"tzinfo={writer.write(value.tzinfo)}"]
    return [str(value.hour), *fields, *zone]


def _write_datetime(writer: _Writer, value: datetime.datetime) -> str:
    day = (str(value.year), str(value.month), str(value.day))
    return writer.call("datetime", "datetime", *day, *_clock(writer, value))


def _write_time(writer: _Writer, value: datetime.time) -> str:
    return writer.call("datetime", "time", *_clock(writer, value))


def _write_timedelta(writer: _Writer, value: datetime.timedelta) -> str:
    fields = [f"{name}={getattr(value, name)}" for name in ("days", "seconds", "microseconds") if getattr(value, name)]
    return writer.call("datetime", "timedelta", *fields)


def _write_timezone(writer: _Writer, value: datetime.timezone) -> str:
    if value is datetime.UTC:
        return '__import__("datetime").timezone.utc'
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks for
    return writer.call("datetime", "timezone", *map(writer.write, (offset, *name)))


def _write_zone(writer: _Writer, value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        raise _NoSourceError("its time zone has no name to find it by")
    return writer.call("zoneinfo", "ZoneInfo", repr(value.key))


def _text_to(module: str, name: str) -> Write:
    return lambda writer, value: writer.call(module, name, repr(str(value)))


_WRITERS: dict[type[Any], Write] = {
    type(None): lambda writer, value: "None",
    type(...): lambda writer, value: "...",
    bool: lambda writer, value: repr(value),
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    str: lambda writer, value: repr(value),
    bytes: lambda writer, value: repr(value),
    bytearray: _write_bytearray,
    list: lambda writer, value: f"[{writer.items(value)}]",
    tuple: _write_tuple,
    set: _write_set,
    frozenset: _write_frozenset,
    dict: _write_dict,
    range: _write_range,
    datetime.date: _write_date,
    datetime.datetime: _write_datetime,
    datetime.time: _write_time,
    datetime.timedelta: _write_timedelta,
    datetime.timezone: _write_timezone,
    zoneinfo.ZoneInfo: _write_zone,
    decimal.Decimal: _text_to("decimal", "Decimal"),
    fractions.Fraction: _text_to("fractions", "Fraction"),
    uuid.UUID: _text_to("uuid", "UUID"),
    SecretHandle: lambda writer, value: writer.call("hermes_runtime", "secret", repr(value.name)),
    pathlib.PurePosixPath: _text_to("pathlib", "PurePosixPath"),
    pathlib.PureWindowsPath: _text_to("pathlib", "PureWindowsPath"),
    type(pathlib.Path()): _text_to("pathlib", "Path"),
}


def _write_foreign(writer: _Writer, value: Any) -> str:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return _write_numpy(writer, value)
    kind = type(value)
    raise _NoSourceError(
        f"a value of type {kind.__module__}.{kind.__qualname__} can't be written as source; "
        "pass numbers, text, dates, lists and dicts made from it"
    )


def _write_numpy(writer: _Writer, value: Any) -> str:
    kind = value.dtype.kind
    name = type(value).__name__
    if kind in "mM":
        unit, count = sys.modules["numpy"].datetime_data(value.dtype)
        steps = "'NaT'" if str(value) == "NaT" else str(int(value.astype("int64")))
        return writer.call("numpy", name, steps, repr(f"{count}{unit}" if count != 1 else unit))
    if kind in "biufc" and value.dtype.itemsize <= (16 if kind == "c" else 8):
        return writer.call("numpy", name, writer.write(value.item()))
    if kind in "US":
        return writer.call("numpy", name, writer.write(value.item()))
    raise _NoSourceError(f"numpy's {value.dtype} can't be written as source; pass value.item()")
