"""A run's page tells what happened, and does nothing that a notebook, a tape or a tool says."""

from __future__ import annotations

import datetime
import html.parser
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from host_bridge.audit.reading import CallEntry, Entry
from host_bridge.executor.run_page import run_page
from host_bridge.executor.run_story import RunStory, WrittenFile
from host_bridge.executor.timeline import Span, bar
from host_bridge.rundirs.processes import ProcessIdentity
from host_bridge.runs.index import RunEntry
from host_bridge.tape.reader import CellMark, ImageRow, OutcomeRow, Recorded
from host_bridge.tape.recorder import CallRow

STARTED = datetime.datetime(2026, 11, 3, 10, 15, tzinfo=datetime.UTC)
EPOCH = STARTED.timestamp()
ELEMENTS = """html head meta title style body main h1 h2 h3 p dl dt dd code span div table caption thead tbody tr th td a br
    svg rect details summary pre ins del mark colgroup col"""
ATTRIBUTES = """lang charset http-equiv content name class scope href id role aria-label viewbox preserveaspectratio x y
    width height colspan"""
HOSTILE = st.text(st.sampled_from("<>&\"'/=ab\n\x00\x1b[\u202e\u200b({;:"), max_size=25) | st.sampled_from(
    ["</style><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "</td></table>"]
)


class Page(html.parser.HTMLParser):
    """A page as a browser reads it: its elements are closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.drawn: list[dict[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag == "rect":
            self.drawn.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "br", "col"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.rows and self.rows[-1] and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data


def read(story: RunStory) -> Page:
    page = Page(run_page(story))
    assert page.names <= set(ELEMENTS.split())
    assert page.attributes <= set(ATTRIBUTES.split())
    assert all(link.startswith("#cell-") and link[6:].lstrip("-").isdigit() for link in page.links)
    assert all(character.isprintable() or character == "\n" for character in page.text)
    return page


def entry(**fields: Any) -> RunEntry:
    ended = {"started": STARTED.isoformat(), "ended": (STARTED + datetime.timedelta(seconds=10)).isoformat()}
    given = {
        "run_id": "abcd1234",
        "notebook": "/home/ann/report.ipynb",
        "output": "/home/ann/out.ipynb",
        "state": "failed",
    }
    counts = {"total": 3, "by_outcome": {"ok": 2, "denied": 1}}
    here = {"host": ProcessIdentity(1), "machine_state": "none", "duration_seconds": 10.0, "tool_calls": counts}
    return RunEntry(**{**given, **ended, **here, **fields})


def mark(event: str, index: int, seconds: float) -> CellMark:
    return CellMark(0, event, index, f"c{index}", "", EPOCH + seconds)


def call(seq: int, cell: int | None, seconds: float, tool: str = "terminal", **fields: Any) -> Recorded:
    outcome = fields.pop("outcome", "ok")
    took = fields.pop("took", 0.5)
    failure = fields.pop("failure", "")
    row = {
        "seq": seq,
        "call_id": f"call-{seq}",
        "tool": tool,
        "cell_index": cell,
        "cell_id": "",
        "line": 2,
        "occurrence": 0,
    }
    row |= {"arguments": json.dumps({"command": "make test", "timeout": 180}), "canonical": "{}", "effect": "allow"}
    row |= {"arguments_digest": "", "canonical_digest": "", "rule_id": "run:rules.allow[0]", "reason": "", "acts": True}
    row |= {"origin": "live", "untrusted": "", "replaces": None, "time": EPOCH + seconds}
    ended = None if outcome is None else OutcomeRow(outcome, None, "", failure, "", took)
    return Recorded(CallRow(**{**row, **fields}), ended)


def image(event: str, path: str, size: int, *, existed: bool = True, mode: int = 0o644) -> ImageRow:
    return ImageRow(1, 0, event, path, existed, mode, size, "", True)


def document(*cells: tuple[str, str]) -> dict[str, Any]:
    made = [
        {"cell_type": "code", "source": source, "metadata": {"hermes": {"state": state}}} for source, state in cells
    ]
    return {"cells": made, "metadata": {"hermes": {"run": {"confinement": "bubblewrap"}}}}


STORY = RunStory(
    entry(scraps={"score": 0.94}, error="the command ended with exit code 1"),
    facts={"workspace": "/work"},
    cells=[mark("started", 0, 1), mark("settled", 0, 3), mark("started", 1, 3), mark("settled", 1, 9)],
    calls=[
        call(1, 0, 1.5),
        call(2, 1, 8, "web_extract", effect="deny", outcome="denied", took=4.0, reason="nobody answered", rule_id="ask[1]"),
        call(3, 1, 8.5, outcome=None),
    ],
    given={1: 2048},
    written=[
        WrittenFile(image("before", "/home/ann/a.md", 0, existed=False), image("after", "/home/ann/a.md", 9), "", "one\ntwo"),
        WrittenFile(image("before", "/etc/b", 5), image("after", "/etc/b", 7, mode=0o600), "x = 1", "x = 2"),
        WrittenFile(image("before", "/home/ann/c", 5), None),
    ],
    asked=[
        CallEntry(
            Entry(1, 1, "2026-11-03T10:15:08.000000Z", "call_decided", {
                "call_id": "call-2", "tool": "web_extract", "effect": "deny", "answer": "expired", "cell_index": 1,
                "arguments": {"urls": ["https://example.com/"]},
            }),
            None,
            Entry(2, 2, "2026-11-03T10:15:08.000000Z", "question_answered", {"by": "terminal"}),
        )
    ],
    document=document(("import time\nx = 1", "succeeded"), ("# talk\nfetch()", "failed"), ("never()", "not_run")),
)  # fmt: skip


def test_cells_are_told_with_their_states_durations_and_calls() -> None:
    page = read(STORY)
    assert [row[:5] for row in page.rows[1:4]] == [
        ["0", "import time", "succeeded", "2.0 s", "1"],
        ["1", "fetch()", "failed", "6.0 s", "2"],
        ["2", "never()", "not run", "", ""],
    ]
    assert page.links == ["#cell-0", "#cell-1"]
    assert "report.ipynb: failed" in page.text
    assert "3, 1 denied" in page.text


def test_bars_stand_where_things_happened() -> None:
    drawn = [{"class": each["class"], "x": each.get("x"), "width": each["width"]} for each in read(STORY).drawn]
    assert drawn == [
        {"class": "rail", "x": None, "width": "1000"},
        {"class": "good", "x": "100", "width": "200"},
        {"class": "call", "x": "150", "width": "50"},
        {"class": "rail", "x": None, "width": "1000"},
        {"class": "bad", "x": "300", "width": "600"},
        {"class": "wait", "x": "400", "width": "400"},
        {"class": "bad", "x": "850", "width": "3"},
    ]


def test_a_call_is_told_with_its_decision_its_end_its_time_and_its_size() -> None:
    rows = [row for row in read(STORY).rows if len(row) == 6 and row[1].startswith(("terminal", "web_"))]
    assert [row[0] for row in rows] == ["2", "2", "2"]
    assert rows[0][1].startswith("terminal make test")
    assert rows[0][2:] == ["allow run:rules.allow[0]", "ok", "500 ms", "2.0 KiB"]
    assert rows[1][2:] == ["deny ask[1]nobody answered", "denied", "4.0 s", ""]
    assert rows[2][2:] == ["allow run:rules.allow[0]", "unknown", "", ""]


def test_what_was_asked_and_answered_and_what_was_written_is_told() -> None:
    page = read(STORY)
    assert ["10:15:08", "cell 1", "web_extract https://example.com/", "expired, by terminal", "deny"] in page.rows
    assert "a.mdmade, 9 B" in page.text
    assert "/etc/bchanged, 5 B → 7 B, mode 644 → 600" in page.text
    assert "cbegun; what became of it is not known" in page.text
    assert ["1", "one"] in page.rows
    assert ["1", "x = 1", "1", "x = 2"] in page.rows


def test_what_is_not_known_is_said() -> None:
    page = read(RunStory(entry(state="succeeded", scraps={}), note="No calls can be shown: it was not recorded."))
    assert "No calls can be shown: it was not recorded." in page.text
    assert "the run's audit log is not there" in page.text
    cells = [mark("started", 4, 1), mark("settled", 4, 2), mark("started", 5, 2)]
    rows = read(RunStory(entry(), cells=cells, calls=[call(1, None, 1)], asked=[])).rows
    assert [row[:4] for row in rows[1:3]] == [["4", "", "ended", "1.0 s"], ["5", "", "unknown", ""]]


def test_a_cell_that_ran_again_stands_where_it_ran_last() -> None:
    cells = [mark("started", 0, -50), mark("settled", 0, -40), mark("started", 0, 2), mark("settled", 0, 3)]
    _, span = read(RunStory(entry(), cells=cells, asked=[])).drawn
    assert (span["x"], span["width"]) == ("200", "100")


def test_calls_of_the_run_it_goes_on_from_are_told_apart() -> None:
    story = RunStory(entry(resumes="00112233"), calls=[call(1, 0, -20), call(2, 0, 1)], asked=[])
    decided = [row[2] for row in read(story).rows if len(row) == 6 and row[1].startswith("terminal")]
    said = "made by an earlier run that this one goes on from"
    assert decided == [f"allow run:rules.allow[0]{said}", "allow run:rules.allow[0]"]


@given(HOSTILE, HOSTILE, HOSTILE, st.floats() | st.just(math.inf))
def test_whatever_a_run_left_is_text(one: str, other: str, third: str, number: float) -> None:
    arguments = json.dumps({"command": one, other: [third]})
    rows = [
        call(1, 0, 1, one, arguments=arguments, rule_id=other, reason=third, effect=one, untrusted=other, origin=third),
        call(2, None, number, outcome=one, failure=json.dumps({"message": other}), arguments=third, took=number),
        call(3, -1, 1, effect="deny", outcome="denied", reason=one),
    ]
    asked = Entry(1, 1, one, "call_decided", {"tool": one, "answer": other, "arguments": {"path": third}})
    changed = (image("before", one, 1), image("after", one, 2))
    read(
        RunStory(
            entry(
                notebook=one, output=other, state=third, error=one, principal=other, scraps={one: other}, started=third
            ),
            facts={"workspace": one},
            cells=[mark("started", 0, 1), CellMark(0, one, -1, other, third, number), mark("settled", 0, number)],
            calls=rows,
            written=[WrittenFile(*changed, other, third)],
            asked=[CallEntry(asked, None, Entry(2, 2, one, "question_answered", {"by": third}))],
            document=document((one, other), (third, one)),
            note=other,
        )
    )


@given(st.floats(), st.floats(), st.floats())
def test_a_bar_stays_within_its_line(start: float, end: float, total: float) -> None:
    page = Page(bar([Span(start, end, "good")], [], total, '"<told>"'))
    assert 0 <= float(page.drawn[1]["x"] or 0) <= 1000
    assert 0 < float(page.drawn[1]["width"] or 0) <= 1000


def test_a_large_run_is_cut_and_counted() -> None:
    story = RunStory(entry(), calls=[call(seq, seq // 10, 1) for seq in range(5_000)], asked=[])
    text = run_page(story)
    assert len(text) < 2_500_000
    assert "3,000 more calls are on the tape." in text
