"""Notebooks are checked against their format, and on request against what running them gives now."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_output
from notebook_runs import save

from host_bridge.errors import NotebookError
from host_bridge.executor import NotebookExecutor

PYTHON3 = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


def test_a_valid_notebook_has_no_problems(tmp_path: Path) -> None:
    result = NotebookExecutor().validate(save(tmp_path / "x.ipynb", "x = 1"))
    assert result
    assert result.to_dict() == {"valid": True, "problems": [], "nbval": "off", "cells": []}


def test_an_invalid_one_is_told_why(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}')
    result = NotebookExecutor().validate(path)
    assert not result
    assert "not a valid notebook" in result.problems[0]


def test_a_missing_file_is_no_notebook_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotebookError):
        NotebookExecutor().validate(tmp_path / "x.ipynb")


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lax"):
        NotebookExecutor().validate(save(tmp_path / "x.ipynb"), nbval="loose")


def notebook(machine: Machine, printed: str, marked: bool = True) -> Path:
    mark = "# NBVAL_CHECK_OUTPUT\n" if marked else ""
    cell = new_code_cell(f"{mark}print(6 * 7)", outputs=[new_output("stream", text=printed)], execution_count=1)
    return save(machine.workspace / "x.ipynb", "import sys\nassert 'hermes_runtime' in sys.modules", cell, **PYTHON3)


@pytest.mark.slow
def test_nbval_compares_marked_cells_in_our_kernel(machine: Machine) -> None:
    result = NotebookExecutor().validate(notebook(machine, "42\n"), nbval="lax", timeout=90)
    assert result.problems == []
    assert [cell.outcome for cell in result.cells] == ["passed", "passed"]
    machine.wait_until_clean()


@pytest.mark.slow
def test_nbval_tells_which_cell_differs(machine: Machine) -> None:
    result = NotebookExecutor().validate(notebook(machine, "41\n"), nbval="lax", timeout=90)
    assert [cell.outcome for cell in result.cells] == ["passed", "failed"]
    assert "42" in result.cells[1].message
    assert result.problems[0].startswith("cell 1:")


@pytest.mark.slow
def test_lax_overlooks_what_is_not_marked_and_strict_does_not(machine: Machine) -> None:
    path = notebook(machine, "41\n", marked=False)
    assert NotebookExecutor().validate(path, nbval="lax", timeout=90)
    assert not NotebookExecutor().validate(path, nbval="strict", timeout=90)


@pytest.mark.slow
def test_a_cell_that_hangs_ends_with_the_time(machine: Machine) -> None:
    path = save(machine.workspace / "x.ipynb", "import time; time.sleep(600)", **PYTHON3)
    result = NotebookExecutor().validate(path, nbval="lax", timeout=8)
    assert result.problems == ["nbval did not end within 8 s"]
    machine.wait_until_clean(files=False)
