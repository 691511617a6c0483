"""What the command line shows of others' text can't act on the terminal."""

import io
import json
import os
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.cli.output import hanging, plain, print_json, short, shortened, table, write_page


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have standard output be a terminal of 40 columns. No fixture, whose standard output isn't the test's."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "40")


def test_on_a_terminal_the_column_that_may_gives_way_and_keeps_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    use_narrow_terminal(monkeypatch)
    rows = [("ok", "/home/ann/projects/fleet/reports/out.ipynb", "1.2 s"), ("failed", "/short", "20 ms")]
    shown = table(rows, gives_way=1).splitlines()
    assert shown == ["ok      /home/ann/pr…ts/out.ipynb  1.2 s", f"failed  {'/short':25}  20 ms"]
    assert max(map(len, shown)) <= 40
    assert table(rows, gives_way=1, margin=4).splitlines()[0] == "ok      /home/ann/…/out.ipynb  1.2 s"
    assert "/home/ann/projects/fleet/reports/out.ipynb" in table(rows)


def test_elsewhere_a_table_is_whole() -> None:
    assert "x y" * 70 in table([("a", "x y" * 70)], gives_way=1)


def test_further_lines_stand_below_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    use_narrow_terminal(monkeypatch)
    text = hanging("ok  disk  ", "plenty of room is left\nin two folders, of which one is /a/very-long/name/indeed")
    assert text.splitlines() == [
        "plenty of room is left",
        "          in two folders, of which one",
        "          is /a/very-long/name/indeed",
    ]


@given(st.text(), st.integers(1, 50))
def test_what_is_shortened_fits(text: str, width: int) -> None:
    assert len(shortened(text, width)) <= width


def test_a_page_is_for_its_user_and_goes_through_no_link(tmp_path: Path) -> None:
    page, other = tmp_path / "page.html", tmp_path / "other"
    page.write_text("what was there before")
    page.chmod(0o644)
    write_page(str(page), "<p>")
    assert page.read_text() == "<p>"
    assert page.stat().st_mode & 0o777 == 0o600
    other.write_text("dear")
    page.unlink()
    page.symlink_to(other)
    with pytest.raises(click.UsageError, match="is a link"):
        write_page(str(page), "<p>")
    page.unlink()
    os.mkfifo(page)
    with pytest.raises(OSError, match="No such device"):
        write_page(str(page), "<p>")
    assert other.read_text() == "dear"


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
