"""From a prepared notebook to a finished run: what the engine and `NotebookExecutor` share."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.log import logger

from host_bridge.errors import HostBridgeError, OutputError
from host_bridge.executor.asking import at_the_notebook
from host_bridge.executor.cell_tags import check_narrowing
from host_bridge.executor.clock import RunClock
from host_bridge.executor.injection import place_of_parameters, take_over
from host_bridge.executor.kernel import RunningKernel
from host_bridge.executor.parking import Questions, papermill_questions
from host_bridge.executor.permissions import declared_permissions, digest_before_injection, texts_within
from host_bridge.executor.record import RunRecord
from host_bridge.executor.redaction import Redactor
from host_bridge.executor.report import RunReport
from host_bridge.executor.run import NotebookRun
from host_bridge.executor.saving import Destination, LocalFile
from host_bridge.executor.scraps import scrap_values
from host_bridge.executor.settings import RunSettings
from host_bridge.executor.states import State
from host_bridge.executor.stopping import StopRequest, signals_stop
from host_bridge.executor.taping import RunTape, facts_of_run
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.signals import ending

_PAPERMILL_OPTIONS = frozenset({"input_path", "stdout_file", "stderr_file", "start_timeout", "execution_timeout"})
_START_OPTIONS = frozenset({"kernel_manager_class", "extra_arguments", "config"})


@dataclasses.dataclass(slots=True, kw_only=True)
class RunSetup:
    """All a run needs besides the notebook.

    Attributes:
        launch: What the host says about the kernel, if it is one of ours.
        kernel: Started already, while other things were prepared; None to start one.
        start_options: For `RunningKernel.start`.
        destination: Where to save; None for where papermill says.
        finish: Completes the notebook's metadata before it is saved for the first time.
        tells_result: Whether somebody reads the report; what happened in the run is not raised then.
        notebook: The one that was run, once it was.
        tape: Of a run of papermill's.
    """

    settings: RunSettings
    report: RunReport
    clock: RunClock
    launch: LaunchOptions | None = None
    kernel: RunningKernel | None = None
    stop: StopRequest | None = None
    cwd: str | None = None
    start_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    destination: Destination | None = None
    finish: Callable[[NotebookNode], None] = lambda notebook: None
    tells_result: bool = False
    notebook: NotebookNode | None = None
    tape: RunTape | None = None

    @classmethod
    def for_papermill(cls, nb: NotebookNode, *, log_output: bool, **options: Any) -> RunSetup:
        """Understand what papermill's engines are given, nbclient's settings included."""
        check_narrowing(nb)
        secrets = take_over(nb)
        start = {key: options.pop(key) for key in _START_OPTIONS & options.keys()}
        if "kernel_manager_class" in start:
            start["manager_class"] = start.pop("kernel_manager_class")
        given = {key: options.pop(key, None) for key in _PAPERMILL_OPTIONS}
        cell_timeout = given["execution_timeout"] or options.pop("timeout", None)
        report = RunReport()
        settings = RunSettings(
            cell_timeout_seconds=cell_timeout if cell_timeout and cell_timeout > 0 else None,  # nbclient's -1 is none
            start_timeout_seconds=given["start_timeout"] or 60.0,
            allow_errors=bool(options.pop("allow_errors", False)),
            secrets=secrets,
            parameters_are_set=place_of_parameters,
            log_output=log_output,
            stdout_file=given["stdout_file"],
            stderr_file=given["stderr_file"],
            shutdown_now=options.pop("shutdown_kernel", "graceful") == "immediate",
            client_settings={key: value for key, value in options.items() if key not in ("timeout", "startup_timeout")},
        )
        setup = cls(settings=settings, report=report, clock=RunClock(), start_options=start)
        path = given["input_path"]
        setup.launch = LaunchOptions(
            notebook=os.path.abspath(path) if isinstance(path, str) and "://" not in path else "",  # noqa: PTH100
            notebook_permissions=declared_permissions(nb.metadata),
            notebook_digest=digest_before_injection(nb, path),
            run_id=report.run_id,
            secrets=tuple(texts_within(secrets)),
            marks_cells=True,
        )
        return setup

    def begin_tape(self, nb: NotebookNode, destination: Destination | None) -> None:
        """Have a run of papermill's recorded, as one of `NotebookExecutor` is.

        Raises:
            HostBridgeError: Something can't be written where it should be.
        """
        assert self.launch is not None
        given = nb.metadata.get("papermill", {}).get("parameters") or {}
        plain = {name: value for name, value in given.items() if name not in self.settings.secrets}
        self.tape = RunTape(
            self.report,
            notebook=self.launch.notebook,
            output=destination.path if isinstance(destination, LocalFile) else None,
            facts=facts_of_run(self.launch.notebook_digest, plain, self.settings.secrets),
        )
        self.launch = dataclasses.replace(self.launch, tape=self.tape.orders)
        self.settings = dataclasses.replace(self.settings, on_session_over=self.tape.finish)


def open_record(nb: NotebookNode, setup: RunSetup, **options: Any) -> RunRecord:
    """Begin the record of a run."""
    return RunRecord(
        nb,
        report=setup.report,
        on_progress=setup.settings.on_progress,
        redactor=Redactor(setup.settings.secrets),
        **options,
    )


def destination_for(path: Any) -> Destination | None:
    """Give the place a path of papermill's names."""
    if path is None:
        return None
    from papermill.iorw import papermill_io

    handler = papermill_io.get_handler(path)
    if type(handler).__name__ == "LocalHandler":
        return LocalFile(os.path.join(getattr(handler, "_cwd", None) or "", path))  # noqa: PTH118 - papermill's rule
    return RemoteFile(path)


class RemoteFile:
    """A path that one of papermill's handlers writes to."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, pieces: Iterable[bytes], *, last: bool) -> None:
        """Write it whole; what is seen meanwhile is the store's affair. Standard output gets one notebook, the last."""
        from papermill.iorw import papermill_io

        if self._path == "-" and not last:
            return
        try:
            papermill_io.write(b"".join(pieces).decode(), self._path)
        except Exception as error:  # each store's client has its own
            raise OutputError(f"can't save {self._path!r}: {error}") from error


def run(record: RunRecord, kernel_name: str, setup: RunSetup) -> None:
    """Run a notebook; what came of it is in the record's report and in the saved notebook.

    Raises:
        HostBridgeError: The kernel could not be started, or the notebook could not be saved at the end.
    """
    setup.notebook = record.nb
    stop = StopRequest() if setup.stop is None else setup.stop  # one that nobody used yet is false
    with signals_stop(stop) if setup.stop is None else contextlib.nullcontext():
        try:
            setup.finish(record.nb)
            record.notebook_start()
            _run_cells(record, kernel_name, setup, stop)
        except HostBridgeError as error:
            setup.report.fail(State.FAILED, str(error))
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            setup.report.fail(State.CANCELLED, f"the executor got {type(error).__name__}")
            raise
        except BaseException as error:
            setup.report.fail(State.FAILED, f"internal error: {type(error).__name__}: {error}")
            raise
        finally:
            _complete(record, setup)
            if setup.tape is not None and (problem := setup.tape.close(scrap_values(record.nb))):
                logger.warning(problem)
            if setup.stop is None:
                stop.close()


def _run_cells(record: RunRecord, kernel_name: str, setup: RunSetup, stop: StopRequest) -> None:
    kernel, questions = setup.kernel, Questions()
    if kernel is None:
        launch = setup.launch
        if launch is not None:  # papermill's: nobody sits there, or papermill would not know
            questions = papermill_questions(launch, stop, logger.warning)
            launch = at_the_notebook(questions.added_to(launch, setup.clock), stop, record.sources)
        kernel = RunningKernel.start(kernel_name, cwd=setup.cwd, launch=launch, **setup.start_options)
    try:
        NotebookRun(record, setup.settings, kernel=kernel, clock=setup.clock, stop=stop).execute()
    finally:
        kernel.end()
        questions.close("the run has ended")


def _complete(record: RunRecord, setup: RunSetup) -> None:
    try:
        record.notebook_complete()
    except OutputError as error:
        # The cells ran, and nobody will see it: that is no success. What failed the run before says more than that.
        setup.report.saved = False
        if setup.report.state is State.SUCCEEDED:
            setup.report.state = State.FAILED
            setup.report.error = str(error)
        setup.report.warn(str(error))
        if not setup.tells_result:
            raise


def raise_as_nbclient(report: RunReport) -> None:
    """Raise what nbclient raises in the same case; a failed cell is papermill's to raise."""
    failed = report.failed_cell
    if report.state is State.TIMED_OUT:
        raise CellTimeoutError(failed.evalue if failed else report.error)
    if report.state is State.KERNEL_DIED:
        raise DeadKernelError(failed.evalue if failed else report.error)
    if report.state is State.CANCELLED:
        raise ending(report.stopped_by, report.error)
