"""Two versions of a notebook are merged with nothing lost and nothing made up, or not at all."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from host_bridge.executor import NotebookExecutor
from host_bridge.executor.line_merge import is_merge_of, merge_lines
from host_bridge.executor.merge_check import MergeError, check_merge
from host_bridge.executor.merging import Merge, undecided


@pytest.fixture
def base() -> NotebookNode:
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("a = 1\nb = 2\nc = 3\nd = 4", id="one"),
        new_code_cell("print(a)", id="two"),
    ]
    return new_notebook(cells=cells, metadata={"hermes": {"permissions": {"allow": ["read_file"]}}})


def versions(base: NotebookNode) -> tuple[NotebookNode, NotebookNode]:
    return copy.deepcopy(base), copy.deepcopy(base)


def merge(base: NotebookNode, ours: NotebookNode, theirs: NotebookNode) -> Merge:
    return NotebookExecutor().merge_notebooks(base, ours, theirs)


def sources(merged: Merge) -> list[str]:
    return [cell.source for cell in merged.notebook.cells]


def test_changes_of_different_cells_are_both_there(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.cells[0].source = "# Ours"
    theirs.cells[2].source = "print(b)"
    theirs.cells.insert(0, new_code_cell("import new", id="new"))
    del ours.cells[1]
    merged = merge(base, ours, theirs)
    assert merged
    assert sources(merged) == ["import new", "# Ours", "print(b)"]


def test_changes_of_different_lines_of_one_cell_are_both_there(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.cells[1].source = "a = 10\nb = 2\nc = 3\nd = 4"
    theirs.cells[1].source = "a = 1\nb = 2\nc = 3\nd = 40"
    ours.cells[1].outputs = [new_output("stream", text="ours")]
    merged = merge(base, ours, theirs)
    assert sources(merged)[1] == "a = 10\nb = 2\nc = 3\nd = 40"
    assert merged.notebook.cells[1].outputs == []
    assert merged.notes == ["cell one: its outputs were dropped, its source is a merge; run it again"]


def test_two_versions_of_a_line_are_a_conflict_of_that_cell(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.cells[1].source, theirs.cells[1].source = "a=10", "a=99"  # nbdime's use-local makes "a=99a=10" of it
    merged = merge(base, ours, theirs)
    assert [(one.cell_id, one.part, one.ours, one.theirs) for one in merged.conflicts] == [
        ("one", "source", "a=10", "a=99")
    ]
    assert sources(merged)[1] == "<<<<<<< ours\na=10\n=======\na=99\n>>>>>>> theirs"
    assert merged.notebook.cells[1].metadata.hermes.conflict == ["source"]
    nbformat.validate(merged.notebook)


def test_lines_that_are_no_python_together_are_a_conflict(base: NotebookNode) -> None:
    base.cells[1].source = "if a:\n    b()\nelse:\n    c()\n\nd()"
    ours, theirs = versions(base)
    ours.cells[1].source = "b()\n\nd()".replace("b()", "if a:\n    b()")
    theirs.cells[1].source = base.cells[1].source.replace("d()", "d()\nelse_()")
    theirs.cells[1].source = "if a:\n    b()\nelse:\n    c()\n    e()\n\nd()"
    merged = merge(base, ours, theirs)
    assert not merged
    assert merged.conflicts[0].part == "source"


def test_a_cell_that_one_deletes_and_the_other_changes_is_a_conflict_and_stays(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    del ours.cells[2]
    theirs.cells[2].source = "print(a, b)"
    merged = merge(base, ours, theirs)
    assert [(one.cell_id, one.part) for one in merged.conflicts] == [("two", "deleted")]
    assert sources(merged)[2] == "print(a, b)"


def test_a_cell_that_one_deletes_and_the_other_only_ran_is_deleted(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    del ours.cells[2]
    theirs.cells[2].outputs = [new_output("stream", text="1\n")]
    merged = merge(base, ours, theirs)
    assert merged
    assert len(sources(merged)) == 2


def test_cells_inserted_in_one_place_are_both_there_and_their_order_is_asked(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.cells.append(new_code_cell("x", id="x"))
    theirs.cells.append(new_code_cell("y", id="y"))
    merged = merge(base, ours, theirs)
    assert [(one.cell_id, one.part) for one in merged.conflicts] == [("x", "inserted")]
    assert sources(merged)[3:] == ["x", "y"]


def test_the_same_change_on_both_sides_is_done_once(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    for side in (ours, theirs):
        side.cells[1].source = "a = 5\nb = 2\nc = 3\nd = 4"
        side.cells.append(new_code_cell("x", id="x"))
    merged = merge(base, ours, theirs)
    assert merged
    assert merged.notebook == ours


def test_moved_cells_are_moved_and_two_other_orders_are_a_conflict(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    theirs.cells.reverse()
    ours.cells[0].source = "# Ours"
    merged = merge(base, ours, theirs)
    assert merged
    assert [cell.id for cell in merged.notebook.cells] == ["two", "one", "title"]
    ours.cells.insert(0, ours.cells.pop(1))
    merged = merge(base, ours, theirs)
    assert [one.part for one in merged.conflicts] == ["order"]
    assert undecided(merged.notebook) == ["the notebook"]


def test_permissions_of_two_sides_are_never_added_up(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.metadata.hermes.permissions["allow"] = ["read_file", "terminal(make)"]
    theirs.metadata.hermes.permissions["allow"] = ["read_file", "web_extract"]
    merged = merge(base, ours, theirs)
    assert [one.part for one in merged.conflicts] == ["metadata.hermes.permissions.allow"]


def test_metadata_is_merged_by_key_and_records_of_runs_are_of_neither(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.metadata["title"], theirs.cells[2].metadata["tags"] = "Ours", ["theirs"]
    ours.metadata["papermill"], theirs.metadata.hermes["run"] = {"duration": 1}, {"id": "x"}
    merged = merge(base, ours, theirs)
    assert merged
    assert dict(merged.notebook.metadata) == {"hermes": {"permissions": {"allow": ["read_file"]}}, "title": "Ours"}
    assert merged.notebook.cells[2].metadata == {"tags": ["theirs"]}


def test_a_merge_that_loses_or_makes_up_something_is_refused(base: NotebookNode) -> None:
    ours, theirs = versions(base)
    ours.cells[1].source, theirs.cells[2].source = "a = 99", "print(b)"
    good = merge(base, ours, theirs).notebook
    for broken in ("a = 99a = 10", "a = 1", base.cells[1].source):
        wrong = copy.deepcopy(good)
        wrong.cells[1].source = broken
        with pytest.raises(MergeError, match="cell one isn't the merge"):
            check_merge(base, ours, theirs, Merge(wrong, [], []))
    for lost in range(3):
        wrong = copy.deepcopy(good)
        del wrong.cells[lost]
        with pytest.raises(MergeError, match="is gone"):
            check_merge(base, ours, theirs, Merge(wrong, [], []))


# laws --------------------------------------------------------------------------------------------------------------------

_LINES = st.lists(st.sampled_from(["a", "b", "c", "", "x = 1"]), max_size=8).map("\n".join)


@given(_LINES, _LINES, _LINES)
def test_merged_lines_hold_both_changes_whichever_side_is_ours(base: str, ours: str, theirs: str) -> None:
    merged = merge_lines(base, ours, theirs)
    assert merged == merge_lines(base, theirs, ours)
    assert merge_lines(base, base, theirs) == theirs
    assert merge_lines(base, ours, ours) == ours
    if merged is not None:
        assert is_merge_of(base, ours, theirs, merged)


@settings(max_examples=40, deadline=None)
@given(_LINES, st.integers(0, 7), st.integers(0, 7))
def test_lines_are_merged_as_git_merges_them(
    tmp_path_factory: pytest.TempPathFactory, text: str, i: int, j: int
) -> None:
    base = [
        f"{number} {line}" for number, line in enumerate(text.split("\n"))
    ]  # all different: one way to compare them
    ours, theirs = list(base), list(base)
    ours[i % len(base)] += " ours"
    theirs.insert(j % (len(base) + 1), "theirs")
    names = ("ours", "base", "theirs")
    folder = tmp_path_factory.mktemp("merge")
    for name, lines in zip(names, (ours, base, theirs), strict=True):
        (folder / name).write_text("".join(line + "\n" for line in lines))
    git = subprocess.run(["git", "merge-file", "-p", *names], cwd=folder, capture_output=True, text=True, check=False)
    merged = merge_lines("\n".join(base), "\n".join(ours), "\n".join(theirs))
    assert (git.returncode == 0) == (merged is not None)
    if merged is not None:
        assert git.stdout == merged + "\n"


def _edited(draw: st.DrawFn, base: NotebookNode, side: str) -> NotebookNode:
    made = copy.deepcopy(base)
    for cell in list(made.cells):
        action = draw(st.sampled_from(["keep", "keep", "keep", "change", "append", "delete", "run"]))
        if action == "delete":
            made.cells.remove(cell)
        elif action == "change":
            cell.source = f"{side} = 1"
        elif action == "append":
            cell.source += f"\nx\n{side} = 2"
        elif action == "run":
            cell.outputs = [new_output("stream", text=side)]
    if draw(st.booleans()):
        made.cells.insert(draw(st.integers(0, len(made.cells))), new_code_cell(side, id=side))
    return made


@st.composite
def _three(draw: st.DrawFn) -> tuple[NotebookNode, NotebookNode, NotebookNode]:
    count = draw(st.integers(0, 4))
    base = new_notebook(cells=[new_code_cell(f"a{n}\nb\nc{n}", id=f"cell{n}") for n in range(count)])
    return base, _edited(draw, base, "ours"), _edited(draw, base, "theirs")


@settings(max_examples=150, deadline=None)
@given(_three())
def test_whatever_two_sides_do_nothing_is_lost(three: tuple[NotebookNode, NotebookNode, NotebookNode]) -> None:
    base, ours, theirs = three
    merged = merge(base, ours, theirs)  # which checks itself, and raises if something is lost
    nbformat.validate(merged.notebook)
    other = merge(base, theirs, ours)
    assert bool(merged) == bool(other)
    if merged:
        assert sorted(sources(merged)) == sorted(sources(other))
        assert merge(base, base, theirs).notebook.cells == theirs.cells


def test_old_files_without_ids_are_merged_too(tmp_path: Path) -> None:
    def old(name: str, *texts: str) -> Path:
        cells = [
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": t} for t in texts
        ]
        node = nbformat.from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
        nbformat.write(node, tmp_path / name)
        return tmp_path / name

    paths = (
        old("base", "load_all()", "show(x)"),
        old("ours", "load_all(1)", "show(x)"),
        old("theirs", "load_all()", "show(y)"),
    )
    merged = NotebookExecutor().merge_notebooks(*paths)
    assert merged
    assert sources(merged) == ["load_all(1)", "show(y)"]
