"""What a notebook passes reaches the tool as it was meant, or is refused before anything is sent."""

from __future__ import annotations

import enum
import pathlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hermes_runtime as hermes
from hermes_protocol.frames import MAX_ENVELOPE_BYTES
from hermes_runtime._arguments import MAX_DEPTH, to_plain
from hermes_runtime.testing import FakeHost


class Colour(enum.StrEnum):
    RED = "red"


@pytest.fixture(scope="module")
def host():
    with FakeHost({"echo": lambda **arguments: {"got": arguments}, "size": lambda content=None: len(content)}) as made:
        yield made


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (2**63, 2**63),
        (1.5, 1.5),
        ("é\n", "é\n"),
        ([1, [2, {"a": None}]], [1, [2, {"a": None}]]),
        ((1, 2), [1, 2]),
        ({"a": (1,)}, {"a": [1]}),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        ({Colour.RED: 1}, {"red": 1}),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (range(0), None),
    ],
)
def test_plain_forms(host: FakeHost, value: Any, plain: Any) -> None:
    if isinstance(value, range):
        with pytest.raises(hermes.InvalidToolRequestError, match=r"value is a builtins\.range"):
            hermes.call("echo", value=value)
        return
    got = hermes.call("echo", value=value)["got"]["value"]
    assert got == plain
    assert type(got) is type(plain)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "value holds nan"),
        ([1, float("inf")], r"value\[1\] holds inf"),
        (object(), "value is a builtins.object"),
        ({1: 2}, "has the key 1"),
        ({"a": [b"bytes"]}, r"value\['a'\]\[0\] is a builtins.bytes"),
        (nested(MAX_DEPTH + 1), "nested more than"),
        (endless(), "nested more than"),
        (2**64, "can't be sent"),
        ("\ud800", "can't be sent"),
        ("x" * MAX_ENVELOPE_BYTES, "pass large content as bytes"),
        ([0] * MAX_ENVELOPE_BYTES, "pass large content as bytes"),
    ],
    ids=lambda value: type(value).__name__,  # no addresses: every process that collects must find the same names
)
def test_what_cannot_be_sent_is_refused_and_the_connection_lives_on(host: FakeHost, value: Any, reason: str) -> None:
    before = len(host.calls)
    with pytest.raises(hermes.InvalidToolRequestError, match=reason):
        hermes.call("echo", value=value)
    assert len(host.calls) == before
    assert hermes.call("echo", value=1) == {"got": {"value": 1}}


def test_the_deepest_allowed_nesting_arrives(host: FakeHost) -> None:
    assert hermes.call("echo", value=nested(MAX_DEPTH))["got"]["value"] == nested(MAX_DEPTH)


@pytest.mark.parametrize("content", [b"", b"x" * 10, bytearray(b"abc"), memoryview(b"view")])
def test_bytes_arrive_whatever_kind_they_are(host: FakeHost, content: bytes) -> None:
    assert hermes.call("size", content=content) == len(content)


def test_only_one_argument_may_be_huge(host: FakeHost) -> None:
    with pytest.raises(hermes.InvalidToolRequestError, match="one, two"):
        hermes.call("echo", one=bytes(2**21), two=bytes(2**21))
    with pytest.raises(hermes.InvalidToolRequestError, match="'Upper' can't name bytes"):
        hermes.call("echo", Upper=b"x")


def test_bytes_that_come_back_are_in_the_result_by_name() -> None:
    from hermes_runtime.testing import Reply

    def picture(call):
        call.emit("body", b"streamed")
        return Reply({"width": 3}, {"png": b"\x89PNG"})

    with FakeHost({"picture": picture, "raw": lambda: Reply("text", {"more": b"bytes"})}):
        assert hermes.call("picture") == {"width": 3, "png": b"\x89PNG", "body": b"streamed"}
        assert hermes.call("raw") == {"result": "text", "more": b"bytes"}


def test_a_timeout_limits_a_call_and_goes_to_tools_that_have_one() -> None:
    def with_timeout(timeout=5):
        return timeout

    with FakeHost({"with_timeout": with_timeout, "without": lambda: "fine"}) as host:
        assert hermes.call("without", timeout=7) == "fine"
        assert host.calls[-1].timeout_seconds == pytest.approx(7, abs=0.5)
        assert host.calls[-1].arguments == {}
        assert hermes.call("with_timeout", timeout=7) == 7
        assert host.calls[-1].timeout_seconds > 8
        with pytest.raises(hermes.InvalidToolRequestError, match="timeout"):
            hermes.call("without", timeout=None)


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain_values)
@settings(max_examples=200, deadline=None)
def test_plain_data_arrives_as_it_is(value: Any) -> None:
    assert to_plain(value, "value") == value


@given(
    st.recursive(
        plain_values | st.binary() | st.complex_numbers() | st.floats(),
        lambda inner: st.lists(inner) | st.tuples(inner),
    )
)
@settings(max_examples=200, deadline=None)
def test_anything_else_becomes_plain_or_is_refused_with_its_name(value: Any) -> None:
    refusal = ""
    try:
        to_plain(value, "thing")
    except hermes.InvalidToolRequestError as error:
        refusal = str(error)
    assert not refusal or refusal.startswith("thing")
