"""What tools give back: values, compact to look at, and safe to show whatever they hold."""

from __future__ import annotations

import html.parser
import pickle
from typing import Any

import pytest

import hermes_runtime as hermes
from hermes_runtime._http_response import Redirect
from hermes_runtime._listing import Listing, NamedListing, Record
from hermes_runtime._processes import ProcessList, ProcessLog
from hermes_runtime._results import (
    Budget,
    BudgetItem,
    Document,
    Documents,
    FileEntry,
    FileList,
    FileSearch,
    Match,
    PatchedFile,
    PatchResult,
    SearchResult,
    SearchResults,
    Status,
    ToolInfo,
    ToolList,
    WriteResult,
)
from hermes_runtime.testing import FakeHost

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"


class Tags(html.parser.HTMLParser):
    """Collects the elements and the addresses of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name == "href"]


def evil_results() -> list[Any]:
    """One of each kind, with hostile text wherever there is text."""
    state = hermes.ProcessState(EVIL, EVIL, EVIL, matches=(EVIL,), failure=EVIL)
    document = Document(url=EVIL, final_url=EVIL, title=EVIL, content_type=EVIL, markdown=EVIL)
    return [
        hermes.TerminalResult(EVIL, [("stdout", EVIL.encode()), ("stderr", b"\xff" + EVIL.encode())], exit_code=1),
        hermes.Process(EVIL, 1, EVIL),
        state,
        ProcessLog(state, EVIL.encode(), 0, 1),
        ProcessList([state]),
        SearchResult(EVIL, EVIL, EVIL),
        SearchResults([SearchResult(EVIL, EVIL, EVIL)], query=EVIL, provider=EVIL),
        document,
        Documents([document, Document(url=EVIL, error=EVIL)]),
        Redirect(302, EVIL, EVIL, EVIL),
        WriteResult(EVIL, 1, True),
        PatchedFile(EVIL, EVIL),
        PatchResult([PatchedFile(EVIL, EVIL)], diff=EVIL),
        FileEntry(EVIL, EVIL),
        FileList([FileEntry(EVIL, EVIL)] * 30, truncated=True),
        Match(EVIL, 1, EVIL, (EVIL,), (EVIL,)),
        FileSearch(matches=[Match(EVIL, 1, EVIL)], total=1),
        FileSearch(files=[EVIL], total=9, truncated=True),
        FileSearch(counts={EVIL: 3}, total=1),
        ToolInfo(EVIL, EVIL, EVIL),
        ToolList([ToolInfo(EVIL, EVIL, EVIL)]),
        BudgetItem(EVIL, 1.0, 2.0),
        Budget([BudgetItem(EVIL)]),
        Status(EVIL, EVIL, EVIL, EVIL, EVIL),
    ]


def name_of(result: Any) -> str:
    return type(result).__name__


@pytest.mark.parametrize("result", [each for each in evil_results() if hasattr(each, "_repr_html_")], ids=name_of)
def test_html_escapes_whatever_a_tool_gave(result: Any) -> None:
    text = result._repr_html_()
    tags = Tags(text)
    assert tags.names <= {
        "div",
        "b",
        "br",
        "a",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "pre",
    }
    assert tags.attributes <= {"href", "target", "rel", "scope", "style", "tabindex"}
    assert "<script" not in text.lower()


def test_all_kinds_are_tested() -> None:
    def below(kind: type) -> set[type]:
        return {kind} | {each for sub in kind.__subclasses__() for each in below(sub)}

    shown = {each for base in (Record, Listing) for each in below(base)} - {Record, Listing, NamedListing}
    public = {
        each for each in shown if not each.__name__.startswith("_") and each.__module__.startswith("hermes_runtime")
    }
    assert public <= {type(each) for each in evil_results()}


@pytest.mark.parametrize("result", evil_results(), ids=name_of)
def test_results_pickle_and_are_equal_afterwards(result: Any) -> None:
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("result", evil_results(), ids=name_of)
def test_a_repr_is_compact(result: Any) -> None:
    big = repr(result)
    assert len(big) < 3000
    assert type(result).__name__ in big or "result" in big or "found" in big


def test_a_repr_does_not_grow_with_what_it_stands_for() -> None:
    huge = "x" * 1_000_000
    for result in (
        hermes.TerminalResult(huge, [("stdout", huge.encode())]),
        Document(url=huge, markdown=huge),
        FileList([FileEntry(huge)] * 1000),
        FileSearch(matches=[Match(huge, 1, huge)] * 1000),
        SearchResults([SearchResult(huge, huge, huge)] * 1000, query=huge),
    ):
        assert len(repr(result)) < 10_000


@pytest.mark.parametrize(
    ("url", "is_link"),
    [
        ("https://example.com/?a=1&b=2", True),
        ("HTTP://example.com", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("vbscript:x", False),
        ("//example.com", False),
        ("", False),
    ],
)
def test_only_web_addresses_become_links(url: str, is_link: bool) -> None:
    tags = Tags(SearchResult("title", url, "text")._repr_html_())
    assert tags.addresses == ([url] if is_link else [])


def test_a_listing_is_a_sequence_and_plain_data_is_at_hand() -> None:
    entries = FileList([FileEntry("a", size_bytes=1), FileEntry("b", "folder")])
    assert (len(entries), entries[0].path, entries[-1].type) == (2, "a", "folder")
    assert [entry.path for entry in entries[0:1]] == ["a"]
    assert entries == [FileEntry("a", size_bytes=1), FileEntry("b", "folder")]
    assert entries.as_dicts()[0] == {"path": "a", "type": "file", "size_bytes": 1, "modified": 0.0}
    assert entries[0].as_dict() == entries.as_dicts()[0]
    assert FileEntry("b", "folder") in entries
    assert "b" in repr(entries)


def test_a_terminal_result_gives_plain_data() -> None:
    result = hermes.TerminalResult("ls", [("stdout", b"a\n"), ("stderr", b"b\n"), ("stdout", b"c\n")], exit_code=0)
    assert (result.output, result.stdout, result.stderr) == ("a\nb\nc\n", "a\nc\n", "b\n")
    assert result.as_dict()["stdout"] == "a\nc\n"
    assert result.as_dict()["exit_code"] == 0


def test_web_results_come_as_values() -> None:
    def web_search(query, limit):
        return [{"title": f"{query} {n}", "url": f"https://example.com/{n}", "description": "d"} for n in range(limit)]

    def web_extract(urls, char_limit):
        return ["# One", {"markdown": "two", "title": "T", "error": "", "content_type": "text/html"}][: len(urls)]

    with FakeHost({"web_search": web_search, "web_extract": web_extract}):
        results = hermes.web_search("kernels", limit=3)
        assert (len(results), results.query, results.provider) == (3, "kernels", "fake")
        assert results[2].url == "https://example.com/2"
        one, two = hermes.web_extract([result.url for result in results[:2]])
        assert (one.markdown, str(one), one.ok, one.url) == ("# One", "# One", True, "https://example.com/0")
        assert (two.title, two.markdown) == ("T", "two")
        assert len(hermes.web_extract("https://example.com/0")) == 1


def test_a_newer_host_may_say_more_but_not_less() -> None:
    def web_search(query, limit):
        return {"provider": "p", "results": [{"title": "t", "url": "u", "description": "d", "score": 0.5}], "took": 3}

    with FakeHost({"web_search": web_search}):
        assert hermes.web_search("x")[0].title == "t"
    for broken in ({"results": [{"title": 3}]}, {"results": "no list"}, "text", None, 7):
        with (
            FakeHost({"web_search": lambda broken=broken, **_: broken}),
            pytest.raises(hermes.ToolFailedError, match="can't be read"),
        ):
            hermes.web_search("x")


def test_the_session_can_be_looked_at() -> None:
    with FakeHost({"shout": lambda text: text}, budgets={"calls": (3, 10), "bytes": (5, None)}, principal="me") as host:
        status = hermes.status()
        assert (status.principal, status.profile, status.workspace, status.tools) == ("me", "fake", "/workspace", 1)
        budget = hermes.budget()
        assert [(item.name, item.used, item.left) for item in budget] == [("calls", 3, 7), ("bytes", 5, None)]
        assert (budget.left("calls"), budget.left("bytes"), budget.left("nothing")) == (7, None, None)
        assert [(tool.name, tool.signature) for tool in hermes.tools()] == [("shout", "(text: Any)")]
        assert host.calls == []


def test_a_tool_and_a_budget_are_found_by_name_too() -> None:
    functions = {"shout": lambda text: text, "whisper": lambda text: text}
    with FakeHost(functions, budgets={"calls": (3, 10), "bytes": (5, None)}):
        tools, budget = hermes.tools(), hermes.budget()
    assert tools["whisper"] == tools[1] == tools[-1]
    assert [tool.name for tool in tools[:1]] == ["shout"]
    assert budget["calls"].left == 7
    assert ("shout" in tools, tools[0] in tools, "calls" in tools) == (True, True, False)
    with pytest.raises(KeyError, match=r"there is no 'shuot'; did you mean 'shout'\?"):
        tools["shuot"]
    with pytest.raises(KeyError, match="there is no 'zzz'; there are shout, whisper"):
        tools["zzz"]
    with pytest.raises(IndexError):
        tools[2]


def test_a_budget_is_read_at_a_glance() -> None:
    budgets = {
        "calls": (3, 10),
        "calls.terminal": (5, 5),
        "bytes_out": (3 * 2**20, 2**30),
        "wall_seconds": (61.25, None),
    }
    with FakeHost({}, budgets=budgets):
        budget = hermes.budget()
    assert repr(budget).splitlines() == [
        "<Budget: calls.terminal used up>",
        "  calls  3  10  7",
        "  calls.terminal  5  5  0",
        "  bytes_out  3.0 MiB  1.0 GiB  1,021.0 MiB",
        "  wall_seconds  61.2 s  -  -",
    ]
    assert ">1.0 GiB</td>" in budget._repr_html_()
    with FakeHost({}, budgets={"calls": (3, None)}):
        assert repr(hermes.budget()).startswith("<Budget: nothing is limited>")
