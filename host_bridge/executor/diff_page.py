"""The difference of two notebooks as a page: cells side by side, outputs with their pictures, and what it means on top."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.executor.changes import CellChange, NotebookChanges, ValueChange, lasting_metadata
from host_bridge.executor.documents import Document, joined
from host_bridge.executor.pages import page, table
from host_bridge.executor.sanitising import IMAGE_TYPES, overwritten, safe_html, safe_image, safe_text
from host_bridge.executor.side_by_side import STYLE as TABLE_STYLE
from host_bridge.executor.side_by_side import one_side, side_by_side

STYLE = f"""\
{TABLE_STYLE}
.pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }}
.outputs {{ min-width: 0; overflow-x: auto; border: 1px dashed var(--line); padding: .4rem; margin: 0 0 .5rem; }}
.outputs.added {{ border-left: 4px solid var(--add-word); }} .outputs.removed {{ border-left: 4px solid var(--del-word); }}
.outputs > .note {{ margin: 0; font-size: .8rem; }}
.outputs a[href]::after {{ content: " (" attr(href) ")"; color: var(--dim); }}
@media (max-width: 45rem) {{ .pair {{ grid-template-columns: 1fr; }} }}"""

_SHOWN_VALUE_CHARACTERS = 500
_MAX_SHOWN_OUTPUTS = 50
_MAX_OPEN_LINES = 40
_OUTPUT_MARK = '<p class="note">output</p>'
_NONE = '<p class="note">none</p>'


def diff_page(before: Document, after: Document, changes: NotebookChanges, *, title: str, summary: str) -> str:
    """Make the page."""
    body = [f"<p>{safe_text(summary)}</p>", *diff_sections(before, after, changes)]
    return page(title, body, style=STYLE)


def diff_sections(before: Document, after: Document, changes: NotebookChanges, *, level: int = 2) -> Iterator[str]:
    """Give the parts of the page, as safe HTML; for pages about several notebooks too.

    Args:
        before: The first notebook.
        after: The second.
        changes: How they differ.
        level: Of the parts' headings.
    """
    if changes.permissions:
        yield _heading(level, "Permissions")
        rows = [(change.kind, change.what) for change in changes.permissions]
        yield table(("change", "what"), rows, ("gained", "lost"))
    for heading, values in (
        ("Parameters", changes.parameters),
        ("Given to the run", changes.given),
        ("Results", changes.scraps),
    ):
        if values:
            yield _heading(level, heading)
            yield table(("name", "before", "after"), map(value_row, values))
    if changes.calls:
        yield _heading(level, "Tool calls")
        yield from _calls(changes, level + 1)
    if changes.cells:
        yield _heading(level, "Cells")
        for change in changes.cells:
            yield from _cell(before, after, change, level + 1)


def _heading(level: int, text: str, tag: str = "") -> str:
    mark = f'<span class="tag">{safe_text(tag)}</span>' if tag else ""
    return f"<h{level}>{safe_text(text)}{mark}</h{level}>"


def value_row(change: ValueChange) -> tuple[str, str, str]:
    """Give a changed value as a row of three texts."""
    shown = [shown_value(value) for value in (change.before, change.after)]
    if change.kind != "changed":
        shown[0 if change.kind == "added" else 1] = "–"
    return change.name, shown[0], shown[1]


def shown_value(value: Any) -> str:
    """Give a value in the room of a table's cell."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_VALUE_CHARACTERS else f"{text[:_SHOWN_VALUE_CHARACTERS]}…"


def _calls(changes: NotebookChanges, level: int) -> Iterator[str]:
    calls = changes.calls
    assert calls is not None
    counts = [(name, str(old), str(new)) for name, (old, new) in {**calls.counts, **calls.outcomes}.items()]
    if counts:
        yield table(("calls", "before", "after"), counts)
    for heading, lines in (
        ("New hosts", calls.new_hosts),
        ("New paths", calls.new_paths),
        ("Other results", calls.different_results),
    ):
        if lines:
            yield _heading(level, heading)
            yield "<ul>" + "".join(f"<li><code>{safe_text(line)}</code></li>" for line in lines) + "</ul>"


def _cell(before: Document, after: Document, change: CellChange, level: int) -> Iterator[str]:
    old = None if change.index_before is None else before["cells"][change.index_before]
    new = None if change.index_after is None else after["cells"][change.index_after]
    yield _heading(level, f"{_place(change)} {change.id}".rstrip(), _what(change))
    if old is None or new is None:
        kind = "add" if old is None else "del"
        yield one_side(_source(old or new), kind)
        if shown := render_outputs(old or new or {}):
            yield f'<div class="outputs {change.kind}">{_OUTPUT_MARK}{shown}</div>'
        return
    if change.kind == "moved":
        first = _source(new).partition("\n")[0][:_SHOWN_VALUE_CHARACTERS]
        yield f'<p class="note"><code>{safe_text(first)}</code></p>'
    if "source" in change.parts:
        yield side_by_side(_source(old), _source(new))
    if "outputs" in change.parts:
        sides = (f'<div class="outputs">{_OUTPUT_MARK}{render_outputs(cell) or _NONE}</div>' for cell in (old, new))
        yield f'<div class="pair">{"".join(sides)}</div>'
    if "metadata" in change.parts:
        yield side_by_side(*(_metadata(cell) for cell in (old, new)))


def _place(change: CellChange) -> str:
    """Say which cell, counted from 0 as everywhere."""
    places = [index for index in (change.index_before, change.index_after) if index is not None]
    return f"cell {' → '.join(map(str, dict.fromkeys(places)))}"


def _what(change: CellChange) -> str:
    parts = [part for part in change.parts if part != "place"]
    kinds = [f"{change.kind}: {', '.join(parts)}" if parts else change.kind]
    return ", ".join(kinds + ["moved"] * ("place" in change.parts and change.kind != "moved"))


def _source(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else joined(cell.get("source"))


def _metadata(cell: Mapping[str, Any]) -> str:
    return json.dumps(lasting_metadata(cell), indent=1, sort_keys=True, ensure_ascii=False, default=repr)


# outputs ---------------------------------------------------------------------------------------------------------------


def render_outputs(cell: Mapping[str, Any]) -> str:
    """Give a cell's outputs as safe HTML; empty if it has none."""
    found = cell.get("outputs")
    outputs = [output for output in found if isinstance(output, Mapping)] if isinstance(found, list) else []
    shown = [_output(output) for output in outputs[:_MAX_SHOWN_OUTPUTS]]
    if len(outputs) > _MAX_SHOWN_OUTPUTS:
        shown.append(f'<p class="note">({len(outputs) - _MAX_SHOWN_OUTPUTS} more outputs)</p>')
    return "".join(shown)


def _output(output: Mapping[str, Any]) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return long_text(overwritten(joined(output.get("text"))))
    if kind == "error":
        trace = output.get("traceback")
        lines = [line for line in trace if isinstance(line, str)] if isinstance(trace, list) else []
        text = "\n".join(lines) or f"{output.get('ename')}: {output.get('evalue')}"
        return long_text(text)
    data = output.get("data")
    return _bundle(data) if isinstance(data, Mapping) else ""


def long_text(text: str) -> str:
    """Give text as it is laid out; what goes beyond some lines is folded away under their number."""
    lines = text.split("\n")
    if len(lines) <= _MAX_OPEN_LINES + 1:
        return f"<pre>{safe_text(text)}</pre>"
    first, rest = ("\n".join(part) for part in (lines[:_MAX_OPEN_LINES], lines[_MAX_OPEN_LINES:]))
    count = len(lines) - _MAX_OPEN_LINES - (not lines[-1])
    return (
        f"<pre>{safe_text(first)}</pre>"
        f"<details><summary>{count:,} more lines</summary><pre>{safe_text(rest)}</pre></details>"
    )


def _bundle(data: Mapping[str, Any]) -> str:
    told = joined(data.get("text/plain"))
    for mime in IMAGE_TYPES:
        if mime in data:
            return safe_image(mime, data[mime], told)
    if "text/html" in data:
        return safe_html(joined(data["text/html"]))
    for mime in ("text/markdown", "text/latex", "text/plain"):
        if mime in data:
            return long_text(joined(data[mime]))
    named = ", ".join(sorted(map(str, data)))
    return f'<p class="note">({safe_text(named[:200])})</p>'
