"""What the command line shows of others' text can't act on the terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.cli.output import one_line, plain, print_json, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode and 漢字", "plain text, ünïcode and 漢字"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("over\rwritten", "over\\rwritten"),
        ("rm -rf x \u202e# harmless", "rm -rf x \\u202e# harmless"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028separator", "line\\u2028separator"),
        ("no\xa0break", "no\\xa0break"),
        ("ls" + " " * 10_000 + "; rm -rf x", "ls ⟨10000 spaces⟩ ; rm -rf x"),
        ("a" * 2100, "a" * 2000 + "… (100 more characters)"),
    ],
)
def test_text_of_others_is_shown_harmless_with_its_payload_visible(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_nothing_that_moves_the_cursor_survives(text: str) -> None:
    assert all(character == "\n" or character == "\t" or character.isprintable() for character in plain(text))
    assert one_line(text).isprintable()


def test_a_lone_surrogate_can_be_written() -> None:
    assert plain("broken \ud800 name").encode() == b"broken \\ud800 name"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "1"), ("longer", "2")]) == "a       1\nlonger  2"


def test_json_is_one_document_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "grün", "nested": [1, None]})

    assert json.loads(capsys.readouterr().out) == {"name": "grün", "nested": [1, None]}
