"""From a path and parameters to a run, and from the run to its result.

read     what the notebook asks for, and its parameters: nothing has happened while this can fail
start    the kernel; while it comes up, a thread imports what will run the notebook, which takes as long
run      papermill runs it, by our engine
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_bridge.control import TapeOrders
from host_bridge.errors import ConfigurationError
from host_bridge.executor.asking import NotebookPrompter, stopping_listener
from host_bridge.executor.cell_tags import check_narrowing
from host_bridge.executor.choice import KernelChoice, choose_kernel, language_of
from host_bridge.executor.clock import RunClock
from host_bridge.executor.earlier import EarlierRun, replayed, resumed
from host_bridge.executor.given_rules import check_given_rules
from host_bridge.executor.imports import import_jsonschema_lightly
from host_bridge.executor.kernel import RunningKernel
from host_bridge.executor.parameters import (
    check_parameters,
    describe_parameters,
    inspect_parameters,
    load_parameters,
    split_secrets,
)
from host_bridge.executor.parking import PatientPrompter, Questions, facts_of, open_questions
from host_bridge.executor.permissions import declared_permissions, texts_within
from host_bridge.executor.reading import glance, is_remote, read_text
from host_bridge.executor.report import RunReport
from host_bridge.executor.saving import Destination, LocalFile
from host_bridge.executor.scraps import scrap_values
from host_bridge.executor.settings import RunSettings
from host_bridge.executor.states import State
from host_bridge.executor.stopping import StopRequest
from host_bridge.executor.taping import RunTape, facts_of_run
from host_bridge.provisioning.notebook import source_digest
from host_bridge.provisioning.options import LaunchOptions, Prompter

if TYPE_CHECKING:
    from nbformat import NotebookNode

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
        self._text = ""
        self._metadata: Mapping[str, Any] = {}
        self._digest = ""
        self._plain: dict[str, Any] = {}
        self._secrets: dict[str, Any] = {}
        self._foreign_parameters: dict[str, Any] | None = None
        self._kernel_choice: KernelChoice
        self._earlier: EarlierRun | None = None
        self._notebook: NotebookNode | None = None
        self._tape: RunTape
        self._scraps: dict[str, Any] = {}
        self._destination: Destination | None = None
        self._setup: RunSetup | None = None
        self._questions = Questions()

    def read(self, parameters: Mapping[str, Any] | str | os.PathLike[str] | None) -> None:
        """Read and check what can be checked before a kernel is started.

        Raises:
            HostBridgeError: Something is not as it has to be.
        """
        self._text = read_text(self._input_path)
        document: Mapping[str, Any] = glance(self._text) or self._parse()
        self._metadata = document["metadata"]
        host_tools = [tool.name for tool in self._options.tools]
        check_narrowing(document, host_tools)
        options = self._options
        check_given_rules(options.profile, options.policy_files, options.policy_rules, host_tools)
        if options.cwd is not None and not Path(options.cwd).is_dir():
            raise ConfigurationError(f"{options.cwd}, to run in, is not a folder; create it or name another")
        self._digest = source_digest(document)
        self._kernel_choice = choose_kernel(self._metadata, self._options.kernel_name)
        if self._kernel_choice.warning:
            self._report.warn(self._kernel_choice.warning)
        self._check_parameters(document, _as_mapping(parameters))
        self._find_earlier()
        self._destination = self._open_destination()  # last, since it may make a folder

    def run(self) -> dict[str, Any]:
        """Run the notebook.

        Raises:
            HostBridgeError: The kernel could not be started, or the notebook is not valid after all.
        """
        self._tape = self._begin_tape()
        result = None
        try:
            result = self._run(self._tape)
        finally:
            problem = self._tape.close(self._scraps)
            if problem and result is not None:
                result["warnings"].append(problem)
        return result

    def _run(self, tape: RunTape) -> dict[str, Any]:
        self._questions = self._open_questions()
        # Not before the kernel's process is there: two threads that import take turns, and that process is waited for longest.
        importing = _Importing()
        launch = dataclasses.replace(self._launch_options(tape), on_spawned=importing.begin)
        cwd = os.path.abspath(self._options.cwd or ".")  # noqa: PTH100
        kernel = RunningKernel.start(self._kernel_choice.name, cwd=cwd, launch=launch)
        try:
            importing.begin()  # a kernel that isn't ours has told nothing
            importing.join()
            setup = self._setup = self._setup_of_run(kernel)
            notebook = self._notebook or self._prepared_notebook()
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = []
            self._execute(notebook, setup)
        finally:
            kernel.end()  # if no run came so far
            self._questions.close("the run has ended")
        assert setup.notebook is not None
        self._scraps = scrap_values(setup.notebook)
        return self._report.as_result(scraps=self._scraps, output_path=self._output_path)

    def write_only(self) -> dict[str, Any]:
        """Write the notebook with its parameters, and run nothing."""
        from papermill.execute import execute_notebook

        notebook = execute_notebook(
            self._prepared_notebook(),
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
        return LocalFile(self._output_path, makes_folder=True)

    def _parse(self) -> NotebookNode:
        import_jsonschema_lightly()
        from host_bridge.executor.notebooks import parse_notebook

        return parse_notebook(self._text, self._input_path)

    def _check_parameters(self, document: Mapping[str, Any], given: dict[str, Any]) -> None:
        if language_of(self._metadata) not in ("", "python"):
            self._foreign_parameters = given or None  # papermill writes the other languages
            return
        declared = inspect_parameters(document)
        checked = check_parameters(declared, given, allow_unknown=self._options.allow_unknown_parameters)
        self._plain, self._secrets = split_secrets(declared, checked)

    def _prepared_notebook(self) -> NotebookNode:
        """Give the notebook as papermill is to run it: valid, without the marks of earlier failures, with its parameters."""
        notebook = self._parse()
        from host_bridge.executor.injection import drop_error_markers, inject

        drop_error_markers(notebook)
        if self._plain or self._secrets:
            inject(notebook, self._plain, self._secrets)
        return notebook

    # tapes -------------------------------------------------------------------------------------------------------------

    def _find_earlier(self) -> None:
        options, facts = self._options, self._facts()
        if options.plan:
            self._earlier = EarlierRun(TapeOrders(mode="plan"))
        if options.apply:
            self._earlier = EarlierRun(TapeOrders(mode="apply", plan=os.path.abspath(options.apply)))  # noqa: PTH100
        if options.replay:
            self._earlier = replayed(os.fspath(options.replay), facts, self._report, options.on_miss, options.fault)
        elif options.resume:
            self._earlier = resumed(options.resume, facts, self._report, options.on_unknown)
            self._notebook = self._prepared_notebook()
            self._earlier.check_cells(self._notebook.cells)

    def _facts(self) -> dict[str, Any]:
        given = self._foreign_parameters or self._plain
        return facts_of_run(self._digest, describe_parameters(given), self._secrets)

    def _begin_tape(self) -> RunTape:
        return RunTape(
            self._report,
            notebook=self._input_path,
            output=self._output_path,
            facts=self._facts(),
            orders=self._earlier.orders if self._earlier else None,
            named=os.fspath(self._options.tape),
            records=self._options.record_tape,
            plan=os.fspath(self._options.plan),
            resumes=self._earlier.run_id if self._earlier and self._options.resume else "",
        )

    # running -----------------------------------------------------------------------------------------------------------

    def _setup_of_run(self, kernel: RunningKernel) -> RunSetup:
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

    def _execute(self, notebook: NotebookNode, setup: RunSetup) -> None:
        from papermill.exceptions import PapermillException
        from papermill.execute import execute_notebook

        options = self._options
        try:
            execute_notebook(
                notebook,
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

    def _run_settings(self) -> RunSettings:
        from host_bridge.executor.injection import place_of_parameters

        options = self._options
        return RunSettings(
            run_timeout_seconds=self._timeout,
            cell_timeout_seconds=options.cell_timeout,
            start_timeout_seconds=options.start_timeout,
            grace_seconds=options.grace_seconds,
            allow_errors=options.allow_errors,
            limits=options.limits,
            secrets=self._secrets,
            parameters_are_set=place_of_parameters,
            log_output=options.log_output,
            stdout_file=options.stdout_file,
            stderr_file=options.stderr_file,
            on_progress=options.progress if callable(options.progress) else None,
            on_session_over=self._tape.finish,
        )

    def _open_questions(self) -> Questions:
        paths = (self._input_path, self._output_path)
        plain, secrets = self._foreign_parameters or self._plain, self._secrets
        run_id = self._report.run_id
        facts = facts_of(run_id, paths, self._timeout, self._options, parameters=plain, secrets=secrets)
        return open_questions(self._options, facts, tuple(texts_within(secrets)), self._stop)

    def _launch_options(self, tape: RunTape) -> LaunchOptions:
        options, questions = self._options, self._questions
        return LaunchOptions(
            workspace=os.path.abspath(options.workspace) if options.workspace else "",  # noqa: PTH100
            principal=options.principal,
            profile=options.profile,
            notebook="" if is_remote(self._input_path) else os.path.abspath(self._input_path),  # noqa: PTH100
            notebook_permissions=declared_permissions(self._metadata),
            notebook_digest=self._digest,
            accepted_digest=options.accepted_digest,
            policy_files=tuple(os.fspath(path) for path in options.policy_files),
            policy_rules=options.policy_rules,
            run_id=self._report.run_id,
            audit_path=os.fspath(options.audit_path),
            secrets=tuple(texts_within(self._secrets)),
            prompter=None if questions.prompter is None else self._prompter(questions.prompter),
            ask_timeout_seconds=questions.seconds,
            marks_cells=True,
            budgets=dict(options.budgets),
            on_call=stopping_listener(self._stop, options.on_call),
            tools=tuple(options.tools),
            tape=tape.orders,
        )

    def _prompter(self, prompter: Prompter) -> Prompter:
        return NotebookPrompter(PatientPrompter(prompter, self._clock), self._source)

    def _source(self, index: int) -> str:
        """Give the source of a cell that runs, as the bridge counts them."""
        notebook = None if self._setup is None else self._setup.notebook
        cells = [] if notebook is None else notebook.cells
        return str(cells[index].source) if 0 <= index < len(cells) else ""

    def _name_paths(self, notebook: NotebookNode) -> None:
        """Say where the notebook came from and went, which papermill doesn't know here."""
        notebook.metadata.papermill["input_path"] = self._input_path
        notebook.metadata.papermill["output_path"] = self._output_path


class _Importing(threading.Thread):
    """Imports what runs the notebook, and leaves what is wrong with it to the import that needs it."""

    def __init__(self) -> None:
        super().__init__(name="hermes-import", daemon=True)

    def begin(self) -> None:
        """Start, once."""
        if self.ident is None:
            self.start()

    def run(self) -> None:
        """Import it."""
        import_jsonschema_lightly()
        with contextlib.suppress(ImportError):
            importlib.import_module("host_bridge.executor.running")


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
