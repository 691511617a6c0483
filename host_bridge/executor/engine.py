"""The papermill engine `hermes`: `papermill --engine hermes in.ipynb out.ipynb`.

Papermill loads this module whenever it starts, asked for this engine or not, so nothing heavy is imported before a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from host_bridge.executor.record import RunRecord
    from host_bridge.executor.running import RunSetup


class HermesEngine:
    """What papermill asks of an engine: which kernel, which language, and to run the notebook.

    It takes what papermill's own engine takes, `nbclient.NotebookClient`'s settings included.
    """

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """Name the kernel: the one asked for, else one of ours.

        A notebook may come from anywhere, so the kernel it names is used only if it is one of ours.
        """
        from host_bridge.executor.choice import choose_kernel

        choice = choose_kernel(nb.metadata, name)
        if choice.warning:
            from papermill.log import logger

            logger.warning(choice.warning)
        return choice.name

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """Name the language: the one asked for, else the notebook's, else Python."""
        from host_bridge.executor.choice import language_of

        return language or language_of(nb.metadata) or "python"

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        autosave_cell_every: int = 30,
        *,
        hermes: RunSetup | None = None,
        **options: Any,
    ) -> NotebookNode:
        """Run a notebook.

        Args:
            nb: As papermill prepared it.
            kernel_name: Of an installed kernel spec.
            output_path: Where to save it while it runs; None for nowhere.
            progress_bar: As papermill takes it.
            log_output: Whether outputs go to papermill's log.
            autosave_cell_every: 0 saves a running cell's outputs only when it is over; otherwise they are saved as often as
                the cost of saving allows, which is more often than papermill would.
            hermes: What `NotebookExecutor` knows about the run; it then tells how the run ended, and nothing is raised.
            **options: papermill's other options, and nbclient's.

        Raises:
            CellTimeoutError, DeadKernelError: As nbclient's, so that papermill's callers and exit codes stay as they are.
            KeyboardInterrupt, SystemExit: The run was cancelled by a signal; what it did is saved.
        """
        from host_bridge.executor.running import RunSetup, destination_for, open_record

        setup = hermes or RunSetup.for_papermill(nb, log_output=log_output, **options)
        destination = setup.destination or destination_for(output_path)
        if hermes is None:
            setup.begin_tape(nb, destination)
        record = open_record(
            nb,
            setup,
            destination=destination,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            saves_within_cells=autosave_cell_every != 0,
        )
        cls.execute_managed_notebook(record, kernel_name, setup=setup)
        return setup.notebook or nb

    @classmethod
    def execute_managed_notebook(cls, nb_man: RunRecord, kernel_name: str, *, setup: RunSetup) -> None:
        """Run a notebook that has its record."""
        from host_bridge.executor.amendments import amend_papermill
        from host_bridge.executor.running import raise_as_nbclient, run

        amend_papermill()
        run(nb_man, kernel_name, setup)
        if not setup.tells_result:
            raise_as_nbclient(nb_man.report)
