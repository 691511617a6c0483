"""Notebooks are checked against their format, and on request against what running them gives now."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_output
from notebook_runs import code, save

from host_bridge.errors import NotebookError
from host_bridge.executor import NotebookExecutor
from host_bridge.executor.junit import junit_xml
from host_bridge.executor.validation import CellCheck, Validation

PYTHON3 = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


def test_a_valid_notebook_has_no_problems(tmp_path: Path) -> None:
    result = NotebookExecutor().validate(save(tmp_path / "x.ipynb", "x = 1"))
    assert result
    assert result.to_dict() == {"valid": True, "problems": [], "nbval": "off", "cells": [], "run": {}}


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


@pytest.mark.parametrize(
    ("cells", "metadata", "told"),
    [
        ([code("x = = 1", "parameters")], {}, "isn't Python"),
        ([code("x = 1", "parameters"), code("y = 1", "parameters")], {}, "cells 0, 1 are tagged"),
        (["1"], {"hermes": {"permissions": {"allow": ["read_file("]}}}, "read_file("),
        (["1"], {"hermes": {"permissions": {"alow": []}}}, "alow"),
        (["1"], {"hermes": {"permissions": ["read_file"]}}, "no mapping"),
        ([new_code_cell("1", metadata={"hermes": {"conflict": ["source"]}})], {}, "unresolved conflict"),
    ],
)
def test_what_can_be_known_without_running_is_told_first(
    tmp_path: Path, cells: list[Any], metadata: dict[str, Any], told: str
) -> None:
    result = NotebookExecutor().validate(save(tmp_path / "x.ipynb", *cells, **metadata), nbval="strict")
    assert len(result.problems) == 1
    assert told in result.problems[0]
    assert result.cells == []


STORY = [
    ("import sys\nassert 'hermes_runtime' in sys.modules", None),
    ("# NBVAL_CHECK_OUTPUT\nprint(6 * 7)", "42\n"),
    ("# NBVAL_CHECK_OUTPUT\nprint('id 123')", "id 456\n"),
    ("print('other')", "another\n"),
    ("# NBVAL_SKIP\nraise SystemError", None),
    ("# NBVAL_RAISES_EXCEPTION\n1 / 0", None),
    ("nothing_like_this", None),
    ("import time; time.sleep(600)", None),
    ("print('never')", None),
]


@pytest.mark.slow
def test_each_cell_has_its_outcome_and_one_that_hangs_ends(machine: Machine) -> None:
    cells = [
        new_code_cell(
            source, id=f"c{index}", outputs=[new_output("stream", text=text)] if text else [], execution_count=1
        )
        for index, (source, text) in enumerate(STORY)
    ]
    cells[5].outputs = [new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])]
    path = save(machine.workspace / "x.ipynb", *cells, **PYTHON3)
    (machine.workspace / "sanitize.cfg").write_text("[numbers]\nregex: id [0-9]+\nreplace: id N\n")
    validate = NotebookExecutor().validate

    lax = validate(path, "lax", 90, cell_timeout=2, sanitizers=machine.workspace / "sanitize.cfg")

    outcomes = ["passed"] * 4 + ["skipped", "passed", "failed", "failed", "skipped"]
    assert [(cell.id, cell.outcome) for cell in lax.cells] == [(f"c{n}", outcome) for n, outcome in enumerate(outcomes)]
    assert lax.problems[0].startswith("cell 6: it failed: NameError")
    assert lax.problems[1].startswith("cell 7: it timed out")
    suite = ElementTree.fromstring(junit_xml(lax, "x.ipynb"))[0]
    assert [suite.get(key) for key in ("tests", "failures", "skipped")] == ["10", "2", "2"]

    strict = validate(path, "strict", 90, cell_timeout=2)

    assert [cell.index for cell in strict.cells if cell.outcome == "failed"] == [2, 3, 6, 7]
    assert "-stdout: another\n+stdout: other" in strict.cells[3].difference
    assert "another" in strict.cells[3].message
    machine.wait_until_clean()


def test_the_report_for_ci_takes_any_text() -> None:
    cells = [CellCheck(0, "failed", "\x1b[31m<b>\x00", 0.5, "c0", "-a\n+b"), CellCheck(1, "passed")]
    suite = ElementTree.fromstring(
        junit_xml(Validation(["other", "cell 0: \x1b[31m<b>\x00"], "lax", cells), "a&b.ipynb")
    )[0]
    assert [case.get("name") for case in suite] == ["notebook", "Cell 0 (c0)", "Cell 1 ()"]
    assert [len(case) for case in suite] == [1, 1, 0]
    assert suite[1][0].text == "\ufffd[31m<b>\ufffd\n\n-a\n+b"


@pytest.mark.parametrize("text", ["", "regex: [\nreplace: x\n"])
def test_sanitizers_that_say_nothing_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s").write_text(text)
    with pytest.raises(NotebookError, match="sanitizers"):
        NotebookExecutor().validate(save(tmp_path / "x.ipynb", "1"), "lax", sanitizers=tmp_path / "s")
