"""What .gitignore files leave out, against git's own opinion."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from host_bridge.tools.gitignore import MAX_BYTES, Ignores, read_rules
from host_bridge.tools.tree import Entry, Tree


def kept(root: Path, *above: tuple[str, str]) -> set[str]:
    ignores = Ignores()
    for inside, text in above:
        ignores.add_above(inside, text)

    def enters(entry: Entry) -> bool:
        return not ignores.cover(entry.path, is_folder=True)

    descriptor = os.open(root, os.O_RDONLY)
    try:
        return {
            entry.path
            for entry in Tree(descriptor, hidden=False).entries(enters, ignores.enter, ignores.leave)
            if entry.is_file and not ignores.cover(entry.path, is_folder=False)
        }
    finally:
        os.close(descriptor)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        ".gitignore": "*.log\n!keep.log\nbuild/\n/top\n\\#x\n# comment\n\n  \n!\n",
        "a.py": "",
        "a.log": "",
        "keep.log": "",
        "build/x.py": "",
        "top": "",
        "src/top": "",
        "src/.gitignore": "gen/\n!b.log\n",
        "src/b.log": "",
        "src/c.log": "",
        "src/gen/y.py": "",
        "src/deep/.gitignore": "*\n!z.py\n",
        "src/deep/q.py": "",
        "src/deep/z.py": "",
        "other/gen/y.py": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


EXPECTED = {"a.py", "keep.log", "src/top", "src/b.log", "src/deep/z.py", "other/gen/y.py"}


def test_deeper_rules_win_and_what_is_left_out_is_not_entered(root: Path) -> None:
    assert kept(root) == EXPECTED


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_agrees(root: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=root, check=True, capture_output=True, text=True
    )
    assert {path for path in listed.stdout.split() if not path.rpartition("/")[2].startswith(".")} == EXPECTED


def test_rules_of_folders_above_hold_beneath(root: Path) -> None:
    rules = ("src", (root / ".gitignore").read_text())
    assert kept(root / "src", rules) == {"top", "b.log", "deep/z.py"}


def test_a_folder_that_is_left_out_can_be_searched_on_purpose(root: Path) -> None:
    assert kept(root / "build", ("build", "build/\n")) == {"x.py"}


def test_rules_come_from_a_plain_file_of_reasonable_size_only(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        assert read_rules(descriptor) == ""
        (folder / ".gitignore").symlink_to(root / ".gitignore")
        assert read_rules(descriptor) == ""
        (folder / ".gitignore").unlink()
        os.mkfifo(folder / ".gitignore")
        assert read_rules(descriptor) == ""
        (folder / ".gitignore").unlink()
        (folder / ".gitignore").write_text("x\n" * MAX_BYTES)
        assert len(read_rules(descriptor)) == MAX_BYTES
    finally:
        os.close(descriptor)


def test_a_rule_that_can_not_be_read_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("")
    (tmp_path / "b").write_text("")
    (tmp_path / ".gitignore").write_text("[z-a]\n!\n*.log\n")
    assert kept(tmp_path) == {"b"}
