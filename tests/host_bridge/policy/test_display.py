"""What an error shows of a rule is what was written: pasted back, it means the same."""

from __future__ import annotations

import re
import shlex
import tomllib

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from host_bridge.cli.output import plain
from host_bridge.errors import PolicyError
from host_bridge.policy.display import as_written
from host_bridge.policy.loading import load_policy

QUOTED = re.compile(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"")
# Lone halves of a pair come from no file.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("\\u{}41'\"n \u202e", max_size=12)


def read(shown: str) -> str:
    text: str = tomllib.loads(f"text = {shown}")["text"]
    return text


@settings(deadline=None)
@given(texts)
def test_a_policy_file_takes_a_shown_text_back(text: str) -> None:
    assert read(as_written(text)) == text
    assert as_written(text).isprintable()


@settings(deadline=None)
@given(texts)
def test_a_shell_does_too_unless_it_has_a_quote_or_hides_something(text: str) -> None:
    assume("'" not in text and text.isprintable() and "\\u{" not in text)
    assert shlex.split(as_written(text)) == [text]


@settings(deadline=None)
@given(texts)
def test_the_command_line_shows_it_as_it_is(text: str) -> None:
    assert plain(as_written(text)) == as_written(text)


@settings(deadline=None)
@given(
    st.sampled_from(["read_file", "terminal", "web_extract", "http_request", "shout"]),
    st.text("ab*?[]{}\\'\"~./ :$;|\u202e", max_size=12),
    st.sampled_from(["({})", "(url:{})", "(GET url:{})", "{}", "({}"]),
)
def test_an_error_about_a_rule_shows_what_is_in_the_file(tool: str, pattern: str, form: str) -> None:
    rule = tool + form.format(pattern)
    refused = ""
    try:
        load_policy(profile="read-only", texts=(("user", f"[rules]\nallow = [{as_written(rule)}]"),))
    except PolicyError as error:
        refused = str(error)
    shown = QUOTED.search(refused.partition("rules.allow[0]: ")[2])
    assert bool(shown) == bool(refused)
    assert shown is None or read(shown[0]) in rule


def test_a_backslash_in_a_file_is_one_in_the_error_too() -> None:
    refused = ""
    try:
        load_policy(profile="read-only", texts=(("user", "[rules]\nallow = ['read_file(./a\\b?)']"),))
    except PolicyError as error:
        refused = str(error)
    assert r"'a\b?'" in refused
