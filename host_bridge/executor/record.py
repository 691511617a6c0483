"""Writing down how a run goes: papermill's bookkeeping, made truthful, and ours beside it.

papermill's manager marks every cell without a recorded failure as `completed` at the end, whether it ran or not, and saves
the whole notebook at every step. Here a cell has completed when it has; `metadata.hermes` says the rest; saves are cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nbformat import NotebookNode
from papermill.engines import NotebookExecutionManager
from papermill.log import logger

from host_bridge.errors import OutputError
from host_bridge.executor.redaction import Redactor
from host_bridge.executor.report import CellProgress, RunReport
from host_bridge.executor.saving import Destination, Saver
from host_bridge.executor.states import PAPERMILL_STATUS, State


class RunRecord(NotebookExecutionManager):  # type: ignore[misc] # papermill has no types
    """A notebook that is being run, and all that is said about the run.

    Args:
        nb: The notebook.
        report: Kept up to date.
        destination: Where the notebook is saved; None for nowhere.
        saves_within_cells: Whether what a running cell has put out is saved before the cell is over.
        on_progress: Told of each cell's start and end.
        redactor: Takes secrets out of the notebook, before its first save and its last.
        options: papermill's own: `output_path`, `log_output`, `progress_bar`, `autosave_cell_every`.
    """

    def __init__(
        self,
        nb: NotebookNode,
        *,
        report: RunReport,
        destination: Destination | None,
        saves_within_cells: bool = True,
        on_progress: Callable[[CellProgress], None] | None = None,
        redactor: Redactor | None = None,
        **options: Any,
    ) -> None:
        self.pbar = None
        super().__init__(nb, **options)
        self.report = report
        self._cell_started = self.now()
        self.states: dict[int, State] = {}
        # What runs is what was written, also where it is saved without a secret.
        self.sources: list[str] = [cell.source for cell in nb.cells]
        self._saves_within_cells = saves_within_cells
        self._on_progress = on_progress
        self._redactor = redactor
        self._before_encoding: Callable[[int], None] = lambda index: None
        self.saver = Saver(nb, destination, before_encoding=lambda index: self._before_encoding(index))

    def attach(self, before_encoding: Callable[[int], None]) -> None:
        """Have a cell brought up to date before it is saved."""
        self._before_encoding = before_encoding

    # papermill's steps -----------------------------------------------------------------------------------------------

    def save(self, **kwargs: Any) -> None:
        """Save if it is time to."""
        self._save(lambda: self.saver.save_if_due())
        self.last_save_time = self.now()

    def save_now(self) -> None:
        """Save, whatever it costs."""
        self._save(lambda: self.saver.save())

    def autosave_cell(self) -> None:
        """Save what a running cell has put out so far, if it is time to."""
        if self._saves_within_cells:
            self.save()

    def notebook_start(self, **kwargs: Any) -> None:
        """Clear what an earlier run left, and save."""
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "code":
                cell.metadata.pop("execution", None)
                self._set_state(index, State.PENDING)
        self._update_run()
        self._redact()
        self.saver.touch_all()
        super().notebook_start(**kwargs)

    def cell_start(self, cell: NotebookNode, cell_index: int, **kwargs: Any) -> None:
        """Note that a cell starts."""
        if cell.cell_type == "code":
            self._set_state(cell_index, State.RUNNING)
        self.saver.touch(cell_index)
        self._cell_started = self.now()
        super().cell_start(cell, cell_index, **kwargs)
        self._tell(cell_index, State.RUNNING)

    def cell_end(self, cell: NotebookNode, cell_index: int, state: State) -> None:
        """Note how a cell ended. One that did not succeed is saved at once."""
        if cell.cell_type == "code":
            self._set_state(cell_index, state)
        if PAPERMILL_STATUS[state] == self.FAILED:
            self.cell_exception(cell, cell_index)
        self.saver.touch(cell_index)
        if state is not State.NOT_RUN:
            self.cell_complete(cell, cell_index)
        else:
            cell.metadata.papermill["status"] = PAPERMILL_STATUS[state]
            if self.pbar:
                self.pbar.update(1)
        self._tell(cell_index, state)
        if state is not State.SUCCEEDED:
            self.save_now()

    def cell_complete(self, cell: NotebookNode, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note that a cell has ended, as papermill does but for the date it would parse again to know the duration."""
        number = "" if cell_index is None else cell_index + 1
        if self.log_output:
            logger.info(f"Ending Cell {number:-<43}")
        ended = self.now()
        papermill = cell.metadata.papermill
        papermill["end_time"] = ended.isoformat()
        papermill["duration"] = (ended - self._cell_started).total_seconds()
        if papermill["status"] != self.FAILED:
            papermill["status"] = self.COMPLETED
        self.save()
        if self.pbar:
            self.pbar.update(1)

    def notebook_complete(self, **kwargs: Any) -> None:
        """Note how the run ended, and save for good.

        Raises:
            OutputError: The notebook could not be saved.
        """
        self.end_time = self.report.ended = self.now()
        papermill = self.nb.metadata.papermill
        papermill["end_time"] = self.end_time.isoformat()
        papermill["duration"] = (self.end_time - self.start_time).total_seconds()
        papermill["exception"] = None if self.report.state is State.SUCCEEDED else True
        for index, state in self.states.items():
            if state in (State.PENDING, State.RUNNING):
                self._set_state(index, State.NOT_RUN)
        self._update_run()
        self._redact()
        self.cleanup_pbar()
        self.saver.save(last=True)

    # ours ------------------------------------------------------------------------------------------------------------

    def _set_state(self, index: int, state: State) -> None:
        self.states[index] = state
        metadata = self.nb.cells[index].metadata
        metadata["hermes"] = NotebookNode({**_mapping(metadata.get("hermes")), "state": str(state)})
        self.saver.touch(index)

    def _update_run(self) -> None:
        hermes = _mapping(self.nb.metadata.get("hermes"))
        self.nb.metadata["hermes"] = NotebookNode({**hermes, "run": self.report.as_metadata()})
        self.saver.touch_metadata()

    def _redact(self) -> None:
        if self._redactor is not None and self._redactor.notebook(self.nb):
            self.saver.touch_all()

    def _tell(self, index: int, state: State) -> None:
        if self._on_progress is not None:
            cell = self.nb.cells[index]
            duration = cell.metadata.papermill.get("duration")
            self._on_progress(CellProgress(index, len(self.nb.cells), state, cell.source, duration, cell.cell_type))

    def _save(self, save: Callable[[], None]) -> None:
        """A save that fails while the run goes on costs a warning; the last one decides."""
        try:
            save()
        except OutputError as error:
            self.report.warn(str(error))
            self.saver.postpone()


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
