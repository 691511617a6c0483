"""A change is looked at as a whole, and what a notebook says can't be anything but text in the summary."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from forge_server import TOKEN, forge_server
from hypothesis import given
from hypothesis import strategies as st
from repositories import Repository

from host_bridge.cli import main
from host_bridge.repository.forges.gitea import Gitea
from host_bridge.repository.forges.places import place_of
from host_bridge.repository.git import Git
from host_bridge.repository.markdown import block, code, table
from host_bridge.repository.reviewing import post, review


@pytest.fixture
def changed(repository: Repository) -> Repository:
    repository.write("a.ipynb", "x = 1")
    repository.write("runs/a.ipynb", "x = 1", has_run=True)
    repository.write("gone.ipynb", "old()")
    repository.commit("Before")
    repository.git("checkout", "-q", "-b", "change")
    repository.write("a.ipynb", "x = 2")
    repository.write("runs/a.ipynb", "x = 2", has_run=True)
    repository.write("new é.ipynb", "new()")
    (repository.folder / "broken.ipynb").write_text("{}")
    (repository.folder / "gone.ipynb").unlink()
    repository.commit("After")
    return repository


def test_every_notebook_of_a_change_is_there_what_was_written_first(changed: Repository) -> None:
    found = review(Git(changed.folder), "main..change")
    assert [one.path for one in found.notebooks] == [
        "a.ipynb",
        "broken.ipynb",
        "gone.ipynb",
        "new é.ipynb",
        "runs/a.ipynb",
    ]
    kinds = {one.path: [change.kind for change in one.changes.cells] for one in found.notebooks}
    assert kinds == {
        "a.ipynb": ["changed"],
        "broken.ipynb": [],
        "gone.ipynb": ["removed"],
        "new é.ipynb": ["added"],
        "runs/a.ipynb": ["changed"],
    }
    assert found.notebooks[1].problem
    page = found.page()
    assert "x = <mark>2</mark>" in page
    assert "/home/ann/secret 1" not in page  # the same before and after
    assert "new()" in found.text()


def test_a_review_that_is_written_again_replaces_itself(changed: Repository) -> None:
    git = Git(changed.folder)
    with forge_server() as server:
        forge = Gitea(place_of(server.repository), TOKEN)
        forge.create("change", "main", "Title", "Text")
        first, is_new = post(forge, 1, review(git, "main..change"))
        assert is_new
        changed.write("long.ipynb", *(f"x{number} = {'y' * 4000}" for number in range(40)))
        changed.commit("More than a comment can hold")

        assert post(forge, 1, review(git, "main..change")) == (first, False)
        assert post(forge, 1, review(git, "main..change")) == (first, False)

        [(number, text)] = server.texts
        assert number == 1
        assert "## `long.ipynb`" in text
        assert "(cut:" in text


def test_the_command_writes_a_page_and_gives_json(
    changed: Repository, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(changed.folder)
    assert main(["review", "main..change"]) == 0
    assert "a.ipynb: 1 cell changed" in capsys.readouterr().out
    assert (changed.folder / "review.html").read_text().startswith("<!DOCTYPE html>")
    assert main(["review", "main..change", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["gains"], len(told["notebooks"])) == (False, 5)


@pytest.mark.parametrize("subject", ["nowhere..main", "--output=x..main", "main", "main..--help", ".."])
def test_what_is_no_change_is_refused(changed: Repository, subject: str) -> None:
    assert main(["review", "--repository", str(changed.folder), "--", subject]) == 2
    assert not Path("x").exists()


HOSTILE = "`x` | @everyone <img src=x> ``` \n# heading\n\u202eevil --> ~~~ [a](javascript:b)"


def test_text_of_a_notebook_stays_text(repository: Repository) -> None:
    path = repository.write("a.ipynb", "1")
    repository.commit("Before")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = HOSTILE
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    repository.commit("After")
    text = review(Git(repository.folder), "HEAD~1..HEAD").text()
    inside, fence = False, ""
    for line in text.split("\n"):
        if not inside and line.startswith("```"):
            inside, fence = True, line.rstrip("dif")
        elif inside and line == fence:
            inside = False
        elif not inside:
            assert "@everyone" not in line
            assert "<img" not in line
    assert not inside
    assert "\u202e" not in text


@given(st.text(max_size=60))
def test_code_in_a_table_is_one_cell_of_one_line(text: str) -> None:
    shown = code(text)
    assert "\n" not in shown
    assert "|" not in shown
    assert table(("a",), [(shown,)]).count("\n") == 2
    ticks = len(shown) - len(shown.lstrip("`"))
    assert "`" * ticks not in shown[ticks:-ticks]


@given(st.text(max_size=200))
def test_nothing_ends_a_block_but_its_end(text: str) -> None:
    lines = block(text).split("\n")
    assert [index for index, line in enumerate(lines) if line.strip() == lines[0]] == [0, len(lines) - 1]
