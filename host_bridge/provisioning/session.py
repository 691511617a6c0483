"""A bridge session, seen from the host application: opens it, hears it, ends it.

    start -> wait_ready -> kernel_starting (once per kernel process) -> cell_started / cell_settled … -> close

Every method may be called from any thread. If the session process dies, `alive` turns False and `failure` says what is known;
nothing is raised elsewhere.
"""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

from host_bridge import errors
from host_bridge.control import (
    Asked,
    CallSettled,
    CellSettled,
    CellStarted,
    ControlMessage,
    End,
    Ended,
    HostToolCancel,
    HostToolRequest,
    KernelStarting,
    Open,
    ProvideTools,
    QuestionOver,
    Ready,
    Refused,
    SecretRequest,
    SessionConfig,
)
from host_bridge.errors import ConfigurationError, HostBridgeError, SessionError
from host_bridge.provisioning.callbacks import Callbacks, describe
from host_bridge.provisioning.channel import SessionChannel
from host_bridge.provisioning.options import CallListener, HostTool, Prompter

MAX_KEPT_CALLS = 10_000  # for a report; a session that makes more has a log
START_SECONDS = 2.0
END_SECONDS = 8.0  # it gives its calls 4 s, and they give their commands 2

_log = logging.getLogger(__name__)


class BridgeSession:
    """One session.

    Args:
        prompter: Asks a person. None means nobody can be asked.
        on_call: Hears of every settled call, in the reading thread: it must be quick.
        tools: Tools the host application provides.
        secrets: Where the values of the session's secrets are, by name; see `host_bridge.secrets.sources`.

    Attributes:
        config: What the session was started with; None before that.
        ready: The session's first words, None before them.
        ended: Its last words, None before them.
        failure: Why it could not be opened or ended before its time; None if neither.
    """

    def __init__(
        self,
        *,
        prompter: Prompter | None = None,
        on_call: CallListener | None = None,
        tools: Sequence[HostTool] = (),
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.config: SessionConfig | None = None
        self.ready: Ready | None = None
        self.ended: Ended | None = None
        self.failure: HostBridgeError | None = None
        self._on_call = on_call
        self._tools = tuple(tools)
        self._callbacks = Callbacks(self._send, prompter, tools, secrets)
        self._calls: collections.deque[CallSettled] = collections.deque(maxlen=MAX_KEPT_CALLS)
        self._changed = threading.Condition()
        self._closing = threading.Lock()
        self._channel: SessionChannel | None = None
        self._asked_to_end = False
        self._over = False

    @property
    def session_id(self) -> str:
        """Names the session in the audit log."""
        return self.config.session_id if self.config else ""

    @property
    def pid(self) -> int | None:
        """The session process, if it is this process's child."""
        return self._channel.pid if self._channel else None

    @property
    def alive(self) -> bool:
        """Whether the session can be expected to answer."""
        return self._channel is not None and not self._over and self.failure is None

    @property
    def calls(self) -> list[CallSettled]:
        """The settled calls, oldest first; of a very long session the last ten thousand."""
        with self._changed:
            return list(self._calls)

    def start(self, config: SessionConfig, *, supervisor: str = "") -> None:
        """Start a session process and tell it what it is; doesn't wait for it.

        Args:
            config: What the session is.
            supervisor: Path of a supervisor's socket, which then starts the process; empty to start it from here.

        Raises:
            SessionError: It can't be started, or it was before.
        """
        with self._closing:  # a start that is given up on meanwhile must not leave a process
            if self.config is not None or self._asked_to_end:
                raise SessionError("a session object starts one session; make another")
            self.config = config
            self._channel = SessionChannel(supervisor, on_message=self._hear, on_closed=self._conclude)
        try:
            self._send(Open(config=config))
            if self._tools:
                self._send(ProvideTools(tools=describe(self._tools)))
        except BaseException:
            self.wait_over(START_SECONDS)  # why it is gone says more than that it is
            self.close()
            if self.failure:
                raise self.failure from None
            raise

    def wait_ready(self, timeout_seconds: float) -> str:
        """Wait until the session serves.

        Returns:
            The endpoint.

        Raises:
            HostBridgeError: It was refused: of the class that says why, such as `PolicyError` with its `path` and `key`; or
                `SessionError` if its process died or the time was up.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.ready or self.failure or self._over, timeout_seconds)
            if self.failure:
                raise self.failure
            if self._over:
                raise SessionError("the session was ended before it was ready")
            if self.ready:
                return self.ready.endpoint
        output = self._channel.last_output if self._channel else ""
        said = f"; it wrote: {output}" if output else ""
        raise SessionError(
            f"the session process was not ready within {timeout_seconds:g} s{said}; if the machine is slow, raise "
            "session.ready_timeout_seconds in the configuration"
        )

    def kernel_starting(self, public_key: str) -> None:
        """Say that a kernel process with this CURVE key is about to start; earlier keys are worth nothing from now on.

        Raises:
            SessionError: The session is over.
        """
        self._send(KernelStarting(public_key=public_key))

    def cell_started(self, index: int, cell_id: str = "", narrow: Sequence[str] = (), source_digest: str = "") -> None:
        """Say which cell is about to run. Call it before sending the execution request.

        Args:
            index: Which one.
            cell_id: Its id in the notebook.
            narrow: Rules: its calls are allowed nothing else. Rules that can't be meant end the session.
            source_digest: SHA-256 of its source, for the tape.

        Raises:
            SessionError: The session is over.
        """
        self._send(CellStarted(index=index, cell_id=cell_id, narrow=tuple(narrow), source_digest=source_digest))

    def cell_settled(self, index: int, cancel: bool = False) -> None:
        """Say that a cell is done; with `cancel`, calls it left open are cancelled.

        Raises:
            SessionError: The session is over.
        """
        self._send(CellSettled(index=index, cancel=cancel))

    def wait_over(self, timeout_seconds: float) -> bool:
        """Wait until the session is over, for whatever reason. Gives whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, timeout_seconds)

    def close(self) -> None:
        """End the session and wait, for a bounded time, until its process is gone. May be called again."""
        with self._closing:
            self._asked_to_end = True
            if self._channel is None:
                return
            self._ask_to_end()
            self._callbacks.cancel_all()
            self._channel.close()
            self._channel = None

    def __enter__(self) -> BridgeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask_to_end(self) -> None:
        if self._over or self.failure:
            return
        try:
            self._send(End())
        except SessionError as error:
            _log.debug("%s", error)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._over or self.ended, END_SECONDS)

    def _send(self, message: ControlMessage) -> None:
        channel = self._channel
        if channel is None:
            raise self.failure or SessionError("the session is over")
        try:
            channel.send(message)
        except SessionError:
            # What ended the session says more than that nothing can be sent.
            if self.failure:
                raise self.failure from None
            raise

    # in the reading thread ---------------------------------------------------------------------------------------------

    def _hear(self, message: ControlMessage) -> None:
        match message:
            case Asked():
                self._callbacks.ask(message)
            case QuestionOver():
                self._callbacks.question_over(message)
            case HostToolRequest():
                self._callbacks.call(message)
            case SecretRequest():
                self._callbacks.read_secret(message)
            case HostToolCancel():
                self._callbacks.cancel(message.call_id)
            case CallSettled():
                self._note_call(message)
            case _:
                self._note_state(message)

    def _note_call(self, call: CallSettled) -> None:
        with self._changed:
            self._calls.append(call)
        if self._on_call is not None:
            try:
                self._on_call(call)
            except Exception:
                _log.exception("the listener for settled calls failed")

    def _note_state(self, message: ControlMessage) -> None:
        with self._changed:
            match message:
                case Ready():
                    self.ready = message
                case Refused():
                    self.failure = refusal(message)
                case Ended():
                    self.ended = message
                    if message.reason and not self._asked_to_end:
                        self.failure = SessionError(f"the bridge session ended: {message.reason}")
                case _:
                    _log.warning("the session process sent %s, which only a host may send", type(message).__name__)
            self._changed.notify_all()

    def _conclude(self, known: str) -> None:
        self._callbacks.cancel_all()
        with self._changed:
            self._over = True
            if not (self.failure or self.ended or self._asked_to_end):
                self.failure = SessionError(f"the bridge session ended unexpectedly: {known}")
            self._changed.notify_all()
        if self.failure and not self._asked_to_end:
            _log.warning("session %s: %s", self.session_id, self.failure)


def refusal(message: Refused) -> HostBridgeError:
    """Give the exception a refusal stands for."""
    kind = getattr(errors, message.error, SessionError)
    if not (isinstance(kind, type) and issubclass(kind, HostBridgeError)):
        kind = SessionError
    if issubclass(kind, ConfigurationError):
        return kind(message.message, path=message.path, key=message.key)
    return kind(message.message)
