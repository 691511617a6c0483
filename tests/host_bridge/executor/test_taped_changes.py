"""What two runs' tool calls did differently, from their tapes; and a notebook that is tested against one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_output
from notebook_runs import save

from host_bridge.cli import main
from host_bridge.executor import NotebookExecutor
from host_bridge.executor.changes import NotebookChanges

KERNEL = {"kernelspec": {"name": "hermes", "display_name": "Hermes"}}


def run(folder: Path, name: str, *sources: str) -> Path:
    save(folder / "in.ipynb", *sources, **KERNEL)
    result = NotebookExecutor().execute(folder / "in.ipynb", folder / name, cwd=folder)
    assert result["state"] == "succeeded", result
    return folder / name


def compared(before: Path, after: Path) -> NotebookChanges:
    return NotebookExecutor().diff_notebooks(before, after).changes


@pytest.mark.slow
def test_new_paths_and_other_results_are_told_and_a_run_is_tested_against_its_tape(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = machine.workspace
    (folder / "a.txt").write_text("one")
    (folder / "b.txt").write_text("same")
    shared = "hermes.read_file('a.txt')\nhermes.read_file('b.txt')\nhermes.terminal('echo hi')"
    before = run(folder, "before.ipynb", shared)
    (folder / "a.txt").write_text("two")
    (folder / "c.txt").write_text("")
    after = run(folder, "after.ipynb", f"{shared}\nhermes.read_file('c.txt')")

    calls = compared(before, after).calls

    assert calls is not None
    assert calls.counts == {"read_file": [2, 3]}
    assert calls.outcomes == {"ok": [3, 4]}
    assert calls.new_paths == ["c.txt"]
    [different] = calls.different_results
    assert "path='a.txt'" in different
    assert main(["diff", str(before), str(after)]) == 1
    assert "! new path" in capsys.readouterr().out

    # A later run to the same output takes the place beside it; the earlier one's tape still tells of that.
    kept = shutil.copy(before, folder / "kept.ipynb")
    run(folder, "before.ipynb", "1")
    assert compared(kept, after).calls == calls

    # The tape of another run says nothing about this one, and neither does one that was changed.
    shutil.copy(folder / "before.tape", folder / "after.tape")
    calls = compared(kept, after).calls
    assert calls is not None
    assert (calls.counts, calls.new_paths) == ({"read_file": [2, 3]}, [])

    # What a cell puts out is tested with the tools' answers of then.
    cell = new_code_cell(
        "# NBVAL_CHECK_OUTPUT\nprint(hermes.read_file('a.txt'))",
        execution_count=1,
        outputs=[new_output("stream", text="two\n")],
    )
    path = save(folder / "test.ipynb", cell, **KERNEL)
    NotebookExecutor().execute(path, folder / "then.ipynb", cwd=folder)
    (folder / "a.txt").unlink()
    assert main(["validate", str(path), "--tape", str(folder / "then.tape"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"][0]["outcome"] == "passed"
    machine.wait_until_clean()


def test_a_notebook_that_names_no_tape_has_none(tmp_path: Path) -> None:
    before = save(tmp_path / "a.ipynb", "1")
    with sqlite3.connect(tmp_path / "a.tape") as database:
        database.execute("CREATE TABLE calls (x)")
    database.close()
    assert compared(before, before).calls is None
