"""A run as a page: its cells on a line of time, what each of them called, what was asked and answered, and what was written.

Pure: what is known of the run in, text out. All of it was written by notebooks, kernels and tools, so all of it is escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.executor.diff_page import shown_value
from host_bridge.executor.documents import metadata_of
from host_bridge.executor.pages import page, table
from host_bridge.executor.run_cells import ShownCell, began, cells_of
from host_bridge.executor.run_story import RunStory, WrittenFile
from host_bridge.executor.sanitising import safe_text
from host_bridge.executor.side_by_side import STYLE as TABLE_STYLE
from host_bridge.executor.side_by_side import one_side, side_by_side
from host_bridge.executor.timeline import STYLE as TIME_STYLE
from host_bridge.executor.timeline import Span, bar
from host_bridge.policy.telling import telling, told_call
from host_bridge.runs.amounts import size, took
from host_bridge.tape.matching import shown_call
from host_bridge.tape.reader import ImageRow, Recorded

STYLE = f"""\
{TABLE_STYLE}
{TIME_STYLE}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }} dt {{ color: var(--dim); }} dd {{ margin: 0; }}
.cells {{ width: 100%; }} .calls summary code {{ color: inherit; }}
.calls td:nth-child(2), .calls td:nth-child(3) {{ min-width: 14rem; }}
.cells caption {{ font-weight: 400; }} .cells td:nth-child(2) {{ min-width: 8rem; }}"""

KINDS: Mapping[str, str] = {
    "succeeded": "good",
    "ok": "good",
    "running": "wait",
    "pending": "off",
    "not_run": "off",
    "unknown": "wait",
    "no result": "off",
    "ended": "good",
}
"""How a state or an outcome is coloured; every other one is bad."""

_CAPTION = "When each cell ran, and below it its calls; amber is waiting for a person."
_MAX_CALLS = 2_000
_MAX_TICKS = 500
_MAX_TARGET_CHARACTERS = 300
_MAX_ARGUMENTS_CHARACTERS = 4_000


def run_page(story: RunStory) -> str:
    """Make the page."""
    name = story.entry.notebook.rsplit("/", 1)[-1]
    return page(f"{name}: {_words(story.entry.shown_state)}", _sections(story), style=STYLE)


def _sections(story: RunStory) -> Iterator[str]:
    yield _head(story)
    if story.note:
        yield f'<p class="wait">{safe_text(story.note)}</p>'
    cells = cells_of(story)
    if cells:
        yield "<h2>Cells</h2>"
        yield _overview(story, cells)
    if story.entry.scraps:
        yield "<h2>Results</h2>"
        yield table(("name", "value"), [(name, shown_value(value)) for name, value in story.entry.scraps.items()])
    yield from _questions(story)
    yield from _files(story)
    yield from _calls(story, cells)


def _head(story: RunStory) -> str:
    entry = story.entry
    run = metadata_of(story.document).get("hermes") if story.document is not None else None
    said = run.get("run") if isinstance(run, Mapping) else None
    confinement = said.get("confinement") if isinstance(said, Mapping) else ""
    calls, denied = entry.tool_calls.get("total", 0), entry.tool_calls.get("by_outcome", {}).get("denied", 0)
    facts = {
        "run": entry.run_id,
        "state": _words(entry.shown_state),
        "because": entry.shown_error,
        "notebook": entry.notebook,
        "output": entry.output,
        "started": entry.started[:19].replace("T", " ") + " UTC" if entry.started else "",
        "took": took(entry.duration_seconds) if entry.ended else "",
        "cells": f"{entry.cells_executed} executed",
        "calls": f"{calls}{f', {denied} denied' if denied else ''}",
        "for": f"{entry.principal}{f', profile {entry.profile}' if entry.profile else ''}",
        "kernel": confinement if isinstance(confinement, str) else "",
        "mode": entry.mode if entry.mode != "record" else "",
        "resumes": entry.resumes,
        "tape": entry.tape,
        "root": entry.tape_root,
    }
    kind = KINDS.get(entry.shown_state, "bad")
    rows = []
    for name, value in facts.items():
        if value:
            mark = f' class="{kind}"' if name == "state" else ""
            rows.append(f"<dt>{name}</dt><dd><code{mark}>{safe_text(value)}</code></dd>")
    return f"<dl>{''.join(rows)}</dl>"


# cells ---------------------------------------------------------------------------------------------------------------


def _overview(story: RunStory, cells: list[ShownCell]) -> str:
    total = _total(story, cells)
    asked = frozenset(str(call.decided.fields.get("call_id")) for call in story.asked or ())
    rows = []
    for cell in cells:
        state = f'<td class="{KINDS.get(cell.state, "bad")}">{safe_text(_words(cell.state))}</td>'
        time, duration = '<td class="time"></td>', ""
        if cell.start is not None:
            end = cell.end if cell.end is not None else total
            duration = took(end - cell.start) if cell.end is not None else ""
            told = f"from {took(cell.start)} to {took(end)} of {took(total)}"
            ticks = _ticks(cell, total, asked)
            time = f'<td class="time">{bar([Span(cell.start, end, KINDS.get(cell.state, "bad"))], ticks, total, told)}</td>'
        name = f'<a href="#cell-{cell.index}">{cell.index}</a>' if cell.calls else str(cell.index)
        rows.append(
            f'<tr><th scope="row" class="number">{name}</th><td><code>{safe_text(cell.title)}</code></td>{state}'
            f'<td class="number">{duration}</td><td class="number">{len(cell.calls) or ""}</td>{time}</tr>'
        )
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("cell", "begins with", "state", "took", "calls", "when")
    )
    return (
        f'<div class="wide"><table class="plain cells"><caption class="note">{_CAPTION}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _total(story: RunStory, cells: list[ShownCell]) -> float:
    known = [time for cell in cells for time in (cell.start, cell.end) if time is not None]
    return max([story.entry.duration_seconds, *known], default=0.0)


def _ticks(cell: ShownCell, total: float, asked: frozenset[str]) -> Iterator[Span]:
    last = cell.end if cell.end is not None else total
    for call in cell.calls[:_MAX_TICKS]:
        decided = call.row.time - cell.epoch
        seconds = call.outcome.duration_seconds if call.outcome is not None else 0.0
        if cell.start is None or not math.isfinite(decided + seconds) or not cell.start <= decided <= last:
            continue
        was_asked = call.row.call_id in asked
        if was_asked or call.row.effect != "allow":  # what took its time came before the decision
            yield Span(max(cell.start, decided - seconds), decided, "wait" if was_asked else "bad")
        else:
            yield Span(decided, min(decided + seconds, last), "call" if outcome_of(call) == "ok" else "bad")


# calls ---------------------------------------------------------------------------------------------------------------


def _calls(story: RunStory, cells: list[ShownCell]) -> Iterator[str]:
    if not story.calls:
        return
    yield "<h2>Calls</h2>"
    left = _MAX_CALLS
    placed = {call.row.seq for cell in cells for call in cell.calls}
    groups = [(cell, cell.calls) for cell in cells if cell.calls]
    outside = [call for call in story.calls if call.row.seq not in placed]
    for cell, calls in [*groups, *([(None, outside)] if outside else [])]:
        shown = calls[:left]
        left -= len(shown)
        if shown:
            yield _cell_heading(cell)
            yield _call_table(shown, story)
    if len(story.calls) > _MAX_CALLS:
        yield f'<p class="note">{len(story.calls) - _MAX_CALLS:,} more calls are on the tape.</p>'


def _cell_heading(cell: ShownCell | None) -> str:
    if cell is None:
        return "<h3>Outside of cells</h3>"
    heading = f'<h3 id="cell-{cell.index}">Cell {cell.index}</h3>'
    if not cell.source:
        return heading
    return f"{heading}<details><summary>source</summary><pre>{safe_text(cell.source)}</pre></details>"


def _call_table(calls: list[Recorded], story: RunStory) -> str:
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("line", "call", "decided", "came of it", "took", "gave")
    )
    start = began(story) if story.entry.resumes else -math.inf
    rows = "".join(
        f"<tr>{_call_row(call, story.given.get(call.row.seq), is_earlier=call.row.time < start)}</tr>" for call in calls
    )
    return f'<div class="wide"><table class="plain calls"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _call_row(call: Recorded, given: int | None, *, is_earlier: bool) -> str:
    row, outcome = call.row, outcome_of(call)
    arguments = row.arguments[:_MAX_ARGUMENTS_CHARACTERS] + (
        "…" if len(row.arguments) > _MAX_ARGUMENTS_CHARACTERS else ""
    )
    failure = _failure(call)
    notes = [row.reason] if row.effect == "deny" else []
    notes += ["made by an earlier run that this one goes on from"] if is_earlier else []
    notes += [f"gave untrusted content from {row.untrusted}"] if row.untrusted else []
    notes += ["answered by the earlier run" if row.origin == "tape" else row.origin] if row.origin != "live" else []
    said = "".join(f'<br><span class="note">{safe_text(note)}</span>' for note in notes)
    call_cell = (
        f"<details><summary><code>{safe_text(target_of(call))}</code></summary>"
        f"<pre>{safe_text(shown_call(row.tool, arguments) if len(arguments) < 200 else arguments)}</pre></details>"
    )
    came = f'<td class="{KINDS.get(outcome, "bad")}">{safe_text(_words(outcome))}'
    came += f'<br><span class="note">{safe_text(failure)}</span></td>' if failure and row.effect != "deny" else "</td>"
    decided = f'<span class="{"good" if row.effect == "allow" else "bad"}">{safe_text(row.effect)}</span>'
    return (
        f'<td class="number">{row.line or ""}</td><td>{call_cell}</td>'
        f"<td>{decided} <code>{safe_text(row.rule_id)}</code>{said}</td>{came}"
        f'<td class="number">{took(call.outcome.duration_seconds) if call.outcome else ""}</td>'
        f'<td class="number">{"" if given is None else size(given)}</td>'
    )


def outcome_of(call: Recorded) -> str:
    """Say what came of a call: of one that acted and has no end, nobody knows."""
    return call.outcome.outcome if call.outcome is not None else "unknown" if call.row.acts else "no result"


def target_of(call: Recorded) -> str:
    """Say in one line what a call was about."""
    return _cut(told_call(call.row.tool, call.row.arguments))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TARGET_CHARACTERS else f"{text[: _MAX_TARGET_CHARACTERS - 1]}…"


def _failure(call: Recorded) -> str:
    told = _object(call.outcome.failure if call.outcome is not None else "").get("message", "")
    return _cut(told) if isinstance(told, str) else ""


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# questions, files ----------------------------------------------------------------------------------------------------


def _questions(story: RunStory) -> Iterator[str]:
    if story.asked is None:
        yield '<p class="note">What was asked and answered is not known: the run\'s audit log is not there.</p>'
        return
    if not story.asked:
        return
    yield "<h2>Asked and answered</h2>"
    rows = []
    for call in story.asked[:_MAX_CALLS]:
        fields = call.decided.fields
        by = str(call.answered.fields.get("by", "")) if call.answered is not None else ""
        given = fields.get("arguments")
        about = telling(given) if isinstance(given, dict) else ""
        cell = fields.get("cell_index")
        rows.append(
            (
                call.decided.time[11:19],
                "" if cell is None else f"cell {cell}",
                _cut(f"{fields.get('tool', '')} {about}"),
                str(fields.get("answer", "")) + (f", by {by}" if by else ""),
                str(fields.get("effect", "")),
            )
        )
    yield table(("when", "where", "asked about", "answer", "decided"), rows)


def _files(story: RunStory) -> Iterator[str]:
    if not story.written:
        return
    yield "<h2>Written</h2>"
    workspace = story.facts.get("workspace")
    for written in story.written[:_MAX_CALLS]:
        path = written.before.path
        if isinstance(workspace, str) and workspace and path.startswith(f"{workspace}/"):
            path = path[len(workspace) + 1 :]
        yield f'<h3><code>{safe_text(path)}</code><span class="tag">{safe_text(_change(written))}</span></h3>'
        if shown := _difference(written):
            yield f"<details><summary>show</summary>{shown}</details>"


def _change(written: WrittenFile) -> str:
    after = written.after
    if after is None:
        return "begun; what became of it is not known"
    if not written.before.existed:
        return f"made, {size(after.size)}" if after.existed else "made and removed"
    if not after.existed:
        return f"removed, {size(written.before.size)}"
    return f"changed, {size(written.before.size)} → {size(after.size)}{_mode(written.before, after)}"


def _mode(before: ImageRow, after: ImageRow) -> str:
    return f", mode {before.mode & 0o7777:o} → {after.mode & 0o7777:o}" if before.mode != after.mode else ""


def _difference(written: WrittenFile) -> str:
    before, after = written.text_before, written.text_after
    if before is None or after is None or written.after is None or before == after:
        return ""
    if not written.before.existed:
        return one_side(after, "add")
    return side_by_side(before, after) if written.after.existed else one_side(before, "del")


def _words(state: str) -> str:
    return state.replace("_", " ")
