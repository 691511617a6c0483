"""Checking notebooks: whether they are what they should be, and on request whether running them still gives what it gave.

What can be known without running comes first: the format, the parameters, the declared permissions, conflicts left from a
merge. Then the notebook runs as any run does, confined and bounded, or against a tape; nbval's rules say what has to be the
same.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_bridge.errors import HostBridgeError, NotebookError
from host_bridge.executor.documents import metadata_of
from host_bridge.executor.merging import undecided
from host_bridge.executor.notebooks import read_notebook
from host_bridge.executor.parameters import ParameterError, inspect_parameters
from host_bridge.executor.permissions import declared_permissions
from host_bridge.executor.saving import write_notebook_file

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from host_bridge.executor.output_check import Expectation

MODES = ("off", "lax", "strict")
_SKIP_TAG = "skip-execution"


@dataclasses.dataclass(frozen=True, slots=True)
class CellCheck:
    """One code cell as it was run.

    Attributes:
        index: Its place among the notebook's code cells, as nbval counts.
        outcome: `passed`, `failed` or `skipped`.
        message: Why, if it did not pass.
        id: Its id.
        difference: How its outputs differ from those in the notebook, line by line.
    """

    index: int
    outcome: str
    message: str = ""
    duration_seconds: float = 0.0
    id: str = ""
    difference: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Validation:
    """What a check found. True when all is well.

    Attributes:
        problems: Sentences; empty when all is well.
        nbval: The mode that outputs were compared in.
        cells: The cells as they were run; empty when they were not.
        run: What the run gave (`NotebookExecutor.execute`); empty when there was none.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    nbval: str = "off"
    cells: list[CellCheck] = dataclasses.field(default_factory=list)
    run: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.valid

    @property
    def valid(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {"valid": self.valid, **dataclasses.asdict(self)}


def validate(
    path: str | os.PathLike[str],
    *,
    nbval: str = "off",
    timeout_seconds: float | None = 300.0,
    cell_timeout_seconds: float | None = None,
    sanitizers: str | os.PathLike[str] = "",
    tape: str | os.PathLike[str] = "",
    options: Mapping[str, Any] | None = None,
) -> Validation:
    """Check a notebook file.

    Args:
        path: The notebook.
        nbval: `"off"`; `"lax"` runs it and compares the cells marked `NBVAL_CHECK_OUTPUT`; `"strict"` compares all cells.
        timeout_seconds: For the run; a cell that hangs ends with it, and those before it have their results.
        cell_timeout_seconds: For each cell.
        sanitizers: A file of nbval's, with what to replace before comparing.
        tape: A tape to answer tool calls from: no network and no tools then, and the same results.
        options: Further options of the run (`RunOptions`).

    Raises:
        NotebookError: There is no such file.
        HostBridgeError: The run could not begin.
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
    problems = list(_problems(notebook))
    if nbval == "off" or problems:
        return Validation(problems, nbval)
    run_options = {
        "timeout": timeout_seconds,
        "cell_timeout": cell_timeout_seconds,
        **({"replay": tape} if tape else {}),
        **(options or {}),
    }
    return _run(notebook, path, nbval, os.fspath(sanitizers), run_options)


def validate_executed(path: str | os.PathLike[str], executed: NotebookNode, *, nbval: str = "lax") -> Validation:
    """Check a notebook that has just been run: its outputs are in `executed`.

    Args:
        path: The notebook as it is written.
        executed: The same, as a run left it; its parameters may have been others.
        nbval: As for `validate`.
    """
    from host_bridge.executor.output_check import read_expectation

    notebook = read_notebook(path)
    problems = list(_problems(notebook))
    if nbval == "off" or problems:
        return Validation(problems, nbval)
    strict = nbval == "strict"
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = list(_checked(notebook, executed, {cell.id: read_expectation(cell, strict=strict) for cell in codes}, {}))
    return Validation(
        [f"cell {cell.index}: {cell.message}" for cell in cells if cell.outcome == "failed"], nbval, cells
    )


# without running -------------------------------------------------------------------------------------------------------


def _problems(notebook: NotebookNode) -> Iterator[str]:
    tagged = [index for index, cell in enumerate(notebook.cells) if "parameters" in _tags(cell)]
    if len(tagged) > 1:
        yield f"cells {', '.join(map(str, tagged))} are tagged 'parameters', and only the first would count"
    for index in tagged[:1]:
        if notebook.cells[index].cell_type != "code":
            yield f"cell {index} is tagged 'parameters' and is no code"
    try:
        inspect_parameters(notebook)
    except ParameterError as error:
        yield str(error)
    try:
        _check_permissions(notebook.metadata)
    except HostBridgeError as error:
        yield str(error)
    for where in undecided(notebook):
        yield f"{where} has an unresolved conflict; resolve it and remove its metadata.hermes.conflict"


def _tags(cell: NotebookNode) -> list[Any]:
    tags = metadata_of(cell).get("tags")
    return tags if isinstance(tags, list) else []


def _check_permissions(metadata: Mapping[str, Any]) -> None:
    from host_bridge.policy.loading import read_declaration

    declared = declared_permissions(metadata)
    if declared is not None:
        read_declaration(declared)


# by running ------------------------------------------------------------------------------------------------------------


def _run(notebook: NotebookNode, path: str, mode: str, sanitizers: str, options: dict[str, Any]) -> Validation:
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.output_check import read_expectation, read_sanitizers

    patterns = read_sanitizers(sanitizers) if sanitizers else {}
    expectations = {
        cell.id: read_expectation(cell, strict=mode == "strict") for cell in notebook.cells if cell.cell_type == "code"
    }
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - links stay: the workspace is where the notebook is
    with tempfile.TemporaryDirectory(prefix="validate-") as temporary:
        source, output = path, os.path.join(temporary, "output.ipynb")  # noqa: PTH118
        if any(expected.is_skipped for expected in expectations.values()):
            source = os.path.join(temporary, "notebook.ipynb")  # noqa: PTH118
            write_notebook_file(_prepared(notebook, expectations), source)
        run_options = {"cwd": folder, "allow_errors": True, **options}
        result = NotebookExecutor().execute(source, output, None, **run_options)
        executed = read_notebook(output)
    cells = list(_checked(notebook, executed, expectations, patterns))
    problems = [f"cell {cell.index}: {cell.message}" for cell in cells if cell.outcome == "failed"]
    if not problems and result["error"]:
        problems.append(result["error"])
    return Validation(problems, mode, cells, result)


def _prepared(notebook: NotebookNode, expectations: Mapping[str, Expectation]) -> NotebookNode:
    """Give the notebook as it is to be run: what is to be skipped is."""
    import copy

    prepared = copy.deepcopy(notebook)
    for cell in prepared.cells:
        if cell.id in expectations and expectations[cell.id].is_skipped:
            cell.metadata["tags"] = [*_tags(cell), _SKIP_TAG]
    return prepared


def _checked(
    notebook: NotebookNode,
    executed: NotebookNode,
    expectations: Mapping[str, Expectation],
    sanitizers: Mapping[str, str],
) -> Iterator[CellCheck]:
    from host_bridge.executor.output_check import OutputCheck

    check = OutputCheck(sanitizers)
    after = {cell.id: cell for cell in executed.cells}
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for index, cell in enumerate(codes):
        expected, got = expectations[cell.id], after[cell.id]
        outcome, message = _state(expected, got)
        difference = ""
        if not outcome and cell.outputs and cell.execution_count is None:
            outcome, message = "failed", "it has outputs and no number, so nobody knows what put them out"
        elif not outcome and expected.compares and cell.execution_count is not None:
            message, difference = check.compare(cell, got)
            outcome = "failed" if message else ""
        seconds = float(metadata_of(got).get("papermill", {}).get("duration") or 0)
        yield CellCheck(index, outcome or "passed", message, seconds, cell.id, difference)


def _state(expected: Expectation, cell: NotebookNode) -> tuple[str, str]:
    """Judge how the cell ended; empty where its outputs have the last word."""
    state = str(metadata_of(cell).get("hermes", {}).get("state", ""))
    errors = [output for output in cell.outputs if output.output_type == "error"]
    said = f": {errors[0].ename}: {errors[0].evalue}" if errors else ""
    if expected.is_skipped:
        return "skipped", "marked NBVAL_SKIP"
    if state == "succeeded":
        return "", ""
    if state in ("failed", "denied"):
        return (
            ("", "")
            if expected.may_raise
            else ("failed", f"it {'was denied' if state == 'denied' else 'failed'}{said}")
        )
    if state == "not_run":
        return "skipped", "the run ended before it"
    return "failed", f"it {state.replace('_', ' ')}{said}"
