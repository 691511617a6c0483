"""What a change of a notebook comes to, as the text of a pull request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from host_bridge.repository.markdown import block, code, cut, table

if TYPE_CHECKING:
    from host_bridge.executor.changes import NotebookChanges, ValueChange

MARK = "<!-- hermes-runtime propose -->"
_MAX_SHOWN_CELLS = 30


def change_text(changes: NotebookChanges, runs: NotebookChanges | None) -> str:
    """Describe a change: what was written, and what came of it.

    Args:
        changes: Of the notebook as written.
        runs: Of its executed versions, before and after; None where there are not both.
    """
    return "\n\n".join(
        [*_permissions(changes), *_cells(changes), *_parameters(changes), *_results(runs), *_calls(runs)]
    )


def proposal_text(
    notebook: str,
    changes: NotebookChanges,
    runs: NotebookChanges | None,
    *,
    run: Mapping[str, Any],
    checks: str,
    reproduce: Iterable[str],
) -> str:
    """Write the text of a pull request.

    Args:
        notebook: Its path in the repository.
        changes: Of the notebook as written.
        runs: Of its executed versions.
        run: The result of the run.
        checks: What validation came to.
        reproduce: The commands that repeat all this.
    """
    shown = {key: run[key] for key in _RUN_FACTS if run.get(key) not in (None, "", {})}
    if run.get("tape", {}).get("root"):
        shown["tape"] = run["tape"]["root"]
    parts = [
        f"Changes {code(notebook)}, executed before it was proposed.",
        change_text(changes, runs),
        "### Run",
        table(("", ""), [(key.replace("_", " "), code(_text(value))) for key, value in shown.items()]),
        *([f"Results:\n\n{_scraps(run['scraps'])}"] if run.get("scraps") and runs is None else []),
        *(["Warnings:\n\n" + "\n".join(f"- {code(text)}" for text in run["warnings"])] if run.get("warnings") else []),
        f"### Checks\n\n{checks}",
        "### To reproduce\n\n" + block("\n".join(reproduce), "sh"),
        MARK,
    ]
    return cut("\n\n".join(part for part in parts if part))


_RUN_FACTS = (
    *("state", "run_id", "duration_seconds", "cells_executed", "kernel"),
    *("principal", "profile", "confinement", "tool_calls"),
)


def _permissions(changes: NotebookChanges) -> Iterator[str]:
    if changes.permissions:
        yield "### Permissions"
        gained = sum(one.kind == "gained" for one in changes.permissions)
        if gained:
            yield f"**This change gains {gained} permission{'s' if gained > 1 else ''}.**"
        yield table(("", "what"), [(one.kind, code(one.what)) for one in changes.permissions])


def _cells(changes: NotebookChanges) -> Iterator[str]:
    yield "### Cells"
    if not changes.cells:
        yield "No cell changed."
    for change in changes.cells[:_MAX_SHOWN_CELLS]:
        parts = f": {', '.join(change.parts)}" if change.parts else ""
        yield f"{code(change.id)} {change.kind}{parts}"
        if change.source_diff:
            yield block("\n".join(change.source_diff.split("\n")[2:]), "diff")
    if len(changes.cells) > _MAX_SHOWN_CELLS:
        yield f"… and {len(changes.cells) - _MAX_SHOWN_CELLS} more cells."


def _parameters(changes: NotebookChanges) -> Iterator[str]:
    if changes.parameters:
        yield "### Parameters"
        yield table(("name", "before", "after"), map(_row, changes.parameters))


def _results(runs: NotebookChanges | None) -> Iterator[str]:
    if runs is None:
        return
    yield "### Results"
    if runs.given:
        yield "The runs were given other parameters:"
        yield table(("parameter", "before", "after"), map(_row, runs.given))
    if runs.scraps:
        yield table(("result", "before", "after"), map(_row, runs.scraps))
    else:
        yield "No recorded result changed."
    if runs.outputs:
        yield f"Outputs differ in {', '.join(map(code, runs.outputs[:_MAX_SHOWN_CELLS]))}."


def _calls(runs: NotebookChanges | None) -> Iterator[str]:
    if runs is None or not runs.calls:
        return
    yield "### Tool calls"
    counts = {**runs.calls.counts, **runs.calls.outcomes}
    if counts:
        yield table(
            ("calls", "before", "after"), [(code(name), str(old), str(new)) for name, (old, new) in counts.items()]
        )
    for heading, lines in (
        ("New hosts", runs.calls.new_hosts),
        ("New paths", runs.calls.new_paths),
        ("Other results", runs.calls.different_results),
    ):
        if lines:
            yield f"{heading}:\n\n" + "\n".join(f"- {code(line)}" for line in lines[:_MAX_SHOWN_CELLS])


def _row(change: ValueChange) -> tuple[str, str, str]:
    before = "–" if change.kind == "added" else code(_text(change.before))
    after = "–" if change.kind == "removed" else code(_text(change.after))
    return code(change.name), before, after


def _scraps(scraps: Mapping[str, Any]) -> str:
    return table(("result", "value"), [(code(name), code(_text(value))) for name, value in scraps.items()])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
