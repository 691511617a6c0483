"""Git repositories with notebooks, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output


class Repository:
    """A working tree, driven with git's own command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> Repository:
        folder.mkdir()
        made = cls(folder)
        made.git("init", "-q")
        made.git("commit", "-q", "--allow-empty", "-m", "Begin")
        return made

    def try_git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)

    def git(self, *arguments: str) -> str:
        done = self.try_git(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, name: str, *sources: str, has_run: bool = False) -> Path:
        cells = [new_code_cell(source, id=f"c{index}") for index, source in enumerate(sources)]
        notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "hermes", "display_name": "Hermes"}})
        if has_run:
            pretend_run(notebook)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def sources(self, name: str) -> list[str]:
        return [cell.source for cell in nbformat.read(self.folder / name, as_version=4).cells]


def pretend_run(notebook: NotebookNode, secret: str = "/home/ann/secret") -> None:
    """Leave in a notebook what a run in place leaves."""
    for number, cell in enumerate(notebook.cells, start=1):
        cell.outputs = [new_output("stream", text=f"{secret} {number}\n")]
        cell.execution_count = number + 10
        cell.metadata["papermill"] = {"duration": 0.1, "exception": False, "status": "completed"}
        cell.metadata.setdefault("tags", [])
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
        cell.metadata["hermes"] = {"state": "succeeded"}
    injected = new_code_cell(f"# Parameters\npath = {secret!r}\n", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(1, injected)
    notebook.metadata["papermill"] = {"input_path": secret, "parameters": {"path": secret}, "version": "2.7"}
    notebook.metadata["hermes"] = {"run": {"id": "x", "status": "succeeded"}}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.2"}
