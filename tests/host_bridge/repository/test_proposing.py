"""A change of a notebook is proposed: on a branch, run, compared, checked, and as one pull request however often it is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from forge_server import TOKEN, ForgeServer, forge_server
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_notebook
from repositories import Repository

from host_bridge.cli import main
from host_bridge.executor import NotebookExecutor
from host_bridge.executor.editing import set_parameter

PROGRAM = Path(sys.executable).parent / "hermes-runtime"
BRANCH = "agent/reports-check"
PERMISSIONS = {"allow": ["read_file"]}


def write(
    repository: Repository, *, permissions: object = PERMISSIONS, check: str = "assert score > threshold"
) -> Path:
    cells = [
        new_code_cell("threshold = 0.5  # alert below", id="params", metadata={"tags": ["parameters"]}),
        new_code_cell(
            "score = len(hermes.read_file('reports/data.txt')) / 10\nhermes.glue('score', score)", id="score"
        ),
        new_code_cell(f"{check}\nhermes.glue('alerts', int(score < threshold))", id="alerts"),
    ]
    metadata = {"kernelspec": {"name": "hermes", "display_name": "Hermes"}, "hermes": {"permissions": permissions}}
    path = repository.folder / "reports" / "check.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture
def project(machine: Machine, git_settings: None) -> Repository:
    """A person's checkout of a repository with a remote, in the middle of something else."""
    project = Repository.create(machine.workspace / "project")
    (project.folder / "reports").mkdir()
    (project.folder / "reports" / "data.txt").write_text("1234567")
    write(project)
    project.commit("Add the check")
    project.git("init", "-q", "--bare", str(machine.workspace / "remote.git"))
    project.git("remote", "add", "origin", str(machine.workspace / "remote.git"))
    project.git("push", "-q", "origin", "main")
    (project.folder / "notes.txt").write_text("in the middle of something")
    project.git("add", "notes.txt")
    return project


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgeServer]:
    monkeypatch.setenv("GITEA_TOKEN", TOKEN)
    monkeypatch.delenv("HERMES_FORGE_TOKEN", raising=False)
    with forge_server() as started:
        yield started


def propose(project: Repository, forge: ForgeServer, *options: str) -> int:
    return main(["propose", str(project.folder / "reports/check.ipynb"), "--forge-url", forge.repository, *options])


def start_to_propose(project: Repository, forge: ForgeServer) -> subprocess.Popen[str]:
    """Propose in a process of its own, which a signal can end."""
    command = [PROGRAM, "propose", "reports/check.ipynb", "--forge-url", forge.repository, "--json"]
    return subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True)


def hook(project: Repository, name: str, script: str) -> None:
    path = project.folder / ".git" / "hooks" / name
    path.write_text(f"#!/bin/sh\n{script}\ntrue\n")
    path.chmod(0o755)


def edit(project: Repository, threshold: float) -> None:
    path = project.folder / "reports/check.ipynb"
    notebook = NotebookExecutor().read_notebook(path)
    set_parameter(notebook, "threshold", threshold)
    NotebookExecutor().write_notebook(notebook, path)


def on_remote(project: Repository, branch: str = BRANCH) -> str:
    return project.git("ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0]


@pytest.mark.slow
def test_a_threshold_is_changed_proposed_proposed_again_and_reviewed(
    project: Repository, forge: ForgeServer, capsys: pytest.CaptureFixture[str], machine: Machine
) -> None:
    edit(project, 0.6)
    before = project.git("status", "--porcelain=v2", "--branch")

    assert propose(project, forge, "--title", "Raise the threshold", "--keep-tape") == 0

    assert capsys.readouterr().out == f"opened {forge.repository}/pulls/1\n"
    pull = forge.pulls[1]
    assert (pull["head"], pull["base"], pull["title"]) == (BRANCH, "main", "Raise the threshold")
    body = pull["body"]
    assert "-threshold = 0.5  # alert below\n+threshold = 0.6  # alert below" in body
    assert "| `threshold` | `0.5` | `0.6` |" in body
    assert "| state | `succeeded` |" in body
    assert "No recorded result changed." in body  # the base was run too
    assert "hermes-runtime run reports/check.ipynb out.ipynb" in body
    assert "### Permissions" not in body
    assert str(machine.root) not in body
    # The person's checkout, index and branches are as they were; nothing is left beside it.
    assert project.git("status", "--porcelain=v2", "--branch") == before
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert TOKEN not in (project.folder / ".git/config").read_text()
    # The branch has the notebook without outputs, and the executed one as evidence.
    first = on_remote(project)
    written = nbformat.reads(project.git("show", f"{first}:reports/check.ipynb"), as_version=4)
    executed = nbformat.reads(project.git("show", f"{first}:runs/reports/check.ipynb"), as_version=4)
    assert all(not cell.outputs for cell in written.cells)
    assert executed.metadata.hermes.run.status == "succeeded"
    assert f"| tape | `{executed.metadata.hermes.run.tape.root}` |" in body
    assert "runs/reports/check.tape" in project.git("ls-tree", "-r", "--name-only", first)
    assert str(machine.root) not in json.dumps(executed.metadata.papermill)

    # Somebody merges nothing yet; the agent thinks again: a wider permission and another result.
    widened = {"allow": ["read_file", "terminal(ls *)"]}
    write(project, permissions=widened, check="hermes.read_file('reports/check.ipynb')")
    edit(project, 0.65)
    data = project.folder / "reports/data.txt"
    assert propose(project, forge) == 0

    assert capsys.readouterr().out == f"updated {forge.repository}/pulls/1\n"
    assert list(forge.pulls) == [1]
    assert forge.pulls[1]["title"] == "Raise the threshold"
    body = forge.pulls[1]["body"]
    assert "**This change gains 1 permission.**" in body
    assert "New paths:\n\n- `reports/check.ipynb`" in body
    second = on_remote(project)
    assert project.git("merge-base", "--is-ancestor", first, second) == ""
    assert data.read_text() == "1234567"

    # A review from elsewhere.
    project.git("push", "-q", "origin", f"{second}:refs/pull/1/head")
    out = machine.workspace / "review.html"
    options = ["--repository", str(project.folder), "--forge-url", forge.repository, "--out", str(out)]
    assert main(["review", "1", "--comment", *options]) == 0
    told = capsys.readouterr().out
    assert "permissions are gained" in told
    page = out.read_text()
    assert "<script" not in page
    assert "allow: terminal(ls *)" in page
    assert "threshold = 0.65" in page
    [(number, comment)] = forge.texts
    assert number == 1
    assert "## `reports/check.ipynb`" in comment
    assert main(["review", "1", "--comment", *options]) == 0
    assert f"updated the comment {forge.repository}" in capsys.readouterr().out
    assert forge.texts == [(1, comment)]

    # It is merged, and the base moves on; the next proposal begins there, and is compared with the run recorded there.
    moved = project.git("commit-tree", "-p", second, "-m", "Go on", f"{second}^{{tree}}").strip()
    project.git("push", "-q", "origin", f"{moved}:refs/heads/main")
    forge.pulls.clear()
    edit(project, 0.66)
    assert propose(project, forge) == 0
    third = on_remote(project)
    assert project.git("rev-list", f"{moved}..{third}").count("\n") == 2
    assert "No recorded result changed." in forge.pulls[1]["body"]
    machine.wait_until_clean()


@pytest.mark.slow
def test_a_run_that_fails_stops_there_and_the_branch_is_kept_and_said(
    project: Repository, forge: ForgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, 0.9)
    assert propose(project, forge, "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["step"], error["branch"]) == ("run", BRANCH)
    assert "AssertionError" in error["message"]
    assert f"on the branch {BRANCH}" in error["message"]
    assert forge.pulls == {}
    assert on_remote(project) == ""
    assert "0.9" in project.git("show", f"{BRANCH}:reports/check.ipynb")
    assert len(project.git("worktree", "list").splitlines()) == 1


def test_who_ends_the_run_with_ctrl_c_finds_what_ran_and_nothing_proposed(
    project: Repository, forge: ForgeServer, machine: Machine
) -> None:
    write(project, check="import time; open('begun', 'w').close(); time.sleep(60)")
    where = machine.workspace / "where"
    os.mkfifo(where)
    hook(project, "post-checkout", f"mkfifo begun; pwd > {where}")
    references = project.git("for-each-ref")
    process = start_to_propose(project, forge)
    Path(where.read_text().strip(), "begun").read_text()  # returns when the last cell has begun

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    error = json.loads(out)["error"]
    assert (process.returncode, error["type"], error["step"]) == (130, "ProposalCancelledError", "run")
    assert "your branches are as they were" in error["message"]
    assert project.git("for-each-ref") == references
    assert (on_remote(project), forge.pulls) == ("", {})
    executed = nbformat.read(error["saved"], as_version=4)
    assert [cell.metadata.hermes.state for cell in executed.cells] == ["succeeded", "succeeded", "cancelled"]
    assert len(project.git("worktree", "list").splitlines()) == 1
    machine.wait_until_clean()
    assert [path.name for path in machine.temporary.iterdir()] == [Path(error["saved"]).parent.name]


@pytest.mark.parametrize(
    ("before", "number", "code"),
    [("", "INT", 130), ("HEAD", "TERM", 143)],  # it isn't there yet; it has an earlier proposal
)
def test_a_signal_just_when_the_branch_has_been_made_unmakes_it(
    project: Repository, forge: ForgeServer, machine: Machine, before: str, number: str, code: int
) -> None:
    edit(project, 0.6)
    if before:
        project.git("branch", BRANCH, before)
    references = project.git("for-each-ref", "refs/heads")
    at_the_branch = f'test "$1" = committed && grep -q {BRANCH}'
    hook(project, "reference-transaction", f'{at_the_branch} && rm "$0" && kill -{number} $(ps -o ppid= -p $PPID)')

    process = start_to_propose(project, forge)
    out, _ = process.communicate(timeout=60)

    error = json.loads(out)["error"]
    assert (process.returncode, error["step"]) == (code, "commit")
    assert f"it got SIG{number}; nothing was proposed, and your branches are as they were" in error["message"]
    assert project.git("for-each-ref", "refs/heads") == references
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert list(machine.temporary.iterdir()) == []


def test_a_signal_while_git_makes_the_working_tree_leaves_none(
    project: Repository, forge: ForgeServer, machine: Machine
) -> None:
    edit(project, 0.6)
    ended = machine.workspace / "ended"
    os.mkfifo(ended)
    # git ends before its hook, as it would in the middle of a long checkout.
    script = f"kill -TERM $(ps -o ppid= -p $PPID); while kill -0 $PPID; do sleep 0.02; done; echo > {ended}"
    hook(project, "post-checkout", f"({script}) 2> /dev/null")

    process = start_to_propose(project, forge)
    ended.read_text()
    out, _ = process.communicate(timeout=60)

    assert (process.returncode, json.loads(out)["error"]["step"]) == (143, "commit")
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert list(machine.temporary.iterdir()) == []


@pytest.mark.slow
def test_what_goes_wrong_at_the_forge_leaves_a_branch_and_doing_it_again_finishes(
    project: Repository, forge: ForgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    record = project.folder / "runs/reports/check.ipynb"  # the base's last run, so that it needn't be run here
    record.parent.mkdir(parents=True)
    record.write_bytes((project.folder / "reports/check.ipynb").read_bytes())
    project.commit("Record a run")
    project.git("push", "-q", "origin", "main")
    edit(project, 0.6)
    forge.failures = [200, "cut"]  # an answer that is no list, and later a connection that breaks once it was opened
    assert propose(project, forge) == 1
    assert "stopped at the step `open`" in capsys.readouterr().err
    pushed = on_remote(project)
    assert pushed

    hooks = Path(project.git("remote", "get-url", "origin").strip()) / "hooks" / "pre-receive"
    hooks.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hooks.chmod(0o755)
    assert propose(project, forge) == 1
    told = capsys.readouterr().err
    assert "stopped at the step `push`" in told
    assert "not today" in told
    hooks.unlink()

    forge.failures = []
    forge.pulls[1] = {"head": BRANCH, "base": "main", "title": "Title of a person", "body": "old"}
    assert propose(project, forge) == 0
    assert forge.pulls[1]["title"] == "Title of a person"
    body = forge.pulls[1]["body"]
    assert body.startswith("Changes `reports/check.ipynb`")
    assert "| `score` | – | `0.7` |" in body  # against the base's record, which has no results


def test_what_can_be_known_before_anything_runs_is_told_then(
    project: Repository, forge: ForgeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*options: str) -> str:
        assert propose(project, forge, *options) in (1, 2)
        return capsys.readouterr().err

    assert "nothing to propose" in refused()
    edit(project, 0.6)
    assert "no branch 'develop'" in refused("--base", "develop")
    assert "is the base itself" in refused("--branch", "main")
    assert "not a valid branch name" in refused("--branch", "a..b")
    assert "no remote 'upstream'" in refused("--remote", "upstream", "--forge", "gitea")
    project.git("branch", BRANCH)
    project.git("worktree", "add", "-q", str(project.folder.parent / "elsewhere"), BRANCH)
    assert "is checked out" in refused()
    monkeypatch.delenv("GITEA_TOKEN")
    assert "there is no token" in refused()
    assert forge.requests == []
    assert on_remote(project) == ""


def test_branches_that_have_gone_different_ways_are_not_overwritten(
    project: Repository, forge: ForgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, 0.6)
    for place, name in (("origin", "theirs"), ("", "mine")):
        project.git("checkout", "-q", "--detach", "main")
        project.git("commit", "-q", "--allow-empty", "-m", name)
        project.git("push", "-q", "origin", f"HEAD:refs/heads/{BRANCH}") if place else project.git("branch", BRANCH)
    project.git("checkout", "-q", "main")
    pushed = on_remote(project)
    assert propose(project, forge) == 1
    assert "have gone different ways" in capsys.readouterr().err
    assert on_remote(project) == pushed


@pytest.mark.slow
def test_a_dry_run_leaves_nothing_and_prints_the_text(
    project: Repository, forge: ForgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, 0.6)
    references = project.git("for-each-ref")
    assert propose(project, forge, "--dry-run", "-p", "threshold", "0.1") == 0
    body = capsys.readouterr().out
    assert "hermes-runtime run reports/check.ipynb out.ipynb -p threshold 0.1" in body
    assert [line for line in project.git("for-each-ref").splitlines() if "remotes" not in line] == [
        line for line in references.splitlines() if "remotes" not in line
    ]
    assert on_remote(project) == ""
    assert forge.requests == []


@pytest.mark.slow
def test_what_a_kernel_leaves_in_the_working_tree_is_neither_run_nor_proposed(
    project: Repository, forge: ForgeServer, machine: Machine
) -> None:
    hooks = project.folder / ".githooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 0\n")
    (hooks / "pre-commit").chmod(0o755)
    project.git("config", "core.hooksPath", ".githooks")
    project.git("restore", "--staged", "notes.txt")
    project.git("add", ".githooks")
    project.git("commit", "-q", "-m", "Hooks")
    project.git("push", "-q", "origin", "main")
    marker = machine.workspace / "ran"
    attack = (
        "import os, pathlib\n"
        f"for name in ('pre-commit', 'post-commit', 'post-index-change', 'reference-transaction'):\n"
        f"    path = pathlib.Path('.githooks', name)\n"
        f"    path.write_text('#!/bin/sh\\ntouch {marker}\\n')\n"
        "    path.chmod(0o755)\n"
        "pathlib.Path('.gitattributes').write_text('* filter=evil')\n"
        "os.makedirs('runs/reports', exist_ok=True)\n"
        "os.symlink('/etc/passwd', 'runs/reports/check.ipynb')\n"
        "assert score > threshold"
    )
    write(project, check=attack)

    assert propose(project, forge) == 0

    assert not marker.exists()
    commit = on_remote(project)
    assert project.git("diff", "--name-only", "origin/main", commit).split() == [
        "reports/check.ipynb",
        "runs/reports/check.ipynb",
    ]
    assert project.git("ls-tree", commit, "runs/reports/check.ipynb").startswith("100644 ")
    assert "root:" not in project.git("show", f"{commit}:runs/reports/check.ipynb")
