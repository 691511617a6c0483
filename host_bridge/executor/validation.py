"""Checking notebooks: against their format, and on request against what running them gives now.

nbval runs the notebook, in a process of its own: it is a pytest plug-in, and it can't interrupt a cell that hangs, so the
process group is ended when the time is up.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from host_bridge.errors import NotebookError
from host_bridge.executor.choice import choose_kernel
from host_bridge.executor.notebooks import read_notebook
from host_bridge.executor.process_group import run_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

MODES = ("off", "lax", "strict")
_FLAGS = {"lax": "--nbval-lax", "strict": "--nbval"}
_MAX_OUTPUT = 20_000  # characters of pytest's own report, for what no test case tells


@dataclasses.dataclass(frozen=True, slots=True)
class CellCheck:
    """One cell as nbval ran it.

    Attributes:
        index: Its place among the notebook's code cells, as nbval counts.
        outcome: `passed`, `failed` or `skipped`.
        message: Why, if it did not pass.
    """

    index: int
    outcome: str
    message: str = ""
    duration_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    """What a check found. True when all is well.

    Attributes:
        problems: Sentences; empty when all is well.
        nbval: The mode nbval ran in.
        cells: The cells as nbval ran them; empty when it did not run.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    nbval: str = "off"
    cells: list[CellCheck] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return self.valid

    @property
    def valid(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {"valid": self.valid, **dataclasses.asdict(self)}


def validate(path: str | os.PathLike[str], *, nbval: str = "off", timeout_seconds: float = 300.0) -> Validation:
    """Check a notebook file.

    Args:
        path: The notebook.
        nbval: `"off"`; `"lax"` runs it and compares the cells marked `NBVAL_CHECK_OUTPUT`; `"strict"` compares all cells.
        timeout_seconds: For nbval.

    Raises:
        NotebookError: There is no such file.
    """
    if nbval not in MODES:
        raise ValueError(f"nbval is one of {', '.join(MODES)}, not {nbval!r}")
    path = os.fspath(path)
    if not Path(path).is_file():
        raise NotebookError(f"can't read the notebook {path}: there is no such file", path=path)
    try:
        notebook = read_notebook(path)
    except NotebookError as error:
        return Validation([str(error)], nbval)
    if nbval == "off":
        return Validation()
    return _run_nbval(path, nbval, choose_kernel(notebook.metadata).name, timeout_seconds)


def _run_nbval(path: str, mode: str, kernel: str, timeout_seconds: float) -> Validation:
    with tempfile.TemporaryDirectory(prefix="nbval-") as folder:
        report = Path(folder) / "report.xml"
        command = [
            *(sys.executable, "-m", "pytest", _FLAGS[mode], "--nbval-kernel-name", kernel, f"--junitxml={report}"),
            # Nothing of the tests or the configuration that the folder happens to have: this is about one notebook.
            *("-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}", os.path.abspath(path)),  # noqa: PTH100
        ]
        result = run_bounded(command, cwd=os.path.dirname(os.path.abspath(path)), timeout_seconds=timeout_seconds)  # noqa: PTH100, PTH120
        cells = list(_read_report(report))
    problems = [f"cell {cell.index}: {cell.message}" for cell in cells if cell.outcome == "failed"]
    if result is None:
        problems.append(f"nbval did not end within {timeout_seconds:g} s")
    elif result.returncode != 0 and not problems:
        problems.append(f"nbval could not run: {_tail(result)}")
    return Validation(problems, mode, cells)


def _tail(result: subprocess.CompletedProcess[str]) -> str:
    text = (result.stdout + result.stderr).strip()
    return text[-_MAX_OUTPUT:].splitlines()[-1] if text else f"pytest exited with code {result.returncode}"


def _read_report(report: Path) -> Iterator[CellCheck]:
    try:
        root = ElementTree.fromstring(report.read_bytes())
    except (OSError, ElementTree.ParseError):
        return  # it was ended before it wrote one; what is missing is said as the reason
    for case in root.iter("testcase"):
        index = case.get("name", "").rpartition(" ")[2]
        outcome, message = _outcome(case)
        yield CellCheck(int(index) if index.isdecimal() else -1, outcome, message, float(case.get("time", 0)))


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return outcome, _plain(found.text or found.get("message") or outcome)
    return "passed", ""


def _plain(text: str) -> str:
    """Without colours, which XML spells out."""
    import re

    return re.sub(r"(?:#x1B|\x1b)\[[0-9;]*m", "", text).strip()
