from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_machine import Machine
from repositories import Repository


@pytest.fixture
def git_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's configuration of git."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    (tmp_path / "gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.org\n[init]\ndefaultBranch = main\n")


@pytest.fixture
def repository(tmp_path: Path, git_settings: None) -> Repository:
    """A git repository with one commit."""
    return Repository.create(tmp_path / "work")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Private folders for kernels, sockets, logs and settings; see `kernel_machine`."""
    made = Machine(Path(tempfile.mkdtemp(prefix="hm-", dir="/tmp")))
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made.workspace)
    yield made
    made.end()
