"""`diff`, `patch` and `merge`: what changed between notebooks, and bringing changes together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import counted, indented, plain, print_json, print_note, short, table, write_page

if TYPE_CHECKING:
    from host_bridge.executor.changes import NotebookChanges
    from host_bridge.executor.merging import Merge


@click.command("diff")
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option(
    "--html", "html_path", type=FILE, metavar="FILE", help="Write a page with the cells side by side; - for stdout."
)
@json_option
@debug_option
def diff_command(before: str, after: str, html_path: str | None, as_json: bool) -> None:
    """Show what changed between two notebooks: cells, parameters, permissions, results, tool calls.

    Exits with 1 if they differ. The page is one file without scripts; what the notebooks hold is made harmless in it.
    """
    if as_json and html_path == "-":
        raise click.UsageError("--json and the page '-' both want standard output; choose one")
    from host_bridge.executor import NotebookExecutor

    executor = NotebookExecutor()
    first, second = executor.read_notebook(before), executor.read_notebook(after)
    difference = executor.diff_notebooks(first, second)
    if html_path is not None:
        from host_bridge.executor.diff_page import diff_page

        title = f"{Path(before).name} → {Path(after).name}"
        write_page(html_path, diff_page(first, second, difference.changes, title=title, summary=difference.summary))
    if as_json:
        print_json(difference.to_dict())
    elif html_path != "-":
        click.echo(difference.summary)
        if shown := describe_changes(difference.changes):
            click.echo(indented(shown))
    if difference:
        raise Exit(ExitCode.FAILED)


def describe_changes(changes: NotebookChanges) -> str:
    """Tell a person what changed, a line each."""
    signs = {"added": "+", "removed": "-", "changed": "~", "moved": ">", "gained": "!", "lost": "-"}
    rows = [(f"{signs[cell.kind]} cell {cell.id}", ", ".join(cell.parts) or cell.kind) for cell in changes.cells]
    for noun, values in (("parameter", changes.parameters), ("given", changes.given), ("result", changes.scraps)):
        for value in values:
            sides = [short(side) if kind else "–" for side, kind in _present(value)]
            rows.append((f"{signs[value.kind]} {noun} {value.name}", " → ".join(sides)))
    rows += [(f"{signs.get(one.kind, '~')} permission {one.kind}", one.what) for one in changes.permissions]
    if changes.calls:
        counts = {**changes.calls.counts, **changes.calls.outcomes}
        rows += [(f"~ calls {name}", f"{old} → {new}") for name, (old, new) in counts.items()]
        for noun, lines in (
            ("new host", changes.calls.new_hosts),
            ("new path", changes.calls.new_paths),
            ("other result", changes.calls.different_results),
        ):
            rows += [(f"! {noun}", line) for line in lines]
    return table(rows)


def _present(value: Any) -> list[tuple[Any, bool]]:
    return [(value.before, value.kind != "added"), (value.after, value.kind != "removed")]


@click.command("patch")
@click.argument("notebook", type=FILE)
@click.argument("difference", type=FILE)
@click.option(
    "-o", "--output", type=FILE, metavar="FILE", help="Where the result goes; by default NOTEBOOK is changed."
)
@click.option("--unchecked", is_flag=True, help="Take nbdime's own format too, of which nothing tells whether it fits.")
@debug_option
def patch_command(notebook: str, difference: str, output: str | None, unchecked: bool) -> None:
    """Apply a difference, made by `diff --json`, to the NOTEBOOK it was made from.

    A difference that doesn't fit changes nothing.
    """
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.patching import PatchError, patch_notebook

    executor = NotebookExecutor()
    node = executor.read_notebook(notebook)
    try:
        read = json.loads(sys.stdin.read() if difference == "-" else Path(difference).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PatchError(f"{difference} is no difference: it isn't JSON ({error})", path=difference) from None
    executor.write_notebook(patch_notebook(node, read, unchecked=unchecked), output or notebook)
    click.echo(f"saved {plain(output or notebook)}")


@click.command("merge")
@click.argument("base", type=FILE)
@click.argument("ours", type=FILE)
@click.argument("theirs", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where the merge goes.")
@click.option(
    "--mark-conflicts", is_flag=True, help="Write also a merge with conflicts, both versions marked in their cells."
)
@click.option("--git-driver", metavar="PATH", hidden=True, help="Work as git's merge driver for PATH.")
@json_option
@debug_option
def merge_command(
    base: str,
    ours: str,
    theirs: str,
    output: str | None,
    mark_conflicts: bool,
    git_driver: str | None,
    as_json: bool,
) -> None:
    """Merge OURS and THEIRS, two versions of the notebook BASE, cell by cell.

    What touches is a conflict, told by cell, and nothing is written unless --mark-conflicts. Every merge is checked before it
    is written: no change of a side is lost, and nothing is in it that neither wrote. Exits with 1 if there are conflicts.
    """
    if output is None and git_driver is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    from host_bridge.executor import NotebookExecutor

    executor = NotebookExecutor()
    merge = executor.merge_notebooks(_ancestor(base, git_driver), ours, theirs)
    if merge or mark_conflicts or git_driver is not None:
        executor.write_notebook(merge.notebook, output or ours)
    if git_driver is not None:
        print_note(_told(merge, git_driver))
    elif as_json:
        print_json({**merge.to_dict(), "written": output if merge or mark_conflicts else None})
    else:
        click.echo(_told(merge, output or ours))
    if not merge:
        raise Exit(ExitCode.FAILED)


def _ancestor(base: str, git_driver: str | None) -> Any:
    """git gives an empty file for the base of a notebook that both sides added."""
    if git_driver is not None and Path(base).stat().st_size == 0:
        return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    return base


def _told(merge: Merge, name: str) -> str:
    lines = [f"{plain(name)}: merged" if merge else f"{plain(name)}: {counted(len(merge.conflicts), 'conflict')}"]
    lines += [
        f"  {f'cell {conflict.cell_id}: ' if conflict.cell_id else ''}{plain(conflict.text)}"
        for conflict in merge.conflicts
    ]
    return "\n".join(lines + [f"  note: {plain(note)}" for note in merge.notes])
