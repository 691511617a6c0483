"""The text a match must contain: never one it can do without."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.tools.required_text import required_text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("abc", "abc"),
        (r"class \w+Provisioner\b", "Provisioner"),
        (r"a\.b\(c\)", "a.b(c)"),
        ("abc?", "ab"),
        ("abc*d+", "ab"),
        ("ab{0,2}cd", "cd"),
        ("abc|abd", ""),
        ("(abc|abd)xy", "xy"),
        ("(abc)?x", "x"),
        ("[abc]de[]]f", "de"),
        (r"[^\]abc]de", "de"),
        (r"[\\]de", "de"),
        ("(?i)abc", ""),
        ("(?x)a b c", ""),
        ("(?i:abc)d", ""),
        ("^abc$", "abc"),
        (r"\x41bc", ""),
        ("", ""),
        (".*", ""),
    ],
)
def test_it_is_found_outside_of_groups_classes_and_alternatives(pattern: str, text: str) -> None:
    assert required_text(pattern) == text


@given(
    pattern=st.lists(
        st.sampled_from(
            ["a", "b", "ab", "\\.", ".", "*", "?", "+", "{0,1}", "{2}", "(", ")", "(?:", "|", "[", "]", "[ab]"]
        )
        | st.sampled_from(["[^a]", "\\b", "\\d", "^", "$", "\\", "(?i)", "(?!", "(?=", "{", "}", "\\x41", "\\n", "-"]),
        max_size=8,
    ).map("".join),
    line=st.text(alphabet="abAB.1-{}\\]", max_size=8),
)
@settings(max_examples=1500, deadline=None)
def test_no_line_matches_without_it(pattern: str, line: str) -> None:
    try:
        expression = re.compile(pattern)
    except (re.error, FutureWarning, DeprecationWarning):
        return
    if expression.search(line):
        assert required_text(pattern) in line
