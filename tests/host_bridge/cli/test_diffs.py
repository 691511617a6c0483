"""`diff`, `patch` and `merge` as a script uses them."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.cli import main


def save(name: str, *sources: str) -> None:
    cells = [new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells), name)


def sources(name: str) -> list[str]:
    return [cell.source for cell in nbformat.read(name, as_version=4).cells]


@pytest.fixture(autouse=True)
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save("base.ipynb", "days = 7", "a = 1\nb = 2\nc = 3", "show()")
    save("ours.ipynb", "days = 14", "a = 1\nb = 2\nc = 3", "show()")
    save("theirs.ipynb", "days = 7", "a = 1\nb = 2\nc = 4", "show()", "more()")


def test_a_person_reads_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "base.ipynb", "ours.ipynb"]) == 1
    assert (
        capsys.readouterr().out == "1 cell changed (source)\n  ~ cell c0         source\n  ~ parameter days  7 → 14\n"
    )
    assert main(["diff", "base.ipynb", "base.ipynb"]) == 0


def test_a_difference_for_programs_is_what_patch_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "base.ipynb", "theirs.ipynb", "--json"]) == 1
    Path("difference.json").write_text(capsys.readouterr().out)
    assert json.loads(Path("difference.json").read_text())["changes"]["cells"][1]["id"] == "c3"
    assert main(["patch", "base.ipynb", "difference.json", "-o", "new.ipynb"]) == 0
    assert Path("new.ipynb").read_bytes() == Path("theirs.ipynb").read_bytes()
    assert main(["patch", "ours.ipynb", "difference.json"]) == 2
    assert "isn't the one" in capsys.readouterr().err
    assert sources("ours.ipynb")[0] == "days = 14"


def test_a_page_is_written() -> None:
    assert main(["diff", "base.ipynb", "ours.ipynb", "--html", "page.html"]) == 1
    assert "<ins>days = <mark>14</mark></ins>" in Path("page.html").read_text()


def test_a_merge_has_both_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "base.ipynb", "ours.ipynb", "theirs.ipynb", "-o", "merged.ipynb"]) == 0
    assert sources("merged.ipynb") == ["days = 14", "a = 1\nb = 2\nc = 4", "show()", "more()"]
    assert capsys.readouterr().out == "merged.ipynb: merged\n"


def test_a_conflict_is_told_by_cell_and_nothing_is_written_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    save("other.ipynb", "days = 30", "a = 1\nb = 2\nc = 3", "show()")
    arguments = ["merge", "base.ipynb", "ours.ipynb", "other.ipynb", "-o", "merged.ipynb"]
    assert main([*arguments, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(one["cell_id"], one["part"]) for one in told["conflicts"]] == [("c0", "source")]
    assert not Path("merged.ipynb").exists()
    assert main([*arguments, "--mark-conflicts"]) == 1
    assert "<<<<<<< ours\ndays = 14\n=======\ndays = 30\n>>>>>>> theirs" in sources("merged.ipynb")
