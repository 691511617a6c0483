"""The life of a notebook in one story: read, changed, put on a branch, run, compared, proposed, reviewed, merged.

With the real git and a remote, real kernels, and a forge on this machine; nothing but the commands a person types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import nbformat
import pytest
from forge_server import TOKEN, ForgeServer, forge_server
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_notebook
from repositories import Repository

from host_bridge.cli import main

pytestmark = pytest.mark.slow

NOTEBOOK, RECORD, BRANCH = "reports/check.ipynb", "runs/reports/check.ipynb", "agent/reports-check"
SOURCES = (
    "score = len(hermes.read_file('data.txt')) / 10\nhermes.glue('score', score)",
    "hermes.glue('alerts', int(score < threshold))\nprint(threshold)",
)


@pytest.fixture
def project(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A person's checkout of a repository with a remote and one notebook."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(machine.root / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    settings = "[user]\nname = Ann\nemail = ann@example.org\n[init]\ndefaultBranch = main\n"
    (machine.root / "gitconfig").write_text(settings)
    made = Repository.create(machine.workspace / "project")
    (made.folder / "data.txt").write_text("123456")
    parameters = new_code_cell("threshold = 0.5  # alert below", id="params", metadata={"tags": ["parameters"]})
    cells = [parameters, *(new_code_cell(source, id=f"c{number}") for number, source in enumerate(SOURCES))]
    (made.folder / NOTEBOOK).parent.mkdir()
    metadata = {"kernelspec": {"name": "hermes", "display_name": "Hermes"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), made.folder / NOTEBOOK)
    made.git("init", "-q", "--bare", str(machine.workspace / "remote.git"))
    made.git("remote", "add", "origin", str(machine.workspace / "remote.git"))
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgeServer]:
    monkeypatch.delenv("HERMES_FORGE_TOKEN", raising=False)
    monkeypatch.setenv("GITEA_TOKEN", TOKEN)
    with forge_server() as started:
        yield started


def test_a_threshold_is_read_changed_run_compared_proposed_reviewed_and_merged(
    project: Repository, forge: ForgeServer, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str) -> str:
        assert main([*arguments]) == 0, capsys.readouterr()
        return capsys.readouterr().out

    # The repository is set up, and a run in place is no change of it: its outputs and its tape stay in the checkout.
    told("init-repo")
    project.commit("Add the check")
    told("run", NOTEBOOK, NOTEBOOK, "--no-progress", "--no-ask")
    project.git("add", "-A")
    assert project.git("status", "--porcelain") == ""
    assert (project.folder / "reports/check.tape").exists()
    assert json.loads(told("collect", NOTEBOOK, "--json")) == {"score": 0.6, "alerts": 0}
    # That run is the base's evidence.
    (project.folder / RECORD).parent.mkdir(parents=True)
    (project.folder / RECORD).write_bytes((project.folder / NOTEBOOK).read_bytes())
    project.commit("Record a run")
    project.git("push", "-q", "origin", "main")

    # Read, and change the threshold.
    assert "threshold" in told("inspect", NOTEBOOK)
    assert "params" in told("edit", NOTEBOOK, "cells")
    told("edit", NOTEBOOK, "set-parameter", "threshold", "0.65")

    # Branch, run, compare, open.
    proposed = told("propose", NOTEBOOK, "--forge-url", forge.repository, "--title", "Raise it", "--keep-tape")
    assert proposed == f"opened {forge.repository}/pulls/1\n"
    body = forge.pulls[1]["body"]
    assert "+threshold = 0.65  # alert below" in body
    assert "| `alerts` | `0` | `1` |" in body
    assert "`score`" not in body  # it is what it was
    assert project.git("branch", "--show-current") == "main\n"

    # Validate by executing, on the branch, without tools.
    project.git("restore", NOTEBOOK)
    project.git("checkout", "-q", BRANCH)
    (project.folder / "data.txt").unlink()
    assert "valid" in told("validate", NOTEBOOK, "--nbval", "lax", "--tape", "runs/reports/check.tape")
    project.git("restore", "data.txt")
    assert project.git("status", "--porcelain") == ""

    # Review.
    page = machine.workspace / "review.html"
    told("review", f"main..{BRANCH}", "--out", str(page))
    assert "threshold = <mark>0.65</mark>" in page.read_text()
    assert "alerts" in page.read_text()
    assert "<script" not in page.read_text()

    # Meanwhile somebody changed another cell; both changes are there once it is merged.
    project.git("checkout", "-q", "main")
    source = machine.workspace / "cell.py"
    source.write_text(SOURCES[1] + "\nprint(score)")
    told("edit", NOTEBOOK, "replace", "c1", "--source", str(source))
    project.commit("Print the score")
    project.git("merge", "-q", "--no-edit", BRANCH)
    assert project.sources(NOTEBOOK) == ["threshold = 0.65  # alert below", SOURCES[0], SOURCES[1] + "\nprint(score)"]
    told("init-repo", "--check")
    machine.wait_until_clean()
