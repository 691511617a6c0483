"""Plain forms and notes: whatever is recorded is strict JSON, and comes back as it was."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import pathlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_runtime._plain import to_plain
from host_bridge.executor.scrap_notes import restore


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, decimal.Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        # In any order: a notebook's writer sorts keys.
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec="utf-8")),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(pathlib.PurePath),
)
numbers = st.integers() | st.text(max_size=4) | st.dates()
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4),
        st.dictionaries(st.integers() | st.dates() | st.booleans(), inner, max_size=3),
        st.sets(st.integers() | st.dates(), max_size=4),
        st.frozensets(st.text(st.characters(codec="utf-8"), max_size=3), max_size=4),
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=600, deadline=None)
def test_every_value_comes_back_through_a_notebook_file(value: Any) -> None:
    plain, notes = to_plain(value)
    assert plain is not None
    # As nbformat writes it: strict JSON with sorted keys.
    stored = json.loads(json.dumps({"data": plain, "notes": notes}, allow_nan=False, sort_keys=True))
    found, left = restore(stored["data"], stored["notes"])
    assert left == []
    assert same(found, value), (found, value, notes)


@given(
    st.recursive(
        st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@settings(max_examples=100, deadline=None)
def test_what_json_can_say_needs_no_notes(value: Any) -> None:
    assert to_plain(value) == (value, [])
