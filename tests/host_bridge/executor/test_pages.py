"""Every page can be read: by eyes in light and dark, by a screen reader, on paper, and offline."""

from __future__ import annotations

import base64
import hashlib
import html
import html.parser
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.executor.pages import COLOURS, page, table

TEXT_ON = {
    "back": ("text", "dim", "link", "good", "bad", "wait"),
    "soft": ("text", "dim"),
    "add": ("text",),
    "add-word": ("text",),
    "del": ("text",),
    "del-word": ("text",),
    "warn": ("text",),
}
"""What is written on what."""


def luminance(colour: str) -> float:
    """Of a colour as `#rrggbb`, by WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_wcag_says() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("scheme", "ground"), list(itertools.product(COLOURS, TEXT_ON)))
def test_text_stands_out_from_its_ground(scheme: str, ground: str) -> None:
    colours = COLOURS[scheme]
    for text in TEXT_ON[ground]:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, contrast(colours[text], colours[ground]))


@pytest.mark.parametrize("scheme", COLOURS)
def test_bars_stand_out_from_their_rail(scheme: str) -> None:
    for drawn in ("good", "bad", "amber", "link", "dim"):
        assert contrast(COLOURS[scheme][drawn], COLOURS[scheme]["soft"]) >= 3, drawn


def test_both_schemes_have_the_same_colours_and_every_one_that_is_used() -> None:
    assert set(COLOURS["light"]) == set(COLOURS["dark"])
    assert set(re.findall(r"var\(--([a-z-]+)\)", page("x", ()))) <= set(COLOURS["light"])


def test_the_policy_lets_the_page_have_its_own_style_and_pictures_in_it_and_nothing_else() -> None:
    text = page("x", (), style=".more { color: red; }")
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', text)
    assert html.unescape(policy) == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_a_page_has_a_language_one_heading_and_a_main_part() -> None:
    text = page("a <b>", ["<p>x</p>"])
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert text.count("<h1>a &lt;b&gt;</h1>") == text.count("<main>") == text.count("</main>") == 1
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert ":focus-visible" in text


class Cells(html.parser.HTMLParser):
    """A table's cells: element, scope, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None, str]] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag in ("th", "td"):
            self.found.append((tag, dict(attrs).get("scope"), ""))

    def handle_data(self, data: str) -> None:
        tag, scope, text = self.found[-1]
        self.found[-1] = (tag, scope, text + data)


@given(st.lists(st.text(st.sampled_from("<>&\"'ab/=\u202e\x00\x1b["), min_size=1), min_size=2, max_size=2))
def test_a_table_says_what_heads_what_and_shows_its_texts_whatever_they_hold(row: list[str]) -> None:
    cells = Cells(table(("name", "value"), [row]))
    assert cells.names == {"div", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert [(tag, scope) for tag, scope, _ in cells.found] == [
        ("th", "col"),
        ("th", "col"),
        ("th", "row"),
        ("td", None),
    ]
    for _, _, text in cells.found:
        assert text.isprintable()
