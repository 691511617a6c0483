"""What papermill does after an engine has returned, made as truthful and as safe as the run was.

Three things happen outside of every engine's reach: papermill decides by the error outputs it finds whether the run failed,
so that a cell tagged `raises-exception` fails it; it reports the last error instead of the first; and it writes the output
once more, by truncating the file. A process that has used this engine does all three as the engine would; notebooks that
other engines ran are judged as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from host_bridge.executor.encoding import encode_cell, join_notebook
from host_bridge.executor.saving import LocalFile
from host_bridge.executor.states import State

_MARK = "_is_amended"


def amend_papermill() -> None:
    """Do it, once."""
    import papermill.execute as execute

    for name, amended in (("raise_for_execution_errors", _amended_verdict), ("write_ipynb", _amended_write)):
        original = getattr(execute, name)
        if not getattr(original, _MARK, False):
            setattr(execute, name, amended(original))


def _amended_verdict(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    @functools.wraps(original)
    def raise_for_execution_errors(nb: Any, output_path: Any) -> None:
        run = _run_of(nb)
        if run is None:
            original(nb, output_path)
        elif run.get("status") != State.SUCCEEDED:
            _raise_for(nb, run, output_path)

    setattr(raise_for_execution_errors, _MARK, True)
    return raise_for_execution_errors


def _run_of(nb: Any) -> Mapping[str, Any] | None:
    hermes = nb.metadata.get("hermes")
    run = hermes.get("run") if isinstance(hermes, Mapping) else None
    return run if isinstance(run, Mapping) else None


def _raise_for(nb: Any, run: Mapping[str, Any], output_path: Any) -> None:
    """Raise what papermill raises, for the cell that failed, after marking it as papermill does."""
    from papermill.exceptions import PapermillException, PapermillExecutionError

    index = run.get("failed_cell")
    if not isinstance(index, int):
        raise PapermillException(run.get("error") or f"the run has {run.get('status')}")
    cell = nb.cells[index]
    errors = [output for output in cell.get("outputs", []) if output.get("output_type") == "error"]
    last = errors[-1] if errors else {"ename": "CellExecutionError", "evalue": "", "traceback": []}
    error = PapermillExecutionError(
        cell_index=index,
        exec_count=cell.get("execution_count"),
        source=cell.source,
        ename=last["ename"],
        evalue=last["evalue"],
        traceback=last["traceback"],
    )
    if output_path is not None:
        _mark_failure(nb, index, cell.get("execution_count"), output_path)
    raise error


def _mark_failure(nb: Any, index: int, execution_count: Any, output_path: Any) -> None:
    import papermill.execute as execute
    from nbformat.v4 import new_markdown_cell

    tags = {"tags": [execute.ERROR_MARKER_TAG]}
    nb.cells.insert(index, new_markdown_cell(execute.ERROR_ANCHOR_MSG, metadata=tags))
    nb.cells.insert(0, new_markdown_cell(execute.ERROR_MESSAGE_TEMPLATE % str(execution_count), metadata=tags))
    nb.metadata.hermes["run"]["failed_cell"] = index + 2
    execute.write_ipynb(nb, output_path)


def _amended_write(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """papermill encodes a notebook that goes nowhere too, which takes seconds and memory if it is large."""

    @functools.wraps(original)
    def write_ipynb(nb: Any, path: Any) -> None:
        if path is None:
            return
        from host_bridge.executor.running import destination_for

        destination = destination_for(path)
        if isinstance(destination, LocalFile):
            destination.write(join_notebook(nb, map(encode_cell, nb.cells)), last=True)
        else:
            original(nb, path)

    setattr(write_ipynb, _MARK, True)
    return write_ipynb
