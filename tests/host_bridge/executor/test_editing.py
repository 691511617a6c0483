"""Notebooks are changed cell by cell, by the cells' ids, and all else stays as it was written."""

from __future__ import annotations

import datetime
import json
import multiprocessing
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from host_bridge.errors import NotebookError
from host_bridge.executor import NotebookExecutor
from host_bridge.executor.editing import (
    CellNotFoundError,
    delete_cell,
    find_cell,
    insert_cell,
    parameters_cell,
    replace_cell,
    set_parameter,
    set_parameter_from_text,
)
from host_bridge.executor.origin import StaleNotebookError, origin_of
from host_bridge.executor.parameter_defaults import replace_default
from host_bridge.executor.parameters import ParameterError, inspect_parameters

SOURCE = """\
# Parameters
%matplotlib inline
days: int = 7          # how far back
name = "weekly"  # type: str  the ✓ title
low, high = 0.1, 0.9
since = date(2024, 1, 1)
wide = (
    1,  # one
    2,
)
must: float
token = ""  # secret
a = b = 3"""


def parameterised() -> NotebookNode:
    cell = new_code_cell(SOURCE, id="params", metadata={"tags": ["parameters"]}, execution_count=3)
    cell.outputs = [new_output("stream", text="old\n")]
    return new_notebook(cells=[new_markdown_cell("# Title", id="title"), cell, new_code_cell("print(days)", id="show")])


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("days", 14, "days: int = 7  ", "days: int = 14  "),
        ("name", "it's", '"weekly"', '"it\'s"'),
        ("name", 'say "x"', '"weekly"', "'say \"x\"'"),
        ("high", 0.8, "0.1, 0.9", "0.1, 0.8"),
        ("since", datetime.date(2025, 2, 3), "date(2024, 1, 1)", "date(2025, 2, 3)"),
        ("wide", (3,), "(\n    1,  # one\n    2,\n)", "(3,)"),
        ("must", 2.5, "must: float", "must: float = 2.5"),
    ],
)
def test_a_default_changes_and_nothing_else_in_the_cell(name: str, value: Any, old: str, new: str) -> None:
    notebook = parameterised()
    set_parameter(notebook, name, value)
    cell = parameters_cell(notebook)
    assert cell is not None
    assert cell.source == SOURCE.replace(old, new)
    assert (cell.outputs, cell.execution_count) == ([], None)
    assert inspect_parameters(notebook)[name].default == value


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("days", "soon", "takes int"),
        ("dais", 1, "did you mean 'days'"),
        ("token", "s3cret", "is a secret"),
        ("b", 4, "assigned together with others"),
        ("days", object(), "takes int"),
    ],
)
def test_what_would_not_be_a_parameters_default_is_refused(name: str, value: Any, reason: str) -> None:
    notebook = parameterised()
    with pytest.raises(ParameterError, match=reason):
        set_parameter(notebook, name, value)
    assert parameters_cell(notebook) == parameterised().cells[1]


def test_text_is_read_as_the_declared_type() -> None:
    notebook = parameterised()
    assert set_parameter_from_text(notebook, "days", "30") == "30"
    with pytest.raises(ParameterError, match="takes int"):
        set_parameter_from_text(notebook, "days", "many")


_VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.booleans(), st.none(), st.lists(st.integers())
)
_NAMES = st.sampled_from(["x", "données", "list", "float"])


@given(name=_NAMES, old=_VALUES, new=_VALUES, tail=st.sampled_from(["", "  # why ✓", "; z = 5", "\n# more\ny = 2"]))
def test_whatever_the_value_what_is_read_back_is_it(name: str, old: Any, new: Any, tail: str) -> None:
    before = f"first = 'é'; {name} = {old!r}{tail}"
    changed, written = replace_default(before, name, new)
    assert changed == f"first = 'é'; {name} = {written}{tail}"
    scope: dict[str, Any] = {}
    exec(changed, scope)
    assert scope[name] == new
    assert type(scope[name]) is type(new)


def test_a_replaced_cell_loses_outputs_that_are_no_longer_its_own() -> None:
    notebook = parameterised()
    assert replace_cell(notebook, "params", "days = 1") == 1
    assert notebook.cells[1].outputs == []
    assert notebook.cells[1].metadata.tags == ["parameters"]
    replace_cell(notebook, "show", "Some text", cell_type="markdown")
    assert (notebook.cells[2].cell_type, notebook.cells[2].id) == ("markdown", "show")
    nbformat.validate(notebook)


def test_a_cell_that_is_replaced_by_itself_keeps_its_outputs() -> None:
    notebook = parameterised()
    replace_cell(notebook, "params", SOURCE)
    assert notebook.cells[1].outputs


def test_cells_are_inserted_where_one_says_and_deleted_by_id() -> None:
    notebook = parameterised()
    first = insert_cell(notebook, "a", before="title", cell_id="a-1")
    behind = insert_cell(notebook, "Text", after="title", cell_type="markdown", tags=["note"])
    last = insert_cell(notebook, "z")
    assert [cell.id for cell in notebook.cells] == [first, "title", behind, "params", "show", last]
    assert notebook.cells[2].metadata.tags == ["note"]
    nbformat.validate(notebook)
    assert delete_cell(notebook, behind).source == "Text"
    assert behind not in [cell.id for cell in notebook.cells]


def test_equal_cells_get_different_ids() -> None:
    notebook = new_notebook()
    assert insert_cell(notebook, "x") != insert_cell(notebook, "x")


@pytest.mark.parametrize(
    "edit",
    [
        lambda notebook: insert_cell(notebook, "x", after="no"),
        lambda notebook: replace_cell(notebook, "no", "x"),
        lambda notebook: delete_cell(notebook, "no"),
        lambda notebook: insert_cell(notebook, "x", cell_id="show"),
        lambda notebook: insert_cell(notebook, "x", cell_id="not valid"),
        lambda notebook: insert_cell(notebook, "x", cell_type="heading"),
        lambda notebook: insert_cell(notebook, "x", after="show", before="show"),
    ],
)
def test_an_edit_that_makes_no_sense_changes_nothing(edit: Any) -> None:
    notebook = parameterised()
    with pytest.raises(NotebookError):
        edit(notebook)
    assert notebook == parameterised()


def test_a_mistyped_id_is_answered_with_the_nearest() -> None:
    with pytest.raises(CellNotFoundError, match="did you mean 'params'"):
        find_cell(parameterised(), "param")


# writing back ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    nbformat.write(parameterised(), tmp_path / "x.ipynb")
    return tmp_path / "x.ipynb"


def test_a_change_on_disk_is_not_written_over(path: Path) -> None:
    executor = NotebookExecutor()
    mine, theirs = executor.read_notebook(path), executor.read_notebook(path)
    set_parameter(theirs, "days", 1)
    executor.write_notebook(theirs, path)
    after = path.read_bytes()

    set_parameter(mine, "days", 2)
    with pytest.raises(StaleNotebookError, match="has changed since it was read") as caught:
        executor.write_notebook(mine, path)
    assert caught.value.path == str(path)
    assert path.read_bytes() == after

    executor.write_notebook(mine, path, force=True)
    assert inspect_parameters(path)["days"].default == 2


def test_who_wrote_may_write_again_and_a_copy_too(path: Path) -> None:
    import copy

    executor = NotebookExecutor()
    notebook = executor.read_notebook(path)
    for days in (1, 2):
        set_parameter(notebook, "days", days)
        executor.write_notebook(notebook, path)
    other = copy.deepcopy(notebook)
    set_parameter(other, "days", 3)
    executor.write_notebook(other, path)
    with pytest.raises(StaleNotebookError):
        executor.write_notebook(notebook, path)


def test_a_file_that_is_gone_is_not_made_anew(path: Path) -> None:
    notebook = NotebookExecutor().read_notebook(path)
    path.unlink()
    with pytest.raises(StaleNotebookError, match="is gone"):
        NotebookExecutor().write_notebook(notebook, path)
    assert not path.exists()


def test_another_path_is_written_whatever_is_there(path: Path, tmp_path: Path) -> None:
    notebook = NotebookExecutor().read_notebook(path)
    path.write_text("changed")
    NotebookExecutor().write_notebook(notebook, tmp_path / "y.ipynb")
    NotebookExecutor().write_notebook(notebook, tmp_path / "y.ipynb")


def test_a_link_to_the_file_is_the_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.ipynb").symlink_to(path)
    notebook = NotebookExecutor().read_notebook(tmp_path / "link.ipynb")
    path.write_text("changed")
    with pytest.raises(StaleNotebookError):
        NotebookExecutor().write_notebook(notebook, path)


def test_what_is_remembered_is_not_in_the_file(path: Path) -> None:
    before = path.read_bytes()
    NotebookExecutor().write_notebook(NotebookExecutor().read_notebook(path), path)
    assert path.read_bytes() == before


def _append(path: Path, number: int) -> None:
    executor = NotebookExecutor()
    while True:
        notebook = executor.read_notebook(path)
        insert_cell(notebook, f"n = {number}")
        try:
            executor.write_notebook(notebook, path)
        except StaleNotebookError:
            continue
        return


def test_of_many_who_write_at_once_none_is_lost(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(path, number)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    sources = {cell.source for cell in NotebookExecutor().read_notebook(path).cells}
    assert {f"n = {number}" for number in range(6)} <= sources


# ids ---------------------------------------------------------------------------------------------------------------------


def old_format(path: Path) -> Path:
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**cell, "source": source} for source in ("a", "b", "a")]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": cells}))
    return path


def test_an_older_minor_version_is_upgraded_and_that_is_said(tmp_path: Path) -> None:
    notebook = NotebookExecutor().read_notebook(old_format(tmp_path / "old.ipynb"))
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert origin_of(notebook).changes == ("upgraded from format 4.2 to 4.5",)


def test_all_who_read_an_old_notebook_give_its_cells_the_same_ids(tmp_path: Path) -> None:
    path = old_format(tmp_path / "old.ipynb")
    once, again = ([cell.id for cell in NotebookExecutor().read_notebook(path).cells] for _ in range(2))
    assert once == again
    assert len(set(once)) == 3


def test_ids_that_are_double_or_invalid_are_replaced_and_that_is_said(path: Path) -> None:
    content = json.loads(path.read_text())
    content["cells"][0]["id"] = "no id!"
    content["cells"][2]["id"] = "params"
    path.write_text(json.dumps(content))
    notebook = NotebookExecutor().read_notebook(path)
    assert notebook.cells[1].id == "params"
    assert len({cell.id for cell in notebook.cells}) == 3
    assert origin_of(notebook).changes == ("gave 2 cells an id of their own",)
