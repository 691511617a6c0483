"""Talking with a kernel: one poll loop over its sockets, its exit, a stop request and the clock.

A cell is settled when its reply is here *and* its `idle` has closed its outputs, in either order, or when one of these comes
first: the kernel's death, a deadline, a stop request. The last two interrupt the cell, give it a grace period, then kill.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

import zmq

from host_bridge.errors import KernelStartError
from host_bridge.executor.cell_end import Cause, CellEnd, Deadline, Hang
from host_bridge.executor.clock import RunClock
from host_bridge.executor.kernel import RunningKernel
from host_bridge.executor.messages import KernelMessage, MalformedMessageError, read_message
from host_bridge.executor.stopping import StopRequest

BATCH = 500
"""Messages read before the clock is looked at again, so that a flood can't outrun a deadline…"""

BATCH_SECONDS = 0.1
"""…and for how long, since one message may hold tens of megabytes."""

SECOND_HALF_SECONDS = 10.0
"""How long the reply may come after `idle`, or `idle` after the reply once the outputs are silent."""

PROBE_SECONDS = 1.0  # a busy Python cell answers on the control channel in about 0.12 s
LAST_WORDS_SECONDS = 0.1  # what a dead kernel had sent is in the sockets' buffers
ALIVE_CHECK_SECONDS = 0.25  # where the process's exit is no event
RESUBSCRIBE_SECONDS = 0.05


class Listener(Protocol):
    """Who hears the outputs, and has something to do from time to time."""

    def hear(self, message: KernelMessage) -> None:
        """Take a message of any cell's."""

    def room_for(self, message_parent: str) -> int:
        """How large a message may be before it is cut."""

    def seconds_until_due(self) -> float | None:
        """When `tick` has something to do; None for not until something happens."""

    def tick(self) -> None:
        """Do it."""


@dataclasses.dataclass(slots=True)
class _Execution:
    """One request under way."""

    message_id: str
    deadline: Deadline | None
    reply: dict[str, Any] | None = None
    is_idle: bool = False
    half_done_at: float = 0.0
    ending: CellEnd | None = None  # decided, while the interrupted cell has its grace
    kill_at: float = 0.0
    is_dead: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_dead or (self.reply is not None and self.is_idle)


class Conversation:
    """Executes code in a kernel, one request at a time.

    Args:
        kernel: Running, not necessarily ready.
        listener: Hears the outputs.
        clock: The run's.
        stop: Looked at all the time.
        grace_seconds: What an interrupted cell has to end by itself.
        on_interrupt: Told when a cell is being interrupted, so that what it started elsewhere is cancelled too.
    """

    def __init__(
        self,
        kernel: RunningKernel,
        listener: Listener,
        *,
        clock: RunClock,
        stop: StopRequest,
        grace_seconds: float,
        on_interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._kernel = kernel
        self._listener = listener
        self._clock = clock
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._on_interrupt = on_interrupt
        self._session = kernel.client.session
        self._shell = kernel.client.shell_channel.socket
        self._outputs = kernel.client.iopub_channel.socket
        self._control = kernel.client.control_channel.socket
        self._poller = zmq.Poller()
        for what in (self._shell, self._outputs, stop.fileno(), kernel.exit_descriptor):
            if what is not None:
                self._poller.register(what, zmq.POLLIN)
        self.malformed_messages = 0

    def wait_ready(self, timeout_seconds: float) -> dict[str, Any]:
        """Wait until the kernel answers and its outputs reach us.

        Returns:
            The content of its `kernel_info_reply`.

        Raises:
            KernelStartError: It died, or took too long. After a stop request too: the caller knows.
        """
        deadline = time.monotonic() + timeout_seconds
        requests: set[str] = set()
        information: dict[str, Any] | None = None
        hears_outputs = False
        while not (information and hears_outputs):
            if information is None or not hears_outputs:
                requests = requests or {self._request_information()}
            self._poller.poll(_milliseconds(RESUBSCRIBE_SECONDS if information else ALIVE_CHECK_SECONDS))
            self._stop.drain()
            for message in self._read(self._shell):
                if message.parent_id in requests and message.msg_type == "kernel_info_reply":
                    information = message.content
            hears_outputs = hears_outputs or any(m.parent_id in requests for m in self._read(self._outputs))
            if information and not hears_outputs:
                requests.add(self._request_information())  # the first ones' outputs were before our subscription
            self._check_start(deadline, timeout_seconds)
        self._adapt(information)
        return information

    def execute(
        self, code: str, deadline: Deadline | None, *, on_sent: Callable[[str], None], silent: bool = False
    ) -> CellEnd:
        """Execute code and wait until it is settled.

        Args:
            code: The code.
            deadline: On the run's clock.
            on_sent: Told the request's id, by which its outputs are known.
            silent: Count no execution and keep no history.
        """
        execution = _Execution(self._request_execution(code, silent), deadline)
        on_sent(execution.message_id)
        while not execution.is_over:
            ready = dict(self._poller.poll(self._poll_milliseconds(execution)))
            if self._stop.fileno() in ready:
                self._stop.drain()
            self._take_messages(execution)
            self._listener.tick()
            if self._kernel.exit_descriptor is None or self._kernel.exit_descriptor in ready:
                self._look_at_kernel(execution)
            self._look_at_clock(execution)
        return self._conclude(execution)

    def drain(self) -> None:
        """Take the outputs that are here by now."""
        while messages := self._read(self._outputs):
            for message in messages:
                self._listener.hear(message)

    # requests ------------------------------------------------------------------------------------------------------

    def _request_information(self) -> str:
        return self._send(self._shell, "kernel_info_request", {})

    def _request_execution(self, code: str, silent: bool) -> str:
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": False,
            # With True, the request after a failing one can be answered `aborted` without having run.
            "stop_on_error": False,
        }
        return self._send(self._shell, "execute_request", content)

    def _send(self, socket: zmq.Socket[bytes], kind: str, content: dict[str, Any]) -> str:
        message = self._session.send(socket, kind, content)
        return str(message["header"]["msg_id"])

    def _adapt(self, information: dict[str, Any]) -> None:
        version = str(information.get("protocol_version", "5")).partition(".")[0]
        if version.isdecimal() and int(version) != 5:
            self._session.adapt_version = int(version)

    def _check_start(self, deadline: float, timeout_seconds: float) -> None:
        if not self._kernel.is_alive():
            raise KernelStartError(
                f"the kernel {self._kernel.name!r} died while starting: {self._kernel.describe_end()}; "
                "see `hermes-runtime doctor`"
            )
        if self._stop:
            raise KernelStartError(f"stopped while the kernel was starting: {self._stop.reason}")
        if time.monotonic() > deadline:
            raise KernelStartError(
                f"the kernel {self._kernel.name!r} did not answer within {timeout_seconds:g} s; see `hermes-runtime doctor`"
            )

    # what comes back -----------------------------------------------------------------------------------------------

    def _read(self, socket: zmq.Socket[bytes]) -> list[KernelMessage]:
        messages = []
        for _ in range(BATCH):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            try:
                messages.append(read_message(self._session, frames, max_bytes=self._listener.room_for("")))
            except MalformedMessageError:
                self.malformed_messages += 1
        return messages

    def _take_messages(self, execution: _Execution) -> None:
        heard = 0
        until = time.monotonic() + BATCH_SECONDS
        for _ in range(BATCH):
            try:
                frames = self._outputs.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            heard += 1
            self._take_output(execution, frames)
            if time.monotonic() > until:
                break
        if heard and execution.reply is not None:
            execution.half_done_at = time.monotonic()
        for message in self._read(self._shell):
            if message.parent_id == execution.message_id and message.msg_type == "execute_reply":
                execution.reply = message.content
                execution.half_done_at = time.monotonic()

    def _take_output(self, execution: _Execution, frames: Any) -> None:
        try:
            message = read_message(self._session, frames, max_bytes=self._listener.room_for(execution.message_id))
        except MalformedMessageError:
            self.malformed_messages += 1
            return
        self._listener.hear(message)
        if message.parent_id != execution.message_id or message.msg_type != "status":
            return
        if message.content.get("execution_state") == "idle":
            execution.is_idle = True
            execution.half_done_at = time.monotonic()

    # what else happens ---------------------------------------------------------------------------------------------

    def _poll_milliseconds(self, execution: _Execution) -> int:
        waits = [60.0]
        if self._kernel.exit_descriptor is None:
            waits.append(ALIVE_CHECK_SECONDS)
        if (due := self._listener.seconds_until_due()) is not None:
            waits.append(due)
        if execution.half_done_at:
            waits.append(execution.half_done_at + SECOND_HALF_SECONDS - time.monotonic())
        if execution.ending is not None:
            waits.append(execution.kill_at - time.monotonic())
        elif execution.deadline is not None:
            waits.append(execution.deadline.seconds - self._clock.seconds())
        return _milliseconds(min(waits)) + 1

    def _look_at_kernel(self, execution: _Execution) -> None:
        if execution.is_over or self._kernel.is_alive():
            return
        last_words = zmq.Poller()
        last_words.register(self._shell, zmq.POLLIN)
        last_words.register(self._outputs, zmq.POLLIN)
        until = time.monotonic() + LAST_WORDS_SECONDS
        while not execution.is_over and (left := until - time.monotonic()) > 0 and last_words.poll(_milliseconds(left)):
            self._take_messages(execution)
        execution.is_dead = True

    def _look_at_clock(self, execution: _Execution) -> None:
        if execution.is_over:
            return
        now = time.monotonic()
        if execution.ending is not None:
            if execution.ending.is_killed:
                execution.is_dead = now >= execution.kill_at  # not even SIGKILL: the system holds it in a call
            elif now >= execution.kill_at or self._stop.is_urgent:
                self._kill(execution)
        elif self._stop:
            self._interrupt(execution, CellEnd(Cause.STOPPED, detail=self._stop.reason))
        elif execution.deadline is not None and self._clock.seconds() >= execution.deadline.seconds:
            hang = self._diagnose()
            text = f"{execution.deadline.description}: {hang.explanation}"
            self._interrupt(execution, CellEnd(Cause.TIMED_OUT, detail=text, hang=hang.value))
        elif execution.half_done_at and now >= execution.half_done_at + SECOND_HALF_SECONDS:
            self._settle_half(execution)

    def _interrupt(self, execution: _Execution, ending: CellEnd) -> None:
        execution.ending = ending
        # Nothing frozen hears an interrupt; it would be delivered when somebody wakes it, into another cell.
        patience = 0.0 if ending.hang == Hang.FROZEN or self._stop.is_urgent else self._grace_seconds
        execution.kill_at = time.monotonic() + patience
        if patience:
            self._kernel.interrupt()
        self._on_interrupt()

    def _kill(self, execution: _Execution) -> None:
        assert execution.ending is not None
        execution.ending.is_killed = True
        execution.kill_at = time.monotonic() + SECOND_HALF_SECONDS
        self._kernel.kill()

    def _settle_half(self, execution: _Execution) -> None:
        """One half of the answer came, the other is lost."""
        if execution.reply is None:
            execution.reply = {"status": "lost"}
        execution.is_idle = True

    def _conclude(self, execution: _Execution) -> CellEnd:
        if execution.ending is not None:
            execution.ending.reply = execution.reply
            return execution.ending
        if execution.reply is not None:
            return CellEnd(Cause.REPLIED, execution.reply)
        return CellEnd(Cause.DIED, detail=self._kernel.describe_end())

    # a hang --------------------------------------------------------------------------------------------------------

    def _diagnose(self) -> Hang:
        """Tell what a kernel that is late is doing, in about a second at most."""
        answered = self._probe_control()
        if answered:
            return Hang.BUSY
        return Hang.NATIVE if self._probe_heartbeat() else Hang.FROZEN

    def _probe_control(self) -> bool:
        request = self._send(self._control, "kernel_info_request", {})
        until = time.monotonic() + PROBE_SECONDS
        while (left := until - time.monotonic()) > 0 and self._control.poll(_milliseconds(left)):
            if any(message.parent_id == request for message in self._read(self._control)):
                return True
        return False

    def _probe_heartbeat(self) -> bool:
        with self._kernel.client.connect_hb() as socket:
            socket.linger = 0
            socket.send(b"ping")
            return bool(socket.poll(_milliseconds(PROBE_SECONDS)))


def _milliseconds(seconds: float) -> int:
    return max(0, int(1000 * seconds))
