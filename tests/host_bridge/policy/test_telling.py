"""A line about a call names what it would touch, not how."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.policy.telling import telling, told_call


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"command": "make test", "timeout": 180}, "make test"),
        ({"mode": "replace", "old_string": "a", "path": "reports/a.md"}, "reports/a.md"),
        ({"secrets": ["TOKEN"], "url": "https://a.org/x", "method": "POST"}, "POST https://a.org/x"),
        ({"char_limit": None, "urls": ["https://a.org", "https://b.org"]}, "https://a.org https://b.org"),
        ({"a": 1, "b": "x"}, "a=1, b=x"),
        ({"path": "", "limit": 5}, "path=, limit=5"),
        ({}, ""),
    ],
)
def test_what_says_most_is_told(arguments: dict[str, Any], told: str) -> None:
    assert telling(arguments) == told


def test_arguments_of_a_tape_are_told_whatever_they_are() -> None:
    assert told_call("terminal", '{"command":"ls"}') == "terminal ls"
    assert told_call("terminal", "no JSON") == "terminal no JSON"
    assert told_call("add", "[1]") == "add [1]"


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5)))
def test_every_call_can_be_told(arguments: dict[str, Any]) -> None:
    assert isinstance(telling(arguments), str)
