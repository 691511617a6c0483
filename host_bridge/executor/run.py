"""Running a notebook's cells in a kernel, and judging how each of them ended."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from nbformat import NotebookNode
from papermill.log import logger

from host_bridge.errors import HostBridgeError, KernelStartError, SessionError
from host_bridge.executor.cell_end import Cause, CellEnd, Deadline
from host_bridge.executor.cell_tags import narrowing_of
from host_bridge.executor.clock import RunClock
from host_bridge.executor.conversation import Conversation
from host_bridge.executor.judging import STATE_BY_CAUSE, Failure, as_list, judge
from host_bridge.executor.kernel import RunningKernel
from host_bridge.executor.logging_outputs import OutputLog
from host_bridge.executor.messages import KernelMessage
from host_bridge.executor.outputs import NotebookOutputs
from host_bridge.executor.parameter_source import render_assignments
from host_bridge.executor.record import RunRecord
from host_bridge.executor.redaction import Redactor
from host_bridge.executor.report import FailedCell, count_calls
from host_bridge.executor.settings import RunSettings
from host_bridge.executor.states import State
from host_bridge.executor.stopping import BY_PERSON, StopRequest
from host_bridge.tape.format import sha256

ALLOWED_ERROR_TAG = "raises-exception"  # nbclient's, pytest's for notebooks


class NotebookRun:
    """One execution of a notebook.

    Args:
        record: Holds the notebook and is told everything.
        settings: How to run it.
        kernel: Running, not necessarily ready. It is ended with the run.
        clock: Started when the run was.
        stop: Ends the run before its time.
    """

    def __init__(
        self, record: RunRecord, settings: RunSettings, *, kernel: RunningKernel, clock: RunClock, stop: StopRequest
    ) -> None:
        self._record = record
        self._report = record.report
        self._settings = settings
        self._kernel = kernel
        self._clock = clock
        self._stop = stop
        self._redactor = Redactor(settings.secrets)
        self._running: int | None = None
        self._was_refused = False
        self._outputs = NotebookOutputs(
            record.nb,
            kernel.client,
            limits=settings.limits,
            redactor=self._redactor,
            on_change=record.saver.touch,
            log=self._output_log(),
            **settings.client_settings,
        )
        record.attach(self._outputs.bring_up_to_date)
        self._conversation = Conversation(
            kernel,
            self,
            clock=clock,
            stop=stop,
            grace_seconds=settings.grace_seconds,
            on_interrupt=lambda: self._mark_settled(cancel=True),
        )

    def execute(self) -> None:
        """Run the cells until the end, or the first that doesn't succeed; what came of it is in the report.

        Raises:
            KernelStartError: The kernel did not come up.
        """
        self._report.kernel = self._kernel.name
        self._describe_session()
        try:
            self._make_ready()
            self._outputs.call_hook("on_notebook_start", notebook=self._record.nb)
            self._run_cells()
            self._conversation.drain()
        finally:
            self._end_kernel()
            self._describe_session()
        self._outputs.set_widgets_metadata()
        self._add_warnings()
        self._heed_person()
        if self._report.state is State.RUNNING:
            self._report.state = State.SUCCEEDED
        else:
            self._outputs.call_hook("on_notebook_error", notebook=self._record.nb)
        self._outputs.call_hook("on_notebook_complete", notebook=self._record.nb)

    # the listener of the conversation ----------------------------------------------------------------------------------

    def hear(self, message: KernelMessage) -> None:
        """Take a message."""
        self._outputs.hear(message)

    def room_for(self, message_parent: str) -> int:
        """How large a message may be."""
        return self._outputs.room_for(message_parent)

    def seconds_until_due(self) -> float | None:
        """When something is to be saved."""
        return self._record.saver.seconds_until_due()

    def tick(self) -> None:
        """Save what is due."""
        self._record.autosave_cell()

    # start and end -----------------------------------------------------------------------------------------------------

    def _make_ready(self) -> None:
        timeout = self._settings.start_timeout_seconds
        if self._settings.run_timeout_seconds is not None:
            timeout = min(timeout, max(0.0, self._settings.run_timeout_seconds - self._clock.seconds()))
        try:
            information = self._conversation.wait_ready(timeout)
        except KernelStartError as error:
            if self._stop:
                self._note_stop()
                return
            if self._is_late():
                limit = self._settings.run_timeout_seconds
                self._report.fail(
                    State.TIMED_OUT, f"the run's {limit:g} s were over while the kernel was still starting"
                )
                return
            self._report.fail(State.FAILED, str(error))
            raise
        language = information.get("language_info")
        if isinstance(language, dict) and isinstance(language.get("name"), str):
            # Asked at the start, when a kernel that doesn't answer can be told from a notebook that is done.
            self._record.nb.metadata["language_info"] = language
        logger.info("Executing notebook with kernel: %s", self._kernel.name)

    def _end_kernel(self) -> None:
        """End the kernel, saving what is known while it ends."""
        if self._settings.shutdown_now or self._report.state not in (State.RUNNING, State.FAILED, State.DENIED):
            self._kernel.kill()
        else:
            self._kernel.request_shutdown()
        self._record.save_now()
        self._kernel.close()
        if self._settings.on_session_over is not None and self._kernel.session is not None:
            self._settings.on_session_over(self._kernel.session)

    def _describe_session(self) -> None:
        session = self._kernel.session
        if session is None:
            return
        self._report.session_id = session.session_id
        self._report.tool_calls = count_calls(session.calls)
        if session.config is not None:
            self._report.principal = session.config.principal
            self._report.profile = session.config.profile
            self._report.confinement = session.config.confinement
            self._report.kernel_limits = session.config.kernel_limits

    def _add_warnings(self) -> None:
        if self._conversation.malformed_messages:
            self._report.warn(f"{self._conversation.malformed_messages} unreadable messages of the kernel were ignored")
        if self._outputs.ignored_widget_messages:
            self._report.warn(f"{self._outputs.ignored_widget_messages} widget messages over the limit were ignored")
        session = self._kernel.session
        if session is not None and session.failure is not None:
            self._report.warn(str(session.failure))
        if session is None and any(map(narrowing_of, self._record.nb.cells)):
            self._report.warn(f"tags that narrow cells mean nothing to the kernel {self._kernel.name}: it has no tools")

    def _output_log(self) -> OutputLog | None:
        files = {"stdout": self._settings.stdout_file, "stderr": self._settings.stderr_file}
        if not self._settings.log_output and not any(files.values()):
            return None
        return OutputLog(logger if self._settings.log_output else None, files, self._redactor)

    # cells -------------------------------------------------------------------------------------------------------------

    def _run_cells(self) -> None:
        secrets_after = self._settings.parameters_are_set(self._record.nb)
        if secrets_after is None and not self._give_secrets():
            return
        for index, cell in enumerate(self._record.nb.cells):
            if not self._may_go_on(index):
                return
            self._record.cell_start(cell, index)
            self._outputs.call_hook("on_cell_start", cell=cell, cell_index=index)
            state = State.SUCCEEDED
            if cell.cell_type == "code" and cell.source.strip():
                state = self._run_cell(cell, index)
            self._record.cell_end(cell, index, state)
            if self._is_over(state):
                return
            if index == secrets_after and not self._give_secrets():
                return

    def _give_secrets(self) -> bool:
        """Set the secret parameters in the kernel, by a request that no notebook keeps. Gives whether it has them."""
        if not self._settings.secrets:
            return True
        code = render_assignments(self._settings.secrets)
        end = self._conversation.execute(code, self._deadline(), on_sent=lambda message_id: None, silent=True)
        if end.cause is not Cause.REPLIED:
            self._report.fail(STATE_BY_CAUSE[end.cause], end.explanation)
        elif (end.reply or {}).get("status") != "ok":
            name = (end.reply or {}).get("ename", "no answer")
            self._report.fail(State.FAILED, f"the kernel did not take the secret parameters: {name}")
        else:
            return True
        return False

    def _may_go_on(self, index: int) -> bool:
        if self._stop:
            self._note_stop()
            return False
        if self._is_late():
            limit = self._settings.run_timeout_seconds
            self._report.fail(State.TIMED_OUT, f"the run's {limit:g} s were over before cell {index}")
            return False
        return True

    def _is_late(self) -> bool:
        limit = self._settings.run_timeout_seconds
        return limit is not None and self._clock.seconds() >= limit

    def _is_over(self, state: State) -> bool:
        """Whether a cell that ended so was the last one to run."""
        if self._report.ended_early_at is not None:
            return True
        if state in (State.FAILED, State.DENIED):
            return not self._settings.allow_errors
        return state not in (State.SUCCEEDED, State.NOT_RUN) or self._was_refused

    def _run_cell(self, cell: NotebookNode, index: int) -> State:
        if self._outputs.skip_cells_with_tag in _tags(cell):
            return State.NOT_RUN
        self._outputs.call_hook("on_cell_execute", cell=cell, cell_index=index)
        self._report.cells_executed += 1
        with self._marked(cell, index):
            end = self._send(cell, index)
            if end.cause is Cause.REPLIED and end.reply is not None and end.reply.get("status") == "aborted":
                end = self._send(cell, index)  # it never ran, so running it is not running it twice
        state = self._judge(cell, index, end)
        self._outputs.settle(index)
        self._outputs.call_hook("on_cell_complete", cell=cell, cell_index=index)
        reply = {"content": end.reply or {}}
        self._outputs.call_hook("on_cell_executed", cell=cell, cell_index=index, execute_reply=reply)
        if reply["content"].get("status") == "error":
            self._outputs.call_hook("on_cell_error", cell=cell, cell_index=index, execute_reply=reply)
        return state

    def _send(self, cell: NotebookNode, index: int) -> CellEnd:
        return self._conversation.execute(
            self._record.sources[index],
            self._deadline(cell),
            on_sent=lambda message_id: self._outputs.expect(message_id, index),
        )

    def _deadline(self, cell: NotebookNode | None = None) -> Deadline | None:
        deadlines = []
        limit = self._settings.cell_timeout_seconds
        if self._outputs.timeout_func is not None and cell is not None:
            limit = self._outputs.timeout_func(cell)
        if limit is not None and limit > 0:  # nbclient's -1 is none
            text = f"the cell did not end within its {limit:g} s"
            deadlines.append(Deadline(self._clock.seconds() + limit, text))
        if (limit := self._settings.run_timeout_seconds) is not None:
            deadlines.append(Deadline(limit, f"the run did not end within its {limit:g} s"))
        return min(deadlines, key=lambda deadline: deadline.seconds, default=None)

    # what came of a cell -----------------------------------------------------------------------------------------------

    def _judge(self, cell: NotebookNode, index: int, end: CellEnd) -> State:
        judgement = judge(end, allows=functools.partial(self._allows, cell))
        if end.cause is Cause.STOPPED:
            self._note_stop()
        if judgement.ends_notebook:
            self._report.ended_early_at = index
        if judgement.state is State.NOT_RUN:
            self._was_refused = True
        if judgement.failure is not None:
            self._note_failure(cell, index, judgement.failure, end.hang)
        return judgement.state

    def _allows(self, cell: NotebookNode, name: str) -> bool:
        is_allowed = ALLOWED_ERROR_TAG in _tags(cell) or name in self._outputs.allow_error_names
        return is_allowed and not self._outputs.force_raise_errors

    def _note_failure(self, cell: NotebookNode, index: int, failure: Failure, hang: str) -> None:
        if not failure.is_reported:
            self._outputs.add_error(index, failure.ename, failure.evalue)
        self._report.fail(failure.state)
        if self._report.failed_cell is not None:
            return
        self._report.failed_cell = FailedCell(
            index=index,
            cell_id=cell.get("id"),
            source=cell.source,
            state=failure.state,
            ename=failure.ename,
            evalue=self._redactor.redact(failure.evalue),
            traceback=[self._redactor.redact(line) for line in failure.traceback],
            execution_count=cell.execution_count,
            hang=hang,
        )

    def _note_stop(self) -> None:
        self._report.stopped_by = self._stop.signal_number
        self._report.fail(State.CANCELLED, self._stop.reason)

    def _heed_person(self) -> None:
        """A run that a person stopped is cancelled, even if its last cell had ended before we heard.

        All is heard by now: the session is over.
        """
        if self._stop.reason == BY_PERSON and self._report.state in (State.RUNNING, State.DENIED):
            self._report.state = State.CANCELLED
            self._report.error = BY_PERSON

    # the bridge --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _marked(self, cell: NotebookNode, index: int) -> Iterator[None]:
        """Have the bridge know which cell runs."""
        session = self._kernel.session
        self._running = index
        if session is not None:
            with _session_may_be_over():
                source_digest = sha256(self._record.sources[index].encode("utf-8", "backslashreplace"))
                session.cell_started(index, str(cell.get("id", "")), narrowing_of(cell), source_digest)
        try:
            yield
        finally:
            self._mark_settled()

    def _mark_settled(self, *, cancel: bool = False) -> None:
        session, index = self._kernel.session, self._running
        if session is None or index is None:
            return
        self._running = None
        with _session_may_be_over():
            session.cell_settled(index, cancel)


@contextlib.contextmanager
def _session_may_be_over() -> Iterator[None]:
    """A bridge that is gone fails the cell's calls, with an error of their own; cells that make none go on."""
    with contextlib.suppress(SessionError, HostBridgeError):
        yield


def _tags(cell: NotebookNode) -> list[Any]:
    return as_list(cell.metadata.get("tags"))
