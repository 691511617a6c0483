"""A notebook's life with declared needs: run, learned from, narrowed, changed, reviewed, and run at night."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.cli import main

PROGRAMS = Path(sys.executable).parent
SECONDS = 90.0
ASKS = 'version = 1\n[rules]\nask_unless_allowed = ["terminal"]\n'


def write(path: Path, *sources: str, permissions: Any = None) -> Path:
    metadata: dict[str, Any] = {"kernelspec": {"name": "hermes", "display_name": "Hermes"}}
    if permissions is not None:
        metadata["hermes"] = {"permissions": permissions}
    cells = [new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


def declared(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["metadata"]["hermes"]["permissions"])


@pytest.mark.slow
def test_a_run_is_learned_from_and_from_then_on_nothing_else_is_possible(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine.workspace / "data").mkdir()
    for name in ("a", "b", "c"):
        (machine.workspace / "data" / f"{name}.csv").write_text(name)
    sources = (
        "text = ''.join(hermes.read_file(f'data/{name}.csv') for name in 'abc')",
        "hermes.write_file('out.txt', text)\nhermes.terminal('uptime').check()",
        "found = hermes.search_files('b', path='data')",
    )
    notebook = write(machine.workspace / "in.ipynb", *sources)
    assert main(["run", "in.ipynb", "out.ipynb", "--no-progress"]) == 0

    assert main(["permissions", "learn", "out.ipynb", "--write"]) == 0
    assert declared(notebook)["allow"] == [
        "read_file(./data/*.csv)",
        "search_files(./data/**)",
        "terminal(uptime)",
        "write_file(./out.txt)",
    ]
    capsys.readouterr()
    learned = {}
    for source in ("out.ipynb", "out.tape"):
        assert main(["permissions", "learn", source, "--json"]) == 0
        learned[source] = json.loads(capsys.readouterr().out)
    assert learned["out.tape"]["permissions"] == learned["out.ipynb"]["permissions"]
    assert learned["out.tape"]["notebook_digest"] == learned["out.ipynb"]["notebook_digest"]
    capsys.readouterr()
    assert main(["run", "in.ipynb", "out.ipynb", "--no-progress", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["tool_calls"]["by_outcome"] == {"ok": result["tool_calls"]["total"]}

    reviewed = machine.workspace / "reviewed.ipynb"
    reviewed.write_bytes(notebook.read_bytes())
    write(notebook, *sources, "hermes.terminal('git push')", permissions=declared(reviewed))
    assert main(["run", "in.ipynb", "out.ipynb", "--no-progress", "--allow", "terminal(git push *)"]) == 3
    assert "metadata.hermes.permissions" in capsys.readouterr().out
    assert main(["permissions", "diff", "reviewed.ipynb", "in.ipynb"]) == 0

    wider = {**declared(reviewed), "allow": [*declared(reviewed)["allow"], "terminal(git push)"]}
    write(notebook, *sources, "hermes.terminal('git push')", permissions=wider)
    capsys.readouterr()
    assert main(["permissions", "diff", "reviewed.ipynb", "in.ipynb"]) == 1
    assert capsys.readouterr().out == "NEW: it could run `git push`\n"


def test_a_declared_budget_ends_a_run_that_grows_out_of_hand(machine: Machine) -> None:
    write(
        machine.workspace / "in.ipynb",
        "for _ in range(3):\n    hermes.terminal('uptime')",
        permissions={"allow": ["terminal(uptime)"], "budgets": {"calls": 2}},
    )

    assert main(["run", "in.ipynb", "out.ipynb", "--no-progress"]) == 3
    assert "budget" in (machine.workspace / "out.ipynb").read_text()


def test_where_unknown_declarations_are_refused_nothing_runs_until_somebody_accepts(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.configure("[declarations]\nunknown = 'refuse'\n")
    write(machine.workspace / "in.ipynb", "open('ran', 'w')", permissions={"allow": []})

    assert main(["run", "in.ipynb", "out.ipynb", "--no-progress"]) == 3
    assert "permissions accept" in capsys.readouterr().err
    assert not (machine.workspace / "ran").exists()
    machine.wait_until_clean()

    assert main(["permissions", "accept", "in.ipynb"]) == 0
    assert main(["run", "in.ipynb", "out.ipynb", "--no-progress"]) == 0


def reviewed_in_a_terminal(answer: str, *arguments: str) -> tuple[int, str]:
    """Run at a terminal where a person answers the review, and nothing else."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", str(PROGRAMS / "hermes-runtime"), "run", *arguments],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while b"don't run > " not in seen:
        seen += os.read(ours, 4096)
    os.write(ours, f"{answer}\n".encode())
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # Linux's way to say that nobody is at the other end any more
        pass
    code = process.wait(timeout=SECONDS)
    os.close(ours)
    return code, seen.decode()


@pytest.mark.slow
def test_what_was_reviewed_in_the_evening_is_not_asked_about_at_night(machine: Machine) -> None:
    (machine.workspace / "rules.toml").write_text(ASKS)
    notebook = write(
        machine.workspace / "in.ipynb",
        "hermes.terminal('touch made').check()",
        permissions={"allow": ["terminal(touch made)"]},
    )
    run = ["in.ipynb", "out.ipynb", "--policy", "rules.toml", "--no-progress"]
    assert main(["run", *run]) == 3  # an unknown declaration narrows; nobody is there to be asked

    code, seen = reviewed_in_a_terminal("y", *run)
    assert (code, seen.count("[N] no")) == (0, 1)
    assert (machine.workspace / "made").exists()

    assert main(["run", *run]) == 0
    (latest,) = sorted(machine.audit.glob("*.jsonl"))[-1:]
    records = [json.loads(line) for line in latest.read_text().splitlines()]
    assert records[0]["declaration"] == "accepted"
    assert [record["rule_id"] for record in records if record["type"] == "call_decided"] == [
        "accepted:metadata.hermes.permissions.allow[0]"
    ]

    machine.configure("[policy]\nfiles = ['" + str(machine.workspace / "rules.toml") + "']\n")
    papermill = [str(PROGRAMS / "papermill"), "--engine", "hermes", "-k", "hermes", "--no-progress-bar"]
    done = subprocess.run([*papermill, "-p", "x", "1", "in.ipynb", "out.ipynb"], timeout=SECONDS, capture_output=True)
    assert done.returncode == 0, done.stderr

    write(
        notebook,
        "hermes.terminal('touch made').check()",
        "2",
        permissions={"allow": ["terminal(touch made)"]},
    )
    assert main(["run", *run]) == 3  # another source: nobody has accepted that one
