"""Notebooks are validated both ways, upgraded when read, replaced in one step when written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from host_bridge.errors import NotebookError, OutputError
from host_bridge.executor import NotebookExecutor

V3 = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": "old"},
    "worksheets": [
        {
            "metadata": {},
            "cells": [{"cell_type": "code", "input": "x = 1", "outputs": [], "language": "python", "metadata": {}}],
        }
    ],
}


@pytest.fixture
def executor() -> NotebookExecutor:
    return NotebookExecutor()


def with_double_ids() -> NotebookNode:
    notebook = new_notebook(cells=[new_code_cell("a"), new_code_cell("b"), new_code_cell("c")])
    notebook.cells[1].id = notebook.cells[0].id
    return notebook


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not json", "isn't JSON"),
        ("", "isn't JSON"),
        ("[]", "is not a notebook"),
        ("null", "is not a notebook"),
        ({"some": "json"}, "is not a"),
        (
            {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]},
            "not a valid notebook",
        ),
        ({"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}, "is not a"),
    ],
)
def test_what_is_no_notebook_is_refused_by_name(
    executor: NotebookExecutor, tmp_path: Path, content: Any, reason: str
) -> None:
    path = write(tmp_path / "x.ipynb", content)
    with pytest.raises(NotebookError, match=reason) as caught:
        executor.read_notebook(path)
    assert caught.value.path == str(path)


def test_a_file_that_is_not_there_is_refused_by_name(executor: NotebookExecutor, tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="No such file"):
        executor.read_notebook(tmp_path / "missing.ipynb")


def test_bytes_that_are_no_text_are_refused(executor: NotebookExecutor, tmp_path: Path) -> None:
    (tmp_path / "x.ipynb").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NotebookError, match="UTF-8"):
        executor.read_notebook(tmp_path / "x.ipynb")


def test_format_3_is_upgraded(executor: NotebookExecutor, tmp_path: Path) -> None:
    notebook = executor.read_notebook(write(tmp_path / "old.ipynb", V3))
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.cells[0].source == "x = 1"
    assert notebook.cells[0].id


def test_cells_get_ids_that_are_missing_or_double(executor: NotebookExecutor, tmp_path: Path) -> None:
    content = json.loads(nbformat.v4.writes(with_double_ids()))
    del content["cells"][2]["id"]
    ids = [cell.id for cell in executor.read_notebook(write(tmp_path / "x.ipynb", content)).cells]
    assert len(set(ids)) == 3


def test_what_is_read_and_written_again_is_the_same(executor: NotebookExecutor, tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell("a\nb", outputs=[new_output("stream", text="x\n")])])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    executor.write_notebook(executor.read_notebook(tmp_path / "a.ipynb"), tmp_path / "b.ipynb")
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()


def test_an_invalid_notebook_is_not_written(executor: NotebookExecutor, tmp_path: Path) -> None:
    notebook = with_double_ids()
    path = tmp_path / "x.ipynb"
    path.write_text("before")
    for broken in (notebook, {**notebook, "cells": [{}]}, {}):
        with pytest.raises(NotebookError):
            executor.write_notebook(broken, path)
    assert path.read_text() == "before"


def test_a_folder_that_is_not_there_is_said(executor: NotebookExecutor, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="doesn't exist"):
        executor.write_notebook(new_notebook(), tmp_path / "no" / "x.ipynb")
