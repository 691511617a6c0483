"""The difference of two notebooks as a page: cells side by side, outputs with their pictures, and what it means on top."""

from __future__ import annotations

import difflib
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from host_bridge.executor.changes import CellChange, NotebookChanges, ValueChange
from host_bridge.executor.documents import Document, joined
from host_bridge.executor.pages import page, table
from host_bridge.executor.sanitising import IMAGE_TYPES, safe_html, safe_image, safe_text

_SHOWN_VALUE_CHARACTERS = 500
_MAX_SHOWN_OUTPUTS = 50


def diff_page(before: Document, after: Document, changes: NotebookChanges, *, title: str, summary: str) -> str:
    """Make the page."""
    return page(title, [f"<p>{safe_text(summary)}</p>", *diff_sections(before, after, changes)])


def diff_sections(before: Document, after: Document, changes: NotebookChanges) -> Iterator[str]:
    """Give the parts of the page, as safe HTML; for pages about several notebooks too."""
    if changes.permissions:
        yield "<h2>Permissions</h2>"
        rows = [(change.kind, change.what) for change in changes.permissions]
        yield table(("", "what"), rows, ("gained", "lost"))
    for heading, values in (
        ("Parameters", changes.parameters),
        ("Given to the run", changes.given),
        ("Results", changes.scraps),
    ):
        if values:
            yield f"<h2>{heading}</h2>"
            yield table(("name", "before", "after"), map(value_row, values))
    if changes.calls:
        yield "<h2>Tool calls</h2>"
        yield from _calls(changes)
    if changes.cells:
        yield "<h2>Cells</h2>"
        for change in changes.cells:
            yield from _cell(before, after, change)


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


def _calls(changes: NotebookChanges) -> Iterator[str]:
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
            yield f"<h3>{heading}</h3>"
            yield "<ul>" + "".join(f"<li><code>{safe_text(line)}</code></li>" for line in lines) + "</ul>"


def _cell(before: Document, after: Document, change: CellChange) -> Iterator[str]:
    old = None if change.index_before is None else before["cells"][change.index_before]
    new = None if change.index_after is None else after["cells"][change.index_after]
    parts = f" ({', '.join(change.parts)})" if change.parts else ""
    yield f'<h3>{safe_text(change.id)}<span class="tag">{change.kind}{html.escape(parts)}</span></h3>'
    if old is None or new is None or "source" in change.parts:
        yield _pair(*_side_by_side(_source(old), _source(new)))
    if old is None or new is None or "outputs" in change.parts:
        shown = [render_outputs(cell or {}) for cell in (old, new)]
        if any(shown):
            yield _pair(*(f'<div class="outputs">{side}</div>' for side in shown))
    if old is not None and new is not None and "metadata" in change.parts:
        texts = [json.dumps(cell.get("metadata"), indent=1, sort_keys=True, default=repr) for cell in (old, new)]
        yield _pair(*_side_by_side(*texts))


def _source(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else joined(cell.get("source"))


def _pair(left: str, right: str) -> str:
    return f'<div class="pair"><div>{left}</div><div>{right}</div></div>'


def _side_by_side(before: str, after: str) -> tuple[str, str]:
    old, new = before.split("\n"), after.split("\n")
    left: list[str] = []
    right: list[str] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for operation, i, j, k, m in matcher.get_opcodes():
        gap = max(j - i, m - k)
        left += _lines(old[i:j], "del" if operation != "equal" else "", gap)
        right += _lines(new[k:m], "add" if operation != "equal" else "", gap)
    return f'<div class="code">{"".join(left)}</div>', f'<div class="code">{"".join(right)}</div>'


def _lines(lines: Iterable[str], kind: str, count: int) -> list[str]:
    shown = [f'<div class="{kind}">{safe_text(line)}</div>' for line in lines]
    return shown + ['<div class="gap"></div>'] * (count - len(shown))


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
        return f"<pre>{safe_text(joined(output.get('text')))}</pre>"
    if kind == "error":
        trace = output.get("traceback")
        lines = [line for line in trace if isinstance(line, str)] if isinstance(trace, list) else []
        text = "\n".join(lines) or f"{output.get('ename')}: {output.get('evalue')}"
        return f"<pre>{safe_text(text)}</pre>"
    data = output.get("data")
    return _bundle(data) if isinstance(data, Mapping) else ""


def _bundle(data: Mapping[str, Any]) -> str:
    for mime in IMAGE_TYPES:
        if mime in data:
            return safe_image(mime, data[mime])
    if "text/html" in data:
        return safe_html(joined(data["text/html"]))
    for mime in ("text/markdown", "text/latex", "text/plain"):
        if mime in data:
            return f"<pre>{safe_text(joined(data[mime]))}</pre>"
    named = ", ".join(sorted(map(str, data)))
    return f'<p class="note">({safe_text(named[:200])})</p>'
