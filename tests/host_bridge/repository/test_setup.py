"""A repository set up for notebooks, with the real git."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from repositories import Repository, pretend_run

from host_bridge.cli import main

FILES = (".gitattributes", ".gitignore", ".git/config", ".pre-commit-config.yaml")


def rerun(repository: Repository, name: str) -> None:
    notebook = nbformat.read(repository.folder / name, as_version=4)
    pretend_run(notebook)
    nbformat.write(notebook, repository.folder / name)


def contents(repository: Repository) -> dict[str, bytes | None]:
    paths = {name: repository.folder / name for name in FILES}
    return {name: path.read_bytes() if path.exists() else None for name, path in paths.items()}


@pytest.fixture
def ready(repository: Repository, capsys: pytest.CaptureFixture[str]) -> Repository:
    assert main(["init-repo", str(repository.folder)]) == 0
    assert "write .gitattributes" in capsys.readouterr().out
    repository.write("report.ipynb", "days = 7", "a = 1\nb = 2\nc = 3", "show()")
    repository.write("runs/report.ipynb", "days = 7", has_run=True)
    repository.commit("Add a report")
    return repository


def test_a_rerun_notebook_shows_no_difference_and_executed_ones_are_kept_whole(ready: Repository) -> None:
    rerun(ready, "report.ipynb")
    assert "/home/ann/secret" in (ready.folder / "report.ipynb").read_text()
    assert ready.git("diff", "--name-only") == ""
    assert ready.git("status", "--porcelain", "report.ipynb") in ("", " M report.ipynb\n")  # git may have to look again
    ready.git("add", "-A")
    assert ready.git("status", "--porcelain") == ""
    assert "secret" not in ready.git("show", "HEAD:report.ipynb")
    assert "/home/ann/secret" in ready.git("show", "HEAD:runs/report.ipynb")


def test_a_tape_is_kept_only_if_somebody_says_so(ready: Repository) -> None:
    for name in ("report.tape", "runs/report.tape"):
        (ready.folder / name).write_text("all that the tools gave")
    ready.git("add", "-A")
    assert ready.git("status", "--porcelain") == ""
    ready.git("add", "-f", "runs/report.tape")
    ready.commit("Keep one")
    assert ready.git("ls-files", "*.tape") == "runs/report.tape\n"
    assert main(["init-repo", str(ready.folder), "--check"]) == 0


def test_a_difference_is_shown_by_cells_and_without_outputs(ready: Repository) -> None:
    ready.write("report.ipynb", "days = 14", "a = 1\nb = 2\nc = 3", "show()", has_run=True)
    shown = ready.git("diff", "report.ipynb")
    assert "nbdiff" in shown
    assert "days = 14" in shown
    assert "secret" not in shown


def test_branches_that_change_different_cells_merge(ready: Repository) -> None:
    ready.git("checkout", "-q", "-b", "other")
    ready.write("report.ipynb", "days = 7", "a = 1\nb = 2\nc = 4", "show()", "more()", has_run=True)
    ready.commit("Change c")
    ready.git("checkout", "-q", "main")
    ready.write("report.ipynb", "days = 14", "a = 0\nb = 2\nc = 3", "show()", has_run=True)
    ready.commit("Change days")
    done = ready.try_git("merge", "-q", "-m", "Merge", "other")
    assert done.returncode == 0, done.stderr
    assert ready.sources("report.ipynb") == ["days = 14", "a = 0\nb = 2\nc = 4", "show()", "more()"]
    assert ready.git("status", "--porcelain") == ""


def test_branches_that_change_one_line_conflict_in_that_cell(
    ready: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.git("checkout", "-q", "-b", "other")
    ready.write("report.ipynb", "days = 30", "a = 1\nb = 2\nc = 3", "show()")
    ready.commit("A month")
    ready.git("checkout", "-q", "main")
    ready.write("report.ipynb", "days = 14", "a = 1\nb = 2\nc = 3", "show()")
    ready.commit("Two weeks")
    done = ready.try_git("merge", "other")
    assert done.returncode == 1
    assert "cell c0: both sides change the same lines" in done.stderr
    assert ready.git("status", "--porcelain") == "UU report.ipynb\n"
    assert ready.sources("report.ipynb")[0] == "<<<<<<< ours\ndays = 14\n=======\ndays = 30\n>>>>>>> theirs"

    ready.git("add", "report.ipynb")  # as it is
    assert main(["init-repo", str(ready.folder), "--check"]) == 1
    assert "report.ipynb: cell c0 has an unresolved conflict" in capsys.readouterr().out


def test_two_runs_are_never_made_into_one(ready: Repository) -> None:
    for branch, secret in (("other", "theirs"), ("main", "ours")):
        ready.git("checkout", "-q", *(["-b"] if branch == "other" else []), branch)
        notebook = nbformat.read(ready.folder / "runs/report.ipynb", as_version=4)
        notebook.cells[0].outputs[0].text = f"{secret}\n"
        nbformat.write(notebook, ready.folder / "runs/report.ipynb")
        ready.commit(f"Run {branch}")
    before = (ready.folder / "runs/report.ipynb").read_bytes()
    assert ready.try_git("merge", "other").returncode == 1
    assert ready.git("status", "--porcelain") == "UU runs/report.ipynb\n"
    assert (ready.folder / "runs/report.ipynb").read_bytes() == before


def test_what_is_no_notebook_is_not_committed(ready: Repository) -> None:
    (ready.folder / "report.ipynb").write_text("no notebook")
    done = ready.try_git("add", "report.ipynb")
    assert done.returncode != 0
    assert "is not a notebook" in done.stderr


def test_check_tells_what_is_committed_and_not_clean(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write("report.ipynb", "days = 7", has_run=True)
    repository.commit("Add a report with outputs")
    assert main(["init-repo", str(repository.folder), "--check"]) == 1
    assert "to do: write .gitattributes" in capsys.readouterr().out
    assert main(["init-repo", str(repository.folder)]) == 0
    assert "note: report.ipynb: committed with outputs" in capsys.readouterr().err
    assert main(["init-repo", str(repository.folder), "--check", "--json"]) == 1
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert problem.startswith("report.ipynb: committed with outputs")
    repository.git("add", "--renormalize", "report.ipynb")
    repository.git("add", "-A")
    assert main(["init-repo", str(repository.folder), "--check"]) == 0


def test_a_fresh_clone_is_clean_for_ci_and_told_that_it_is_not_set_up(
    ready: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = tmp_path / "clone"
    ready.git("clone", "-q", str(ready.folder), str(clone))
    assert main(["init-repo", str(clone), "--check"]) == 0
    told = capsys.readouterr()
    assert told.out == "clean\n"
    assert "this clone isn't set up" in told.err


@pytest.mark.parametrize(
    ("attributes", "hooks"),
    [
        (None, None),
        ("*.png binary\n", "repos:\n  - repo: local\n    hooks: []\n"),
        ("*.png binary", "default_stages: [pre-commit]\nrepos:\n- repo: local\n  hooks: []  # none"),
    ],
)
def test_setting_up_twice_does_nothing_and_removing_leaves_no_trace(
    repository: Repository, attributes: str | None, hooks: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in ((".gitattributes", attributes), (".pre-commit-config.yaml", hooks)):
        if text is not None:
            (repository.folder / name).write_text(text)
    before = contents(repository)
    assert main(["init-repo", str(repository.folder)]) == 0
    between = contents(repository)
    assert between != before
    assert attributes is None or between[".gitattributes"].decode().startswith(attributes)  # type: ignore[union-attr]
    capsys.readouterr()
    assert main(["init-repo", str(repository.folder)]) == 0
    assert (capsys.readouterr().out, contents(repository)) == ("nothing to do\n", between)
    assert main(["init-repo", str(repository.folder), "--remove"]) == 0
    assert contents(repository) == before
    assert main(["init-repo", str(repository.folder), "--remove"]) == 0
    assert contents(repository) == before


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (".gitattributes", "*.ipynb filter=nbstripout\n", "nbstripout --uninstall"),
        (".gitattributes", "x/*.ipynb merge=jupyternotebook\n", ".gitattributes:1"),
        (".git/info/attributes", "*.ipynb diff=ipynb\n", "info/attributes:1"),
        (".pre-commit-config.yaml", "repos: [{repo: local, hooks: []}]\n", "by hand"),
        (".pre-commit-config.yaml", "not yaml: [", "by hand"),
    ],
)
def test_what_it_does_not_know_is_not_touched(
    repository: Repository, name: str, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.folder / name).write_text(text)
    before = contents(repository)
    assert main(["init-repo", str(repository.folder)]) == 2
    assert told in capsys.readouterr().err
    assert contents(repository) == before


def test_another_line_that_has_the_last_word_is_found(ready: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    path = ready.folder / ".gitattributes"
    path.write_text(path.read_text() + "report.* filter=other\n")
    assert main(["init-repo", str(ready.folder), "--check"]) == 1
    assert "another line of .gitattributes sets filter=other" in capsys.readouterr().out


def test_outside_of_a_repository_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-repo", str(tmp_path)]) == 2
    assert "not a git repository" in capsys.readouterr().err
