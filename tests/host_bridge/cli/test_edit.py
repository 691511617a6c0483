"""`hermes-runtime edit`: a notebook changed by a script."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from host_bridge.cli import main


@pytest.fixture
def path(tmp_path: Path) -> str:
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("days = 7  # how far", id="params", metadata={"tags": ["parameters"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "x.ipynb")
    return str(tmp_path / "x.ipynb")


def sources(path: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def test_a_script_lists_cells_and_changes_them_by_id(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["edit", path, "cells"]) == 0
    assert (
        capsys.readouterr().out
        == "title   markdown              # Title\nparams  code      parameters  days = 7  # how far\n"
    )

    assert main(["edit", path, "set-parameter", "days", "14"]) == 0
    (tmp_path / "cell.py").write_text("print(days)\n")
    assert (
        main(["edit", path, "insert", "--after", "params", "--id", "show", "--source", str(tmp_path / "cell.py")]) == 0
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("## New\n"))
    assert main(["edit", path, "replace", "title", "--source", "-"]) == 0
    assert sources(path) == ["## New", "days = 14  # how far", "print(days)"]

    assert main(["edit", path, "delete", "show"]) == 0
    assert sources(path) == ["## New", "days = 14  # how far"]


def test_programs_get_json(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", path, "set-parameter", "days", "14", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"notebook": path, "written": True, "name": "days", "source": "14"}
    assert main(["edit", path, "cells", "--json"]) == 0
    assert [cell["id"] for cell in json.loads(capsys.readouterr().out)] == ["title", "params"]


def test_a_dry_run_writes_nothing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(path).read_bytes()
    assert main(["edit", "--dry-run", path, "set-parameter", "days", "14"]) == 0
    assert capsys.readouterr().out == "days = 14 (not written)\n"
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set-parameter", "days", "soon"], "'days' takes int"),
        (["delete", "titel"], "did you mean 'title'?"),
        (["replace", "title", "--source", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_can_not_be_done_is_bad_input_and_changes_nothing(
    path: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(path).read_bytes()
    assert main(["edit", path, *arguments]) == 2
    assert told in capsys.readouterr().err
    assert Path(path).read_bytes() == before


def test_an_upgrade_of_the_format_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": []}))
    assert main(["edit", str(path), "cells"]) == 0
    assert "upgraded from format 4.4 to 4.5" in capsys.readouterr().err
