"""From a path and parameters to a run, and from the run to its result.

read the notebook, check the parameters     what is wrong here is raised, and nothing has happened
start the kernel                            while it starts, papermill is imported: both take half a second
papermill runs it, by our engine
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nbformat import NotebookNode

from host_bridge.control import Asked
from host_bridge.errors import ConfigurationError
from host_bridge.executor.choice import KernelChoice, choose_kernel, language_of
from host_bridge.executor.clock import RunClock
from host_bridge.executor.injection import drop_error_markers, inject, place_of_parameters
from host_bridge.executor.kernel import RunningKernel
from host_bridge.executor.notebooks import is_remote, parse_notebook, read_text
from host_bridge.executor.parameters import check_parameters, inspect_parameters, load_parameters, split_secrets
from host_bridge.executor.permissions import declared_permissions
from host_bridge.executor.report import RunReport
from host_bridge.executor.saving import Destination, LocalFile
from host_bridge.executor.scraps import scrap_values
from host_bridge.executor.settings import RunSettings
from host_bridge.executor.states import State
from host_bridge.executor.stopping import StopRequest
from host_bridge.provisioning.options import LaunchOptions, Prompter

if TYPE_CHECKING:
    from host_bridge.executor.executor import RunOptions
    from host_bridge.executor.running import RunSetup


class Preparation:
    """One call of `NotebookExecutor.execute`."""

    def __init__(
        self, input_path: str, output_path: str | None, timeout: float | None, options: RunOptions, stop: StopRequest
    ) -> None:
        self._input_path = input_path
        self._output_path = output_path
        self._timeout = timeout
        self._options = options
        self._stop = stop
        self._clock = RunClock()
        self._report = RunReport(principal=options.principal)
        self._secrets: dict[str, Any] = {}
        self._foreign_parameters: dict[str, Any] | None = None
        self._notebook: NotebookNode
        self._kernel_choice: KernelChoice
        self._destination: Destination | None = None

    def read(self, parameters: Mapping[str, Any] | str | os.PathLike[str] | None) -> None:
        """Read and check everything that can be checked before a kernel is started.

        Raises:
            HostBridgeError: Something is not as it has to be.
        """
        self._notebook = parse_notebook(read_text(self._input_path), self._input_path)
        self._destination = self._open_destination()
        drop_error_markers(self._notebook)
        self._kernel_choice = choose_kernel(self._notebook.metadata, self._options.kernel_name)
        if self._kernel_choice.warning:
            self._report.warn(self._kernel_choice.warning)
        self._set_parameters(_as_mapping(parameters))

    def run(self) -> dict[str, Any]:
        """Run the notebook.

        Raises:
            HostBridgeError: The kernel could not be started.
        """
        for cell in self._notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        setup = self._setup_of_run()
        try:
            notebook = self._execute(setup)
        finally:
            setup.close()
        scraps = scrap_values(notebook)
        return self._report.as_result(scraps=scraps, output_path=self._output_path)

    def write_only(self) -> dict[str, Any]:
        """Write the notebook with its parameters, and run nothing."""
        from papermill.execute import execute_notebook

        notebook = execute_notebook(
            self._notebook,
            None,
            parameters=self._foreign_parameters,
            engine_name="hermes",
            kernel_name=self._kernel_choice.name,
            prepare_only=True,
            report_mode=self._options.report_mode,
        )
        self._name_paths(notebook)
        if self._destination is not None:
            from host_bridge.executor.encoding import encode_cell, join_notebook

            self._destination.write(join_notebook(notebook, map(encode_cell, notebook.cells)), last=True)
        self._report.state = State.NOT_RUN
        result = self._report.as_result(scraps={}, output_path=self._output_path)
        return {**result, "status": "success"}

    # reading -----------------------------------------------------------------------------------------------------------

    def _open_destination(self) -> Destination | None:
        if self._output_path is None:
            return None
        if is_remote(self._output_path):
            from host_bridge.executor.running import destination_for

            return destination_for(self._output_path)
        return LocalFile(self._output_path)

    def _set_parameters(self, given: dict[str, Any]) -> None:
        if language_of(self._notebook.metadata) not in ("", "python"):
            self._foreign_parameters = given or None  # papermill writes the other languages
            return
        declared = inspect_parameters(self._notebook)
        checked = check_parameters(declared, given, allow_unknown=self._options.allow_unknown_parameters)
        plain, self._secrets = split_secrets(declared, checked)
        if checked:
            inject(self._notebook, plain, self._secrets)

    # running -----------------------------------------------------------------------------------------------------------

    def _setup_of_run(self) -> RunSetup:
        """Start the kernel, then import what runs the notebook."""
        options = self._options
        launch = self._launch_options()
        cwd = os.path.abspath(options.cwd or ".")  # noqa: PTH100
        kernel = RunningKernel.start(self._kernel_choice.name, cwd=cwd, launch=launch)
        try:
            from host_bridge.executor.running import RunSetup

            return RunSetup(
                settings=self._run_settings(),
                report=self._report,
                clock=self._clock,
                kernel=kernel,
                stop=self._stop,
                destination=self._destination,
                finish=self._name_paths,
                tells_result=True,
            )
        except BaseException:
            kernel.kill()
            kernel.close()
            raise

    def _execute(self, setup: RunSetup) -> NotebookNode:
        from papermill.exceptions import PapermillException
        from papermill.execute import execute_notebook

        options = self._options
        try:
            execute_notebook(
                self._notebook,
                None,
                parameters=self._foreign_parameters,
                engine_name="hermes",
                kernel_name=self._kernel_choice.name,
                progress_bar=options.progress is True,
                log_output=options.log_output,
                report_mode=options.report_mode,
                hermes=setup,
            )
        except PapermillException:
            if self._report.state is State.RUNNING:
                raise
        assert setup.notebook is not None
        return setup.notebook

    def _run_settings(self) -> RunSettings:
        options = self._options
        return RunSettings(
            run_timeout_seconds=self._timeout,
            cell_timeout_seconds=options.cell_timeout,
            start_timeout_seconds=options.start_timeout,
            grace_seconds=options.grace_seconds,
            allow_errors=options.allow_errors,
            limits=options.limits,
            secrets=self._secrets,
            secrets_after=place_of_parameters(self._notebook),
            log_output=options.log_output,
            stdout_file=options.stdout_file,
            stderr_file=options.stderr_file,
            on_progress=options.progress if callable(options.progress) else None,
        )

    def _launch_options(self) -> LaunchOptions:
        options = self._options
        return LaunchOptions(
            workspace=os.path.abspath(options.workspace) if options.workspace else "",  # noqa: PTH100
            principal=options.principal,
            profile=options.profile,
            notebook="" if is_remote(self._input_path) else os.path.abspath(self._input_path),  # noqa: PTH100
            notebook_permissions=declared_permissions(self._notebook.metadata),
            policy_files=tuple(os.fspath(path) for path in options.policy_files),
            policy_rules=options.policy_rules,
            run_id=self._report.run_id,
            audit_path=os.fspath(options.audit_path),
            secrets=tuple(_texts(self._secrets.values())),
            prompter=None if options.prompter is None else self._patient(options.prompter),
            marks_cells=True,
            budgets=dict(options.budgets),
            on_call=options.on_call,
            tools=tuple(options.tools),
        )

    def _patient(self, prompter: Prompter) -> Prompter:
        """Stop the run's clock while a person thinks."""

        def ask(question: Asked) -> str:
            with self._clock.paused():
                return prompter(question)

        return ask

    def _name_paths(self, notebook: NotebookNode) -> None:
        """Say where the notebook came from and went, which papermill doesn't know here."""
        notebook.metadata.papermill["input_path"] = self._input_path
        notebook.metadata.papermill["output_path"] = self._output_path


def _as_mapping(parameters: Mapping[str, Any] | str | os.PathLike[str] | None) -> dict[str, Any]:
    if parameters is None:
        return {}
    if isinstance(parameters, Mapping):
        return dict(parameters)
    if not isinstance(parameters, str | os.PathLike):
        raise ConfigurationError(
            f"parameters are a mapping or the path of a YAML file, not a {type(parameters).__name__}"
        )
    path = os.fspath(parameters)
    return load_parameters(files=[path], read=read_text if is_remote(path) else None)


def _texts(values: Iterable[Any]) -> Iterable[str]:
    """Give every text within secret values, for the audit log's own redaction."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            yield from _texts(value)
        elif isinstance(value, bytes):
            yield value.decode("utf-8", "replace")
        elif value is not None and not isinstance(value, bool):
            yield str(value)
