"""Glob patterns: what they fit, and that no pattern takes for ever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.tools.globs import MAX_GLOB_CHARACTERS, Glob, GlobError


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("*.py", ["a.py", "x/y/a.py"], ["a.pyc", "a.py/b"]),
        ("a/*.py", ["a/b.py"], ["b.py", "x/a/b.py", "a/c/b.py"]),
        ("./a/*.py", ["a/b.py"], ["b.py"]),
        ("a/**/*.py", ["a/b.py", "a/c/d/b.py"], ["b.py", "ab.py"]),
        ("a/**", ["a/b", "a/b/c"], ["b/a"]),
        ("**/test_*", ["test_a", "x/test_b"], ["x/a_test"]),
        ("**", ["a", "a/b"], []),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/z/c"], ["a/c", "a/b"]),
        ("{a,b}/*.{py,md}", ["a/x.py", "b/x.md"], ["c/x.py", "a/x.txt"]),
        ("x{a,{b,c}d}", ["xa", "xbd", "xcd"], ["xb", "xad"]),
        ("[ab]?", ["ax", "b1"], ["a", "cx", "axx"]),
        ("[!a]*", ["b", "bc"], ["a", "ab"]),
        ("[*]", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("größe*", ["größe.txt"], ["grosse.txt"]),
        ("[", ["["], ["a"]),
        ("dir/", ["dir", "x/dir"], ["dirs"]),
    ],
)
def test_a_pattern_fits_what_it_says(pattern: str, fits: list[str], does_not: list[str]) -> None:
    glob = Glob(pattern)
    assert [path for path in fits if not glob.matches(path)] == []
    assert [path for path in does_not if glob.matches(path)] == []


@pytest.mark.parametrize(
    ("pattern", "wants"), [(".env", True), ("a/.b/*", True), ("{a,.b}", True), ("*.py", False), ("./a", False)]
)
def test_a_pattern_that_names_a_dot_wants_hidden_names(pattern: str, wants: bool) -> None:
    assert Glob(pattern).wants_hidden is wants


@pytest.mark.parametrize(
    "pattern", ["", "x" * (MAX_GLOB_CHARACTERS + 1), "{a,b", "{a,b}" * 7, "[z-a]{", "{a,b}" * 6 + "/x" * 9]
)
def test_what_is_no_pattern_says_so(pattern: str) -> None:
    with pytest.raises(GlobError):
        Glob(pattern)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 400 + "b", "a" * 255),
        ("/".join(["**", "*a*"] * 100), "/".join(["a" * 20] * 99) + "/b"),
        ("{*a,*b}" * 6, "ab" * 100 + "c"),
    ],
)
def test_a_pattern_made_to_be_slow_is_not(pattern: str, path: str) -> None:
    started = time.process_time()
    Glob(pattern).matches(path)
    assert time.process_time() - started < 1


@given(
    components=st.lists(st.sampled_from(["**", "*", "a", "a*", "?", "b"]), min_size=2, max_size=6),
    path=st.lists(st.sampled_from(["a", "b", "ab", "aa"]), min_size=1, max_size=6),
)
@settings(max_examples=1000, deadline=None)
def test_matching_agrees_with_a_regular_expression(components: list[str], path: list[str]) -> None:
    single = {"*": "[^/]*", "a": "a", "a*": "a[^/]*", "?": "[^/]", "b": "b"}
    expression = "".join("(?:[^/]+/)*" if component == "**" else single[component] + "/" for component in components)
    assert Glob("/".join(components)).matches("/".join(path)) == bool(re.fullmatch(expression, "/".join(path) + "/"))
