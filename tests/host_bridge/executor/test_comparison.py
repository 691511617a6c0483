"""Notebooks are compared by their cells."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from host_bridge.errors import NotebookError
from host_bridge.executor import NotebookExecutor


@pytest.fixture
def before() -> NotebookNode:
    cells = [new_markdown_cell("# Title", id="m"), new_code_cell("x = 1", id="a"), new_code_cell("y = 2", id="b")]
    return new_notebook(cells=cells)


def changed(before: NotebookNode) -> NotebookNode:
    return nbformat.from_dict(json.loads(json.dumps(before)))


def test_equal_notebooks_do_not_differ(before: NotebookNode) -> None:
    difference = NotebookExecutor().diff_notebooks(before, changed(before))
    assert not difference
    assert difference.summary == "no difference"
    assert difference.to_dict()["identical"] is True


def test_a_changed_cell_is_named_with_what_changed(before: NotebookNode) -> None:
    after = changed(before)
    after.cells[1].source = "x = 10"
    after.cells[1].outputs = [new_output("stream", text="hi")]
    difference = NotebookExecutor().diff_notebooks(before, after)
    assert difference.cells_changed == {1: ["outputs", "source"]}
    assert difference.summary == "1 cell changed (outputs, source)"
    assert not difference.metadata_changed


def test_added_and_removed_cells_are_named_by_their_own_indexes(before: NotebookNode) -> None:
    after = changed(before)
    after.cells.insert(1, new_code_cell("import numpy as something_new", id="n"))
    del after.cells[3]
    difference = NotebookExecutor().diff_notebooks(before, after)
    assert difference.cells_added == [1]
    assert difference.cells_removed == [2]


def test_metadata_is_told_apart(before: NotebookNode) -> None:
    after = changed(before)
    after.metadata["kernelspec"] = {"name": "hermes", "display_name": "Hermes"}
    difference = NotebookExecutor().diff_notebooks(before, after)
    assert difference.metadata_changed
    assert difference.cells_changed == {}


def test_the_operations_are_plain_data_that_json_takes(before: NotebookNode, tmp_path: Path) -> None:
    after = changed(before)
    after.cells[2].source += "\nz = 3"
    nbformat.write(before, tmp_path / "a.ipynb")
    nbformat.write(after, tmp_path / "b.ipynb")
    difference = NotebookExecutor().diff_notebooks(tmp_path / "a.ipynb", tmp_path / "b.ipynb")
    assert json.loads(json.dumps(difference.to_dict()))["operations"][0]["op"] == "patch"


def test_what_another_program_told_nbdime_to_ignore_is_not_ignored_here(before: NotebookNode) -> None:
    from nbdime.diffing.notebooks import set_notebook_diff_targets

    after = changed(before)
    after.cells[1].source = "x = 10"
    set_notebook_diff_targets(sources=False)
    assert NotebookExecutor().diff_notebooks(before, after)


def test_a_notebook_that_is_none_is_refused(before: NotebookNode) -> None:
    with pytest.raises(NotebookError):
        NotebookExecutor().diff_notebooks(before, {"cells": 3})
