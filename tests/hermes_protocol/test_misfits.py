"""What doesn't have its declared shape is told in plain words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from hermes_protocol.misfits import MAX_SHOWN_CHARACTERS, explain


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    width: int


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """One of each shape that a tool declares, or another distribution's might."""

    path: str
    unit: Literal["lines", "bytes"] = "lines"
    offset: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    timeout: Annotated[float, Meta(gt=0, le=86_400)] = 180
    command: Annotated[str, Meta(min_length=1, max_length=8)] = "x"
    urls: Annotated[tuple[Annotated[str, Meta(min_length=2)], ...], Meta(min_length=1, max_length=5)] | None = None
    headers: Annotated[dict[str, str], Meta(max_length=1)] = {}
    content: bytes = b""
    recursive: bool = False
    inner: Inner | None = None
    lists: dict[str, list[int]] = {}
    pair: tuple[int, str] = (1, "a")
    even: Annotated[int, Meta(multiple_of=2)] = 2
    name: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    either: str | list[str] | None = None


def misfit(given: Any, kind: Any = Arguments) -> str:
    with pytest.raises((msgspec.ValidationError, UnicodeError)) as raised:
        msgspec.convert(given, type=kind, builtin_types=(bytes,))
    return explain(raised.value, kind)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": 1}, "`path` must be text, not a number"),
        ({"path": None}, "`path` must be text, not None"),
        ({"path": b"x"}, "`path` must be text, not bytes"),
        ({"path": ["x"]}, "`path` must be text, not a list"),
        ({"path": True}, "`path` must be text, not a bool"),
        ({"unit": "pages"}, "`unit` must be 'lines' or 'bytes', not 'pages'"),
        ({"offset": "3"}, "`offset` must be a whole number or None, not text"),
        ({"offset": 1.5}, "`offset` must be a whole number or None, not a decimal number"),
        ({"offset": -1}, "`offset` must be a whole number of at least 0"),
        ({"offset": 2**70}, "`offset` must be a whole number of at most 100,000"),
        ({"timeout": 0}, "`timeout` must be a number above 0"),
        ({"timeout": 1e6}, "`timeout` must be a number of at most 86,400"),
        ({"command": ""}, "`command` must not be empty"),
        ({"command": "x" * 9}, "`command` must have at most 8 characters"),
        ({"urls": []}, "`urls` must not be empty"),
        ({"urls": ["ab"] * 6}, "`urls` must have at most 5 items"),
        ({"urls": ["ab", "b"]}, "`urls[1]` must have at least 2 characters"),
        ({"urls": "ab"}, "`urls` must be a list or None, not text"),
        ({"headers": {"a": "b", "c": "d"}}, "`headers` must have at most 1 entry"),
        ({"headers": {"a": 2}}, "a value of `headers` must be text, not a number"),
        ({"headers": {1: "a"}}, "a key of `headers` must be text, not a number"),
        ({"content": "text"}, "`content` must be bytes, not text"),
        ({"recursive": "yes"}, "`recursive` must be True or False, not text"),
        ({"inner": {"width": "3"}}, "`inner.width` must be a whole number, not text"),
        ({"inner": {}}, "`inner.width` is missing"),
        ({"inner": {"widht": 3}}, "there is no argument `widht` in `inner`; did you mean `width`?"),
        ({"inner": []}, "`inner` must be a dict or None, not a list"),
        ({"lists": {"a": ["b"]}}, "`lists[...][0]` must be a whole number, not text"),
        ({"pair": [1]}, "`pair` must have 2 items, not 1"),
        ({"even": 3}, "`even` must be a multiple of 2"),
        ({"name": "A"}, "`name` must match the pattern '^[a-z]+$'"),
        ({"either": 3}, "`either` must be text, a list or None, not a number"),
        ({"pth": 1}, "there is no argument `pth`; did you mean `path`?"),
        ({1: 1}, "a name in it must be text"),
        ({"inner": {1: 1}}, "a key of `inner` must be text"),
        ({"\ud800": 1}, "some text in it isn't Unicode"),
    ],
)
def test_each_misfit_is_told_in_plain_words(arguments: dict[Any, Any], told: str) -> None:
    assert misfit({"path": "a", **arguments}) == told


def test_what_is_missing_is_named() -> None:
    assert misfit({}) == "`path` is missing"
    assert misfit([]) == "it must be a dict, not a list"


def test_an_unknown_name_that_resembles_none_is_told_with_those_there_are() -> None:
    assert misfit({"width": 1, "zzz": 2}, Inner) == "there is no argument `zzz`; there are `width`"


def test_a_name_that_looks_like_a_place_is_shown_and_not_believed() -> None:
    assert misfit({"path": "a", "x` - at `$.path": 1, "y": 2}).startswith("there is no argument `x`")
    assert misfit({"path": "a", "a`b - at `$.x`": 1}).startswith("there is no argument `a`b - at `$.x``; there are ")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)
_FIELDS = st.sampled_from([*Arguments.__struct_fields__, "Path", "other"]) | st.text()


@settings(deadline=None)
@given(st.dictionaries(_FIELDS, _PLAIN, max_size=4) | _PLAIN)
def test_nothing_that_a_caller_passes_brings_out_the_decoders_own_words(arguments: Any) -> None:
    try:
        msgspec.convert(arguments, type=Arguments, builtin_types=(bytes,))
    except (msgspec.ValidationError, UnicodeError) as error:
        told = explain(error, Arguments)
        assert "Expected" not in told
        assert "Object" not in told
        assert "doesn't fit" not in told


def test_a_name_of_a_megabyte_is_shown_short() -> None:
    assert len(misfit({"path": "a", "x" * 2**20: 1})) < MAX_SHOWN_CHARACTERS + 500
