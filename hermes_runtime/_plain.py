"""Values as plain JSON, with notes that let a reader have back what JSON can't say.

The plain form is what anybody would expect to find: a tuple is an array, a date its ISO text, a missing number null. Where
that form alone would lose something, a note says where and what: `[path, kind]`, or `[path, kind, more]`, in the order in
which a reader has to apply them (inner values first). A reader that knows nothing of notes still reads sensible data.

    kind                     plain form                          more
    tuple set frozenset      array
    nan inf -inf             null
    complex                  [real, imaginary]
    datetime date time       ISO 8601 text
    timedelta                seconds                             [days, seconds, microseconds]
    decimal fraction uuid    text
    path                     text
    bytes                    base64 text
    keys                     object                              {key's text: int | float | bool | none | date | datetime}
    numpy                    number, text or arrays              [dtype, shape], shape null for a scalar
    dataframe                array of objects                    [names of the columns]

At the very top of a scrap null is not allowed, so there `{"not_json": "nan"}` (or `"inf"`, `"-inf"`, `"None"`) stands for
it, with the kind `none` for None.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any

Path = tuple[str | int, ...]
Note = list[Any]

_MAX_DEPTH = 100
"""How deep values may nest: far above what people write, far below what readers written in recursion can take."""


_NOT_FINITE = ("nan", "inf", "-inf")


class NotPlainError(Exception):
    """A value that has no plain form; `path` says where in the whole it is."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


def to_plain(value: Any) -> tuple[Any, list[Note]]:
    """Give a value's plain form and the notes to have it back.

    Raises:
        NotPlainError: It, or something in it, has none.
    """
    notes: list[Note] = []
    plain = _convert(value, (), notes)
    if plain is None:
        kinds = [kind for _, kind, *_ in notes if kind in _NOT_FINITE]
        plain = {"not_json": kinds[0] if kinds else "None"}
        if not kinds:
            notes.append([[], "none"])
    return plain, notes


def _convert(value: Any, path: Path, notes: list[Note]) -> Any:
    if len(path) > _MAX_DEPTH:
        raise NotPlainError(f"nested more than {_MAX_DEPTH} deep, or within itself", path[:3])
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is int:
        return value
    for base, convert in _CONVERTERS:
        if isinstance(value, base):
            return convert(value, path, notes)
    if kind.__module__.startswith("hermes_runtime.") and (hasattr(value, "as_dict") or hasattr(value, "as_dicts")):
        # What the tools give: records, lists of records.
        return _convert(value.as_dict() if hasattr(value, "as_dict") else value.as_dicts(), path, notes)
    for module, convert in _LIBRARY_CONVERTERS.items():
        if module in sys.modules:
            plain = convert(value, path, notes)
            if plain is not _FOREIGN:
                return plain
    raise NotPlainError(f"a {kind.__module__}.{kind.__qualname__}", path)


def _float(value: float, path: Path, notes: list[Note]) -> float | None:
    number = float.__float__(value)
    if math.isfinite(number):
        return number
    notes.append([list(path), "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"])
    return None


def _complex(value: complex, path: Path, notes: list[Note]) -> list[Any]:
    plain = [_float(value.real, (*path, 0), notes), _float(value.imag, (*path, 1), notes)]
    notes.append([list(path), "complex"])
    return plain


def _array_of(kind: str) -> Callable[[Iterable[Any], Path, list[Note]], list[Any]]:
    def convert(value: Iterable[Any], path: Path, notes: list[Note]) -> list[Any]:
        plain = [_convert(item, (*path, index), notes) for index, item in enumerate(value)]
        if kind != "list":
            notes.append([list(path), kind])
        return plain

    return convert


def _set_of(kind: str) -> Callable[[Iterable[Any], Path, list[Note]], list[Any]]:
    as_array = _array_of(kind)

    def convert(value: Iterable[Any], path: Path, notes: list[Note]) -> list[Any]:
        try:
            ordered = sorted(value)
        except TypeError:
            ordered = list(value)  # no order of its own: any will do
        return as_array(ordered, path, notes)

    return convert


def _text_as(kind: str, spell: Callable[[Any], str]) -> Callable[[Any, Path, list[Note]], str | None]:
    def convert(value: Any, path: Path, notes: list[Note]) -> str | None:
        if _is_nan(value):
            notes.append([list(path), "nan"])
            return None
        notes.append([list(path), kind])
        return spell(value)

    return convert


def _is_nan(value: Any) -> bool:
    if isinstance(value, decimal.Decimal):
        return value.is_nan()  # comparing a signalling NaN raises
    return bool(value != value)  # pandas' NaT is a datetime


def _timedelta(value: datetime.timedelta, path: Path, notes: list[Note]) -> float | None:
    if _is_nan(value):
        notes.append([list(path), "nan"])
        return None
    notes.append([list(path), "timedelta", [value.days, value.seconds, value.microseconds]])
    return value.total_seconds()


_KEY_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (datetime.datetime, "datetime"),
    (datetime.date, "date"),
    (type(None), "none"),
)


def _key(key: Any, path: Path) -> tuple[str, str]:
    if isinstance(key, str):
        return str.__str__(key), ""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(key, numpy.generic):
        key = key.item()
    for base, kind in _KEY_KINDS:
        if isinstance(key, base):
            text = key.isoformat() if isinstance(key, datetime.date) else repr(key)
            return text, kind
    raise NotPlainError(f"an object with a key of type {type(key).__qualname__} ({key!r:.80})", path)


def _object(value: dict[Any, Any], path: Path, notes: list[Note]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for key, item in value.items():
        text, kind = _key(key, path)
        if text in plain:
            raise NotPlainError(f"an object with two keys that are both spelled {text!r} in JSON", path)
        if kind:
            kinds[text] = kind
        plain[text] = _convert(item, (*path, text), notes)
    if kinds:
        notes.append([list(path), "keys", kinds])
    return plain


# Order matters: a datetime is a date.
_CONVERTERS: tuple[tuple[Any, Callable[[Any, Path, list[Note]], Any]], ...] = (
    (str, lambda value, path, notes: str.__str__(value)),
    (int, lambda value, path, notes: int.__int__(value)),
    (float, _float),
    (dict, _object),
    (list, _array_of("list")),
    (tuple, _array_of("tuple")),
    (set, _set_of("set")),
    (frozenset, _set_of("frozenset")),
    (complex, _complex),
    (datetime.datetime, _text_as("datetime", lambda value: str(value.isoformat()))),
    (datetime.date, _text_as("date", lambda value: str(value.isoformat()))),
    (datetime.time, _text_as("time", lambda value: str(value.isoformat()))),
    (datetime.timedelta, _timedelta),
    (decimal.Decimal, _text_as("decimal", str)),
    (fractions.Fraction, _text_as("fraction", str)),
    (uuid.UUID, _text_as("uuid", str)),
    (pathlib.PurePath, _text_as("path", str)),
    ((bytes, bytearray, memoryview), _text_as("bytes", lambda value: base64.b64encode(value).decode())),
)


# libraries that are looked at only when the notebook has imported them -------------------------------------------------

_FOREIGN = object()


def _numpy(value: Any, path: Path, notes: list[Note]) -> Any:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ndarray):
        shape = list(value.shape)
        finite = value.dtype.kind in "iub" or (value.dtype.kind == "f" and bool(numpy.isfinite(value).all()))
        # Plain numbers need no look at each: a million of them take a millisecond instead of half a second.
        plain = value.tolist() if finite else _convert(_numpy_items(value), path, notes)
        notes.append([list(path), "numpy", [str(value.dtype), shape]])
        return plain
    if isinstance(value, numpy.generic):
        plain = _convert(_numpy_items(value), path, notes)
        notes.append([list(path), "numpy", [str(value.dtype), None]])
        return plain
    return _FOREIGN


def _numpy_items(value: Any) -> Any:
    """Give Python's values for numpy's; times in microseconds, the finest that Python has."""
    if value.dtype.kind in "mM":
        value = value.astype(f"{value.dtype.kind}8[us]")
    elif value.dtype.char in "gG":  # wider than Python's own, whose `tolist` gives numpy's values again
        value = value.astype("float64" if value.dtype.char == "g" else "complex128")
    return value.tolist()


def _pandas(value: Any, path: Path, notes: list[Note]) -> Any:
    pandas = sys.modules["pandas"]
    if value is pandas.NA or value is pandas.NaT:
        notes.append([list(path), "nan"])
        return None
    if isinstance(value, pandas.DataFrame):
        frame = value if isinstance(value.index, pandas.RangeIndex) else value.reset_index()
        plain = _convert(frame.to_dict("records"), path, notes)
        notes.append([list(path), "dataframe", [str(column) for column in frame.columns]])
        return plain
    return _FOREIGN


_LIBRARY_CONVERTERS: dict[str, Callable[[Any, Path, list[Note]], Any]] = {"numpy": _numpy, "pandas": _pandas}
