"""`NotebookExecutor`: a notebook in, a truthful result out.

Only light modules are imported here; what reads and runs notebooks is imported when it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from host_bridge.executor.documents import Document
from host_bridge.executor.imports import import_jsonschema_lightly
from host_bridge.executor.limits import DEFAULT_LIMITS, OutputLimits
from host_bridge.executor.parameters import Parameter
from host_bridge.executor.report import CellProgress
from host_bridge.executor.stopping import StopRequest, signals_stop

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from host_bridge.control import TapeFault
    from host_bridge.executor.comparison import NotebookDifference
    from host_bridge.executor.merging import Merge
    from host_bridge.executor.validation import Validation
    from host_bridge.provisioning.options import CallListener, HostTool, Prompter

Path = str | os.PathLike[str]
DEFAULT_TIMEOUT_SECONDS = 300.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How `NotebookExecutor.execute` runs a notebook. All of it is optional.

    Attributes:
        cell_timeout: Seconds for each cell; None for no limit of its own.
        start_timeout: Seconds for the kernel to answer.
        grace_seconds: What a cell that is interrupted has to end by itself before its kernel is killed.
        kernel_name: The kernel to use. Without it the notebook's own, if that has a bridge session, else `hermes`.
        cwd: The kernel's working directory, which is the workspace too unless that is given.
        workspace: The folder the session works in.
        allow_unknown_parameters: Take parameters the notebook doesn't declare.
        allow_errors: Go on after a cell that failed. The run has failed all the same, and its first failure is reported.
        prepare_only: Write the notebook with its parameters, and run nothing.
        report_mode: Hide the code in the output notebook.
        principal: Whom the run acts for.
        profile: The policy profile.
        policy_files: Further policy files.
        policy_rules: Further rules as TOML text.
        accepted_digest: The source of the notebook (`provisioning.notebook.source_digest`) whose declared needs the person who
            starts the run has accepted for it: what it declares then needs no further yes.
        budgets: Limits by name: `calls`, `calls.terminal`, `bytes_out`, `wall_seconds` and so on; see docs/policy.md.
        audit_path: The audit log; one of its own in the configured folder when empty.
        prompter: Asks a person where a rule says `ask`. Runs don't pay for its waiting. Questions are in the inbox too
            (`hermes-runtime approvals`), and the first answer counts.
        park: Whether questions wait in the inbox where nobody else can be asked, and outlive this process; False keeps them out
            of it. None does what `[approvals] headless` in the configuration says, by which such an `ask` is a denial.
        on_waiting: Told, in a sentence for people, where a parked run waits.
        grant: The id of a question of an earlier run: its answer is used, once, for the same call of the same notebook.
        on_call: Hears of every settled tool call.
        tools: Tools the calling program provides.
        tape: Where the run's tape goes; beside the output when empty (`out.ipynb`, `out.tape`).
        record_tape: Whether there is one.
        replay: A tape to answer all calls from, in place of the tools.
        on_miss: What a replay does with a call that isn't on the tape: `"error"`, or `"live"` to make it.
        resume: A run to go on with, by its id, its output notebook or its tape: what had ended is answered from its tape.
        on_unknown: What a resumed run does with a call of which nobody knows whether it was made: `"ask"` the prompter,
            `"skip"` it, `"redo"` it, or `"fail"`.
        plan: Try the run: what looks is done, what acts is simulated, and the effects it would have are written here.
        apply: A plan to do: nothing else is done, and nothing at all if the run would do something else.
        fault: With `replay`, something that goes wrong once: see `host_bridge.executor.faults`.
        progress: True shows papermill's progress bar; a function is told of each cell's start and end.
        log_output: Send outputs to the logger `papermill`.
        stdout_file: Gets what cells print.
        stderr_file: Gets what they print to standard error.
        limits: How much of the outputs is kept.
        handle_signals: Have SIGINT, SIGTERM and SIGHUP cancel the run, which then returns what it has. Only the main thread
            can; elsewhere this does nothing.
    """

    cell_timeout: float | None = None
    start_timeout: float = 60.0
    grace_seconds: float = 5.0
    kernel_name: str | None = None
    cwd: Path | None = None
    workspace: Path | None = None
    allow_unknown_parameters: bool = False
    allow_errors: bool = False
    prepare_only: bool = False
    report_mode: bool = False
    principal: str = ""
    profile: str = ""
    policy_files: Sequence[Path] = ()
    policy_rules: str = ""
    accepted_digest: str = ""
    budgets: Mapping[str, float] = dataclasses.field(default_factory=dict)
    audit_path: Path = ""
    prompter: Prompter | None = None
    park: bool | None = None
    on_waiting: Callable[[str], None] | None = None
    grant: str = ""
    on_call: CallListener | None = None
    tools: Sequence[HostTool] = ()
    tape: Path = ""
    record_tape: bool = True
    replay: Path = ""
    on_miss: Literal["error", "live"] = "error"
    resume: str = ""
    on_unknown: Literal["ask", "skip", "redo", "fail"] = "fail"
    plan: Path = ""
    apply: Path = ""
    fault: TapeFault | None = None
    progress: bool | Callable[[CellProgress], None] = False
    log_output: bool = False
    stdout_file: TextIO | None = None
    stderr_file: TextIO | None = None
    limits: OutputLimits = DEFAULT_LIMITS
    handle_signals: bool = True

    def __post_init__(self) -> None:
        for name in ("cell_timeout", "start_timeout", "grace_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}: give a number of seconds, or None for no limit")
        if sum(map(bool, (self.replay, self.resume, self.plan, self.apply))) > 1:
            raise ValueError("replay, resume, plan and apply are four ways to run; give one of them")
        if self.plan and not self.record_tape:
            raise ValueError("a plan is made from the run's tape; leave record_tape on")


class NotebookExecutor:
    """Runs notebooks, and reads, writes, compares and checks them.

    Each run has a kernel, a bridge session and an output of its own, so one executor may run several at once, from several
    threads; it doesn't change the process's working directory.
    """

    def __init__(self) -> None:
        self._stops: set[StopRequest] = set()

    def execute(
        self,
        input_path: Path,
        output_path: Path | None,
        parameters: Mapping[str, Any] | Path | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a notebook.

        Args:
            input_path: The notebook; a local path, or what papermill's handlers read (`s3://…`). Taken literally.
            output_path: Where the executed notebook goes; saved while it runs. None for nowhere.
            parameters: Values by name, or the path of a YAML file.
            timeout: Seconds for the whole run, the kernel's start included and a person's answers not; None for no limit.
            **options: The fields of `RunOptions`.

        Returns:
            Whatever happened in the run, in one shape:

                {"status": "success" | "error", "duration_seconds": 12.34, "cells_executed": 15,
                 "failed_cell": None | {"index", "source", "ename", "evalue", "traceback", "state", …},
                 "scraps": {"health_score": 0.94},
                 "state": "succeeded" | "failed" | "timed_out" | "kernel_died" | "cancelled" | "denied",
                 "error": "why, where no cell says it", "run_id", "output_path", "saved", "kernel", "session_id", "principal",
                 "profile", "confinement", "kernel_limits", "tool_calls", "ended_early_at", "signal", "tape", "plan",
                 "warnings"}

            `index` counts in the output notebook, an injected parameters cell included. With `prepare_only` the state is
            `not_run`.

        Raises:
            HostBridgeError: It could not begin: the notebook can't be read (`NotebookError`) or saved (`OutputError`), a
                parameter is unknown or of the wrong type (`ParameterError`), the kernel asked for isn't installed
                (`KernelChoiceError`) or doesn't come up (`KernelStartError`), the policy can't be loaded (`PolicyError`).
        """
        choices = RunOptions(**options)
        with self._stoppable() as stop, signals_stop(stop) if choices.handle_signals else contextlib.nullcontext():
            return _execute(stop, input_path, output_path, parameters, timeout, choices)

    async def execute_async(
        self,
        input_path: Path,
        output_path: Path | None,
        parameters: Mapping[str, Any] | Path | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a notebook as `execute` does, without blocking the event loop. Cancelling the task cancels the run."""
        choices = RunOptions(**options)
        with self._stoppable() as stop:
            work = asyncio.to_thread(_execute, stop, input_path, output_path, parameters, timeout, choices)
            running = asyncio.ensure_future(work)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                stop.request("the task was cancelled")
                await running  # it has to save what it has, and to end its kernel
                raise

    def cancel(self, reason: str = "cancelled by the host application") -> None:
        """Cancel all runs of this executor. They return what they have; call it again to have their kernels killed at once."""
        for stop in list(self._stops):
            stop.request(reason)

    def collect_outputs(self, path: Path) -> dict[str, Any]:
        """Give the scraps of an executed notebook: values by name.

        Raises:
            UnreadableNotebookError: It can't be read.
        """
        from host_bridge.executor.scraps import collect_outputs

        return collect_outputs(path)

    def inspect_parameters(self, path: Path | Document) -> dict[str, Parameter]:
        """Give the parameters a notebook declares, by name.

        Raises:
            UnreadableNotebookError: It can't be read.
            ParameterError: Its parameters cell isn't Python.
        """
        from host_bridge.executor.parameters import inspect_parameters

        return inspect_parameters(path)

    def read_notebook(self, path: Path) -> NotebookNode:
        """Read a notebook: validated, and upgraded to the newest minor version of format 4.

        It remembers the file's content, so that `write_notebook` can refuse to write over somebody else's change.

        Raises:
            NotebookError: It can't be read, or isn't a valid notebook.
        """
        import_jsonschema_lightly()
        from host_bridge.executor.notebooks import read_notebook

        return read_notebook(path)

    def write_notebook(self, nb: Mapping[str, Any], path: Path, *, force: bool = False) -> None:
        """Write a notebook: validated, with nbformat's bytes, replacing the file in one step.

        Args:
            nb: The notebook.
            path: Where to.
            force: Write also over what somebody else has written there since `nb` was read from it.

        Raises:
            NotebookError: It isn't a valid notebook.
            StaleNotebookError: The file has changed since `nb` was read from it.
            OutputError: It can't be written.
        """
        import_jsonschema_lightly()
        from host_bridge.executor.notebooks import write_notebook

        write_notebook(nb if isinstance(nb, dict) else dict(nb), path, force=force)

    def diff_notebooks(self, a: Path | Document, b: Path | Document) -> NotebookDifference:
        """Compare two notebooks structurally, by cells, not by lines of JSON.

        Raises:
            NotebookError: One of them can't be read.
        """
        import_jsonschema_lightly()
        from host_bridge.executor.comparison import diff_notebooks

        return diff_notebooks(a, b)

    def merge_notebooks(self, base: Path | Document, ours: Path | Document, theirs: Path | Document) -> Merge:
        """Merge two versions of a notebook with the one that both were made from, cell by cell.

        What both changed is in `conflicts`; without any the result is proven to have both sides' changes and nothing else.

        Raises:
            NotebookError: One of them can't be read, or the merge didn't pass its check (`MergeError`).
        """
        import_jsonschema_lightly()
        from host_bridge.executor.comparison import open_notebook
        from host_bridge.executor.merging import merge_notebooks

        return merge_notebooks(open_notebook(base), open_notebook(ours), open_notebook(theirs))

    def validate(
        self,
        path: Path,
        nbval: str = "off",
        timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
        *,
        cell_timeout: float | None = None,
        sanitizers: Path = "",
        tape: Path = "",
        **options: Any,
    ) -> Validation:
        """Check that a notebook is what it should be, and on request that running it still gives the outputs it has.

        Args:
            path: The notebook.
            nbval: `"off"`; `"lax"` compares the cells marked `NBVAL_CHECK_OUTPUT`; `"strict"` compares all.
            timeout: Seconds for the run.
            cell_timeout: Seconds for each cell.
            sanitizers: A file of nbval's: `regex: …` and `replace: …`.
            tape: A run's tape, to answer tool calls from.
            **options: Further fields of `RunOptions`.

        Raises:
            NotebookError: There is no such file.
            HostBridgeError: The run could not begin.
        """
        import_jsonschema_lightly()
        from host_bridge.executor.validation import validate

        return validate(
            path,
            nbval=nbval,
            timeout_seconds=timeout,
            cell_timeout_seconds=cell_timeout,
            sanitizers=sanitizers,
            tape=tape,
            options=options,
        )

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[StopRequest]:
        stop = StopRequest()
        self._stops.add(stop)
        try:
            yield stop
        finally:
            self._stops.discard(stop)
            stop.close()


def _execute(
    stop: StopRequest,
    input_path: Path,
    output_path: Path | None,
    parameters: Mapping[str, Any] | Path | None,
    timeout: float | None,
    options: RunOptions,
) -> dict[str, Any]:
    from host_bridge.executor.preparing import Preparation

    if timeout is not None and not 0 < timeout < math.inf:
        raise ValueError(f"timeout={timeout}: give a positive number of seconds; None runs without a limit")
    output = None if output_path is None else os.fspath(output_path)
    if options.apply:
        from host_bridge.executor.applying import check_plan

        check_plan(os.fspath(input_path), parameters, timeout, options, stop)
    preparation = Preparation(os.fspath(input_path), output, timeout, options, stop)
    preparation.read(parameters)
    return preparation.write_only() if options.prepare_only else preparation.run()
