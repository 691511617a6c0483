"""One bridge session, as a process: `python -m host_bridge.bridge --control-fd N`.

The one place that knows every part. It reads its configuration from the control channel, builds policy, audit log, tools,
dispatcher and server, says `Ready`, serves until the channel says `End` or closes, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import collections
import gc
import os
import signal
import socket
import sys
import time

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import ToolReply
from host_bridge import control
from host_bridge.approvals.desk import Desk
from host_bridge.approvals.rules import PolicyRules
from host_bridge.audit.log import AuditLog
from host_bridge.audit.records import KernelStarted, PeerRefused, SessionClosed, SessionOpened
from host_bridge.budgets import check_tools
from host_bridge.calls import RunningCall
from host_bridge.dispatcher import Dispatcher
from host_bridge.errors import AuditError, ConfigurationError, HostBridgeError, SessionError, TapeError
from host_bridge.memory import limit_memory, watch_memory
from host_bridge.policy.loading import Policy, load_policy
from host_bridge.sandbox.islands import protected_files
from host_bridge.server import Server
from host_bridge.sessions import SessionState
from host_bridge.tape.deck import Deck
from host_bridge.tools.command_sandbox import PROTECTED_PATHS, READS_ONLY
from host_bridge.tools.host_provided import HostCalls, HostTool
from host_bridge.tools.registry import load_tools

END_SECONDS = 4.0  # for running calls to stop; a command gets TERM, two seconds, then KILL
LAST_WORDS_SECONDS = 2.0  # for a host application that is slow to read them
EXIT_MEMORY = 70  # sysexits' EX_SOFTWARE
REPORT_SECONDS = 0.05  # a person sees no delay, and a loop of calls is told of in a few messages
REPORT_BATCH = 256
MAX_REPORTS = 10_000  # settled calls kept for a host application that doesn't read its channel…
MAX_UNREAD_BYTES = 256 * 2**10  # …beyond this much already written


class Bridge:
    """Ties one session's parts together.

    Args:
        channel: The connected control channel.
        config: What the session is.
    """

    def __init__(self, channel: socket.socket, config: control.SessionConfig, decoder: control.Decoder) -> None:
        self._channel = channel
        self._decoder = decoder
        self._config = config
        self._writer = control.Writer(channel)
        self._reports: collections.deque[control.CallSettled] = collections.deque(maxlen=MAX_REPORTS)
        self._reported = 0.0
        self._reason = ""
        self._calls = self._denied = 0
        self._session = SessionState(config)
        self._session.resources["original_rlimits"] = limit_memory(config.memory_bytes)
        # What commands may not change, where they are confined: the same as the kernel.
        self._session.resources[PROTECTED_PATHS] = protected_files(config)
        self._session.resources[READS_ONLY] = config.profile == "read-only"
        self._registry = load_tools()
        check_tools(config.budgets, {*self._registry, *config.host_tools})
        policy = self._load_policy()
        self._host_calls = HostCalls(self._writer.put)
        self._log = AuditLog.open(
            config.audit_path,
            secrets=config.secrets,
            arguments=config.audit_arguments,
            rotate_bytes=config.audit_rotate_bytes,
        )
        if config.audit_heads:
            self._log.keep_heads(config.audit_heads, config.session_id)
        self._deck = Deck(config, policy.digest) if config.tape.path or config.tape.earlier else None
        self._session.vault.open(
            known_tools=(*self._registry, *config.host_tools), send=self._writer.put, learn=self._learn
        )
        self._log.append(self._opening(policy))
        self._server = Server(self._session, self._registry, on_settled=self._report, on_refused=self._record_refusal)
        known_tools = frozenset((*self._registry, *config.host_tools))
        rules = PolicyRules(config, self._load_policy, known_tools) if config.user_policy_path else None
        self._desk = Desk(self._session, self._log, send=self._writer.put, line=self._server, rules=rules)
        self._session.budgets.observe("pending_asks", lambda: self._desk.waiting)
        self._server.dispatcher = self._dispatcher = Dispatcher(
            self._session,
            self._registry,
            policy,
            self._log,
            desk=self._desk,
            line=self._server,
            settle=self._server.settle,
            deck=self._deck,
        )

    def _learn(self, secret: str) -> None:
        """Keep a secret that was just read out of all records."""
        self._log.hide(secret)
        if self._deck is not None:
            self._deck.hide(secret)

    def _load_policy(self, further: str = "") -> Policy:
        """Read the rules in force, with `further` ones as TOML text by the user."""
        config = self._config
        return load_policy(
            profile=config.profile,
            paths=config.policy_paths,
            texts=(*config.policy_texts, *([("answer", further)] if further else [])),
            notebook_permissions=config.notebook_permissions,
            declaration_accepted=config.declaration_accepted,
            principal=config.principal,
            workspace=config.workspace,
            protected_paths=tuple(
                filter(
                    None,
                    (
                        config.notebook,
                        config.audit_path,
                        config.audit_heads,
                        config.grants_path,
                        config.accepted_path,
                        config.tape.path,
                    ),
                )
            ),
            known_tools=(*self._registry, *config.host_tools),
        )

    def _opening(self, policy: Policy) -> SessionOpened:
        config = self._config
        return SessionOpened(
            session_id=config.session_id,
            principal=config.principal,
            profile=config.profile,
            workspace=config.workspace,
            notebook=config.notebook,
            notebook_digest=config.notebook_digest,
            declaration=_declaration_state(config),
            run_id=config.run_id,
            confinement=config.confinement,
            kernel_limits=config.kernel_limits,
            policy_digest=policy.digest,
        )

    def serve(self) -> None:
        """Serve until the host application, a signal or the kernel's excess ends the session."""
        # Ctrl-C at a terminal is the host application's to handle. Not SIG_IGN, which every command would inherit.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop("the session process was told to end (SIGTERM)"))
        watching = watch_memory(self._config.memory_bytes, self._outgrown)
        self._writer.put(control.Ready(endpoint=self._server.endpoint))
        gc.freeze()  # what was imported lives as long as the process; the collector needn't visit it
        gc.set_threshold(20_000, 50, 100)  # a call makes no cycles worth looking for every dozen calls
        self._server.run(self._channel.fileno(), self._read_control, self._idle)
        watching.set()
        self._finish()

    def _idle(self) -> float | None:
        waits = (self._send_reports(), self._desk.tick(), self._log.keep_head(), self._tick_tape())
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _tick_tape(self) -> float | None:
        try:
            return self._deck.tick() if self._deck is not None else None
        except TapeError as error:
            self._stop(str(error))  # replies that have left are not on the tape
            return None

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._server.stop()
        self._server.wake()

    def _finish(self) -> None:
        """End what runs, record the end, give everything back."""
        self._server.end_calls(ErrorCode.SESSION_ENDED)
        self._dispatcher.close()
        self._session.close()
        deadline = time.monotonic() + END_SECONDS
        while self._server.open_calls and time.monotonic() < deadline:
            self._server.turn(0.05)
        self._server.close()
        self._close_log()
        self._flush_reports()
        self._say_ended()

    def _close_tape(self) -> str:
        """Finish the tape and give its root hash."""
        try:
            return self._deck.close() if self._deck is not None else ""
        except TapeError as error:
            print(error, file=sys.stderr, flush=True)
            return ""

    def _say_ended(self) -> None:
        self._writer.put(
            control.Ended(
                reason=self._reason,
                calls=self._calls,
                denied=self._denied,
                tape_root=self._close_tape(),
                divergences=tuple(self._deck.divergences) if self._deck is not None else (),
            )
        )
        self._writer.flush(LAST_WORDS_SECONDS)

    def _close_log(self) -> None:
        try:
            self._log.append(SessionClosed(reason=self._reason, calls=self._calls, denied=self._denied))
        except AuditError as error:
            print(error, file=sys.stderr, flush=True)  # the log then verifies as "not closed", which is the truth
        self._log.close()

    def _outgrown(self, size: int) -> None:
        """The kernel's messages made this process too large: end it from the watchdog's thread, since the serving thread
        may be the one that can't be reached."""
        self._reason = (
            f"the kernel made its bridge hold {size >> 20} MiB, over the limit of {self._config.memory_bytes >> 20} MiB; "
            "the session was ended"
        )
        self._session.close()
        self._close_log()
        self._say_ended()
        os._exit(EXIT_MEMORY)

    # the control channel -----------------------------------------------------------------------------------------------

    def _read_control(self) -> None:
        try:
            data = self._channel.recv(1 << 20)
            for message in self._decoder.feed(data):
                self._handle(message)
        except (OSError, HostBridgeError) as error:
            self._stop(f"the host application can't be served any more: {error}")
            return
        if not data:
            self._stop("the host application is gone")

    def _handle(self, message: control.ControlMessage) -> None:
        match message:
            case control.CellStarted():
                self._dispatcher.narrowings.enter_cell(message.narrow)
                self._session.cell_index = message.index
                if self._deck is not None:
                    self._deck.cell_started(message)
            case control.CellSettled():
                self._flush_reports()
                if self._session.cell_index == message.index:
                    self._session.cell_index = None
                    self._dispatcher.narrowings.leave_cell()
                if message.cancel:
                    self._server.cancel_cell(message.index)
                if self._deck is not None:
                    self._deck.cell_settled(message.index, cancel=message.cancel)
            case control.KernelStarting():
                self._log.append(KernelStarted(public_key=message.public_key))
                self._server.accept_key(message.public_key)
            case control.Answer():
                self._desk.answer(message)
            case control.HostToolReply():
                self._host_calls.answer(message)
            case control.SecretReply():
                self._session.vault.answer(message)
            case control.ProvideTools():
                for tool in message.tools:
                    self._registry.add(
                        HostTool(
                            tool["name"],
                            tool.get("summary", ""),
                            self._host_calls,
                            gives_untrusted=bool(tool.get("gives_untrusted", False)),
                        )
                    )
            case control.End():
                self._server.stop()
            case _:
                self._stop(f"the host application sent {type(message).__name__}, which only a session may send")

    # what happens to calls ---------------------------------------------------------------------------------------------

    def _report(self, call: RunningCall, reply: ToolReply) -> None:
        failure = reply.failure
        outcome = failure.code.value if failure else "ok"
        self._calls += 1
        self._denied += outcome == ErrorCode.DENIED
        self._reports.append(
            control.CallSettled(
                call_id=call.call_id,
                tool=call.request.tool,
                outcome=outcome,
                cell_index=call.cell_index,
                duration_seconds=time.monotonic() - call.started,
                rule_id=failure.rule_id if failure else "",
            )
        )

    def _send_reports(self) -> float | None:
        """Tell the host application of settled calls, some at a time: telling must not stand between a cell's calls."""
        if not self._reports:
            self._writer.flush()
            return REPORT_SECONDS if self._writer.pending else None
        due = self._reported + REPORT_SECONDS - time.monotonic()
        if due > 0 and len(self._reports) < REPORT_BATCH:
            return due
        self._flush_reports()
        return REPORT_SECONDS if self._reports or self._writer.pending else None

    def _flush_reports(self) -> None:
        self._reported = time.monotonic()
        self._writer.flush()
        while self._reports and self._writer.pending < MAX_UNREAD_BYTES:
            batch = [self._reports.popleft() for _ in range(min(REPORT_BATCH, len(self._reports)))]
            self._writer.put(*batch)

    def _record_refusal(self, code: ErrorCode, text: str) -> None:
        try:
            self._log.append(PeerRefused(code=code.value, message=text))
        except AuditError as error:
            self._stop(str(error))


def _declaration_state(config: control.SessionConfig) -> str:
    if config.notebook_permissions is None:
        return ""
    return "accepted" if config.declaration_accepted else "declared"


def open_session(channel: socket.socket) -> Bridge:
    """Read `Open` and build the session.

    Raises:
        HostBridgeError: It can't be built; the host application was told.
    """
    decoder = control.Decoder()
    messages: list[control.ControlMessage] = []
    while not messages:
        data = channel.recv(1 << 20)
        if not data:
            raise SessionError("the host application closed the control channel before opening a session")
        messages = decoder.feed(data)
    first = messages.pop(0)
    if not isinstance(first, control.Open):
        raise SessionError(f"a session begins with Open, got {type(first).__name__}")
    try:
        bridge = Bridge(channel, first.config, decoder)
        for message in messages:
            bridge._handle(message)
    except HostBridgeError as error:
        place = error if isinstance(error, ConfigurationError) else None
        refused = control.Refused(
            error=type(error).__name__,
            message=str(error),
            path=place.path if place else "",
            key=place.key if place else "",
        )
        control.send(channel, refused)
        raise
    return bridge


def main(arguments: list[str] | None = None) -> int:
    """Run one session; the exit code says whether it could be opened."""
    parser = argparse.ArgumentParser(prog="host_bridge.bridge", description="One bridge session; started by the host.")
    parser.add_argument("--control-fd", type=int, required=True, help="descriptor of the connected control channel")
    options = parser.parse_args(arguments)
    channel = socket.socket(fileno=options.control_fd)
    channel.set_inheritable(False)
    os.chdir("/")  # holds no folder busy, and no relative name can mean anything here
    try:
        bridge = open_session(channel)
    except HostBridgeError as error:
        print(error, file=sys.stderr)
        return 1
    bridge.serve()
    return 0


if __name__ == "__main__":
    # A tool that can't be stopped must not keep the process: nothing is left to do, so nothing is waited for.
    code = main()
    sys.stderr.flush()
    os._exit(code)
