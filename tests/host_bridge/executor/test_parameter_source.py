"""Parameters written as source come back as they were: equal, and of the same types all through."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import math
import pathlib
import uuid
import zoneinfo
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.executor.parameter_source import render_assignments, render_parameters
from host_bridge.executor.parameters import ParameterError


def run(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source, "cell", "exec"), namespace)
    namespace.pop("__builtins__", None)
    return namespace


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of equal types, NaN being equal to NaN and -0.0 not to 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, decimal.Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(map(same, left.items(), right.items()))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(item, other) for other in right) for item in left)
    if isinstance(left, datetime.datetime | datetime.time):
        return (
            left.replace(tzinfo=None) == right.replace(tzinfo=None)
            and left.fold == right.fold
            and left.tzinfo == right.tzinfo
        )
    return bool(left == right)


zones = st.none() | st.just(datetime.UTC) | st.timezones() | st.builds(
    datetime.timezone, st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23))
)  # fmt: skip
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=zones),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.text(st.characters(exclude_characters="\0", codec="utf-8")).map(pathlib.Path),
    st.builds(bytearray, st.binary()),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)),
)
keys = st.one_of(
    st.integers(), st.text(), st.dates(), st.tuples(st.integers(), st.text()), st.frozensets(st.integers())
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    ),
    max_leaves=12,
)
names = st.one_of(
    st.from_regex(r"\A[a-z_][a-zA-Z0-9_]{0,8}\Z").filter(
        lambda name: not (name.startswith("__") and name.endswith("__"))
    ),
    st.sampled_from(
        ["float", "set", "frozenset", "complex", "bytearray", "range", "datetime", "match", "type", "print"]
    ),
).filter(lambda name: not __import__("keyword").iskeyword(name))


@given(st.dictionaries(names, values, max_size=6))
@settings(max_examples=300, deadline=None)
def test_running_the_cell_gives_back_every_value_with_its_types(parameters: dict[str, Any]) -> None:
    found = run(render_parameters(parameters))
    assert list(found) == list(parameters)
    assert all(same(found[name], value) for name, value in parameters.items()), (found, parameters)


def test_the_cell_begins_as_readers_of_papermill_notebooks_expect() -> None:
    assert render_parameters({"a": 1, "b": "x"}) == "# Parameters\na = 1\nb = 'x'\n"
    assert render_parameters({}) == "# Parameters\n"
    assert render_parameters({}, comment="two\nlines = 1") == "# two lines = 1\n"


def test_a_module_is_not_imported_under_a_name_of_the_notebook() -> None:
    source = render_parameters({"day": datetime.date(2024, 1, 2)})
    assert run("from datetime import datetime\n" + source)["datetime"] is datetime.datetime


def test_secrets_are_named_and_not_written() -> None:
    source = render_parameters({"a": 1}, secrets=["token"])
    assert source.splitlines()[-1] == "# token: secret, handed to the kernel outside this notebook"
    assert run(source) == {"a": 1}
    assert render_assignments({"token": "s3cret"}) == "token = 's3cret'\n"


@pytest.mark.parametrize(
    "value",
    [2**40_000, -(2**40_000), 0.1 + 0.2, -0.0, 5e-324, "\ud800", "\u202e\x00\r\n\u2028", b"\x00'\""],
    ids=lambda value: type(value).__name__,
)
def test_awkward_values_come_back(value: Any) -> None:
    assert same(run(render_parameters({"x": value}))["x"], value)


def test_the_same_parameters_give_the_same_cell() -> None:
    assert render_parameters({"x": {"b", "a", "c"}}) == "# Parameters\nx = {'a', 'b', 'c'}\n"


@pytest.mark.parametrize(
    "value",
    [
        zoneinfo.ZoneInfo("Europe/Zurich"),
        datetime.timezone(datetime.timedelta(hours=2), "CEST"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=5),
        pathlib.PureWindowsPath("c:\\x"),
    ],
)
def test_rarer_types_come_back(value: Any) -> None:
    assert same(run(render_parameters({"x": value}))["x"], value)


@pytest.mark.parametrize(
    "value",
    ["float32(0.1)", "float64('nan')", "int8(-3)", "uint64(2**64 - 1)", "bool_(True)", "complex64(1 + 2j)", "str_('a')",
     "datetime64('2024-01-02T03:04:05.123456789')", "datetime64('2024-01')", "timedelta64(5, 'm')", "datetime64('NaT')"],
)  # fmt: skip
def test_numpy_numbers_come_back(value: str) -> None:
    numpy = pytest.importorskip("numpy")
    expected = eval(f"numpy.{value}", {"numpy": numpy})
    found = run(render_parameters({"x": expected}))["x"]
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found == expected or (found != found and expected != expected)


class Colour(enum.Enum):
    RED = 1


class Number(int):
    pass


@pytest.mark.parametrize(
    "value", [object(), Colour.RED, Number(3), print, open, [object()], {"a": {Colour.RED}}, Exception()]
)
def test_what_no_source_gives_back_is_refused(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"parameter 'x': .* can't be written as source") as caught:
        render_parameters({"x": value})
    assert caught.value.name == "x"


def test_a_value_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ParameterError, match="within itself"):
        render_parameters({"x": loop})


def test_deep_values_are_either_refused_or_come_back() -> None:
    value: Any = frozenset()
    for _ in range(88):
        value = frozenset([value])
    assert run(render_parameters({"x": value}))["x"] == value


@pytest.mark.parametrize("name", ["x=1; import os; y", "class", "x y", "__builtins__", "ﬁ"])
def test_a_name_that_is_code_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="can't name a parameter"):
        render_assignments({name: 2})
