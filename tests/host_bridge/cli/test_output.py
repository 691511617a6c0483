"""What the command line shows of others' text can't act on the terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.cli.output import plain, print_json, short, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode and 漢字", "plain text, ünïcode and 漢字"),
        ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
        ("over\rwritten", "over\\u{d}written"),
        ("rm -rf x \u202e# harmless\nline", "rm -rf x \\u{202e}# harmless\nline"),
        ("ls" + " " * 10_000 + "; rm -rf x", "ls ⟨10000 blank characters⟩ ; rm -rf x"),
    ],
)
def test_text_of_others_is_shown_harmless(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_nothing_that_moves_the_cursor_survives(text: str) -> None:
    assert all(line.isprintable() for line in plain(text).split("\n"))


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "1"), ("longer", "2")]) == "a       1\nlonger  2"


def test_json_is_one_document_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "grün", "nested": [1, None]})

    assert json.loads(capsys.readouterr().out) == {"name": "grün", "nested": [1, None]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.94, "0.94"),
        ("text", "text"),
        (["a", 1], '["a", 1]'),
        ([{"a": 1}, {"a": 2}], "(2 rows)"),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_a_value_fits_into_a_tables_cell(value: object, shown: str) -> None:
    assert short(value) == shown
