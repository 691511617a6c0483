"""What a notebook shows of a tool's results: nothing hidden, nothing run, and nothing that grows without end."""

from __future__ import annotations

import html.parser
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hermes_runtime as hermes
from hermes_runtime._http import HttpResponse
from hermes_runtime._markup import details, laid_out, table, visible
from hermes_runtime._processes import ProcessLog
from hermes_runtime._results import Document, FileEntry, FileList, FileSearch, Match, SearchResult, SearchResults

ELEMENTS = set("a b br details div li ol pre summary table tbody td th thead tr".split())  # noqa: SIM905
HOSTILE = st.text(
    st.sampled_from("<>&\"'/=ab \t\n\r\x00\x07\x1b[]m;\u202e\u2066\u200b\u200f\ufeff\xad\ud800שم"), max_size=60
)


class Shown(html.parser.HTMLParser):
    """What a browser makes of a piece of HTML: its elements, their attributes, and the text that is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all_of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


STYLES = {
    attributes.get("style") for _, attributes in Shown(table(("a",), [("b",), (1,)]) + details("a", "b")).elements
}


@given(HOSTILE, HOSTILE)
def test_whatever_a_tool_gave_is_text_and_all_of_it_can_be_seen(one: str, other: str) -> None:
    results = (
        hermes.TerminalResult(one, [("stdout", other.encode("utf-8", "replace"))], exit_code=0),
        SearchResults([SearchResult(one, other, one)], query=one, provider=other),
        SearchResults([SearchResult(one, f"https://a.example/{other}", one)]),
        Document(url=one, title=other, error=one),
        Document(url=one, title=other, markdown=one),
        FileList([FileEntry(one, other)]),
        FileSearch(matches=[Match(one, 1, other)]),
        ProcessLog(hermes.ProcessState(one, other), other.encode("utf-8", "replace"), 0, 1),
        HttpResponse(200, reason=one, headers=[(other, one)], content=other.encode("utf-8", "replace"), url=one),
        hermes.ProcessState(one, other, matches=(one,)),
    )
    for result in results:
        shown = Shown(result._repr_html_())
        assert not shown.open
        for tag, attributes in shown.elements:
            assert tag in ELEMENTS
            assert set(attributes) <= {"href", "rel", "scope", "style", "tabindex", "target"}
            assert attributes.get("style") in STYLES
            assert attributes.get("href", "https://").lower().startswith(("http://", "https://"))
        for text in (shown.text, repr(result)):
            assert not [each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs") and each != "\n"]


@pytest.mark.parametrize(
    ("printed", "left"),
    [
        ("\x1b[31mred\x1b[0m \x1b]8;;https://a.example\x07link\x1b]8;;\x07", "red link"),
        ("10 %\r50 %\r100 %\ndone\r\n", "100 %\ndone\n"),
        ("a\tb", "a       b"),
        ("stop\x07 \u202eevil", "stop\\u{7} \\u{202e}evil"),
        ("שלום (abc) مرحبا", "שלום (abc) مرحبا"),
        ("👩\u200d🚀 می\u200cخواهم\u3000x", "👩\u200d🚀 می\u200cخواهم x"),
    ],
)
def test_output_stands_as_a_terminal_leaves_it(printed: str, left: str) -> None:
    assert laid_out(printed) == left


def test_a_path_can_not_be_written_backwards() -> None:
    entries = FileList([FileEntry("gpj.\u202eexe")])
    assert "gpj.\\u{202e}exe" in entries._repr_html_()
    assert "gpj.\\u{202e}exe" in repr(entries)


def test_a_title_does_not_hide_where_its_link_leads() -> None:
    shown = Shown(SearchResult("https://bank.example", "https://evil.example/", "")._repr_html_())
    assert shown.text == "https://bank.examplehttps://evil.example/"
    assert Shown(SearchResult("", "https://a.example/", "x")._repr_html_()).text == "https://a.example/x"


def test_text_stands_to_the_left_and_numbers_to_the_right() -> None:
    cells = Shown(table(("name", "size"), [("a.txt", 12), ("b.txt", "3.0 MiB")])).all_of("td")
    sides = [(attributes["style"] or "").partition(";")[0] for attributes in cells]
    assert sides == ["text-align: left", "text-align: right"] * 2


def test_a_name_heads_its_row_and_a_column_its_values() -> None:
    assert [each["scope"] for each in Shown(table(("", ""), [("pid", 7)])).all_of("th")] == ["row"]
    assert [each["scope"] for each in Shown(table(("path",), [("a",)])).all_of("th")] == ["col"]


def test_long_output_keeps_its_beginning_and_its_end() -> None:
    result = hermes.TerminalResult("seq", [("stdout", "".join(f"{n}\n" for n in range(100_000)).encode())], exit_code=0)
    text = result._repr_html_()
    assert len(text) < 60_000
    assert "100,000 lines" in text
    assert "characters not shown" in text
    assert "\n99999\n" in text
    assert result.stdout.count("\n") == 100_000


def test_a_command_is_told_by_how_it_ended() -> None:
    done = hermes.TerminalResult("uptime", [("stdout", b"up\n")], exit_code=0, duration_seconds=0.0121)
    assert "<summary" in done._repr_html_()
    assert ">exit code 0 in 0.0121 s, 1 line: uptime</summary>" in done._repr_html_()
    assert ">no exit code in 0 s, no output: x</summary>" in hermes.TerminalResult("x", [])._repr_html_()


@given(HOSTILE)
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    if text.isprintable():
        assert visible(text) == text
