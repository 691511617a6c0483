"""Notebooks for tests of the executor, and what came of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from host_bridge.executor import NotebookExecutor


def code(source: str, *tags: str) -> NotebookNode:
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def save(path: Path, *cells: str | NotebookNode, **metadata: Any) -> Path:
    """Write a notebook; a text is a code cell, one that starts with `# ` and a capital is markdown."""
    made = [_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=made, metadata=metadata), path)
    return path


def _cell(source: str) -> NotebookNode:
    return new_markdown_cell(source) if source.startswith("#md ") else new_code_cell(source)


class Runner:
    """Runs notebooks in a folder and reads what was saved."""

    def __init__(self, folder: Path, kernel: str) -> None:
        self.folder = folder
        self.kernel = kernel
        self.output = folder / "out.ipynb"
        self.executor = NotebookExecutor()

    def run(
        self, *cells: str | NotebookNode, parameters: Any = None, metadata: Any = None, **options: Any
    ) -> dict[str, Any]:
        path = save(self.folder / "in.ipynb", *cells, **(metadata or {}))
        options.setdefault("kernel_name", self.kernel)
        result = self.executor.execute(path, self.output, parameters, **options)
        self.check()
        return result

    def check(self) -> NotebookNode:
        """Read the output; it is a valid notebook, whatever happened."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            notebook = nbformat.read(self.output, as_version=nbformat.NO_CONVERT)
            nbformat.validate(notebook)
        assert not list(self.folder.glob(".*.saving"))
        return notebook

    @property
    def states(self) -> list[str | None]:
        """The states of all cells; None for one that is no code."""
        return [cell.metadata.get("hermes", {}).get("state") for cell in self.check().cells]

    @property
    def papermill(self) -> list[str]:
        """What papermill's readers see of all cells."""
        return [cell.metadata.papermill.status for cell in self.check().cells]

    @property
    def run_metadata(self) -> dict[str, Any]:
        return dict(self.check().metadata.hermes.run)

    def text(self, index: int) -> str:
        """All that a cell printed or showed as text, errors included."""
        pieces = []
        for output in self.check().cells[index].outputs:
            if output.output_type == "stream":
                pieces.append(output.text)
            elif output.output_type == "error":
                pieces.append(f"{output.ename}: {output.evalue}")
            else:
                pieces.append(output.data.get("text/plain", ""))
        return "".join(pieces)

    def has_printed(self, text: str) -> bool:
        """Whether some cell's output holds the text by now, while a run is going on."""
        if not self.output.exists():
            return False
        notebook = nbformat.read(self.output, as_version=nbformat.NO_CONVERT)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return any(text in output.get("text", "") for output in outputs)
