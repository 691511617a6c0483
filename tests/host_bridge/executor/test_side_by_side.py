"""Two texts beside each other: nothing of a change is lost, and what belongs together is in one row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from host_bridge.executor.side_by_side import one_side, side_by_side

LINES = st.lists(st.sampled_from(["a", "b", "x = 1", "x = 2", "", "<b>&amp;", "def f(x):", "def f(y):"]), max_size=30)


def rows(markup: str) -> list[list[str]]:
    return [[cell.text_content() for cell in row.xpath("td")] for row in html.fromstring(markup).xpath(".//tr")]


def side(markup: str, element: str) -> list[str]:
    return [each.text_content() for each in html.fromstring(markup).xpath(f".//{element}")]


@given(LINES, LINES)
def test_equal_and_changed_lines_are_both_texts(before: list[str], after: list[str]) -> None:
    table = html.fromstring(side_by_side("\n".join(before), "\n".join(after)))
    folded = sum(int(text.split()[0]) for text in table.xpath(".//td[@class='fold']/text()"))
    for element, twin, text in (("del", "same twin", before), ("ins", "same", after)):
        found = [each.text_content() for each in table.xpath(f".//{element}|.//td[@class='{twin}']")]
        wanted = "\n".join(text).split("\n")
        assert len(found) + folded == len(wanted)
        if not folded:
            assert found == wanted


def test_a_line_stands_beside_the_one_that_took_its_place() -> None:
    shown = rows(side_by_side("a = 1\nb = 2\nc = 3", "a = 1\nb = 20\nnew = 0\nc = 3"))
    assert shown == [
        ["1", "a = 1", "1", "a = 1"],
        ["2", "b = 2", "2", "b = 20"],
        ["", "3", "new = 0"],
        ["3", "c = 3", "4", "c = 3"],
    ]


def test_the_words_that_differ_are_marked_where_the_lines_are_alike() -> None:
    assert side(side_by_side("load(host, retries=1)", "load(host, retries=5)"), "mark") == ["1", "5"]
    assert side(side_by_side("import pandas", "frame.plot.bar(stacked=True)"), "mark") == []


def test_what_stays_the_same_for_long_is_left_out_and_counted() -> None:
    before = [f"line {number}" for number in range(1, 101)]
    shown = rows(side_by_side("\n".join(before), "\n".join([*before[:49], "LINE 50", *before[50:]])))
    assert shown[0] == ["46 equal lines"]
    assert [row[0] for row in shown[1:-1]] == ["47", "48", "49", "50", "51", "52", "53"]
    assert shown[-1] == ["47 equal lines"]


def test_large_texts_are_compared_quickly_and_cut() -> None:
    markup = side_by_side("x\n" * 100_000 + "a", "y\n" * 100_000 + "a")
    assert len(rows(markup)) == 5_002
    assert rows(markup)[-2] == ["95,000 more lines"]
    assert rows(side_by_side("x\n" * 100_000, "x\n" * 50_000))[-2] == ["45,000 more lines"]


def test_a_text_of_one_side_is_numbered_and_marked() -> None:
    assert rows(one_side("a\nb", "add")) == [["1", "a"], ["2", "b"]]
    assert side(one_side("a\nb", "del"), "del") == ["a", "b"]
