"""Test notebooks and code that call tools, without a host: `FakeHost` serves functions of yours as the tools.

    def uname(command, **_):
        return "Linux\\n"

    with FakeHost(tools={"terminal": uname}, files={"notes.md": "# Notes\\n"}) as host:
        assert hermes.terminal("uname").stdout == "Linux\\n"
        assert hermes.read_file("notes.md") == "# Notes\\n"
        assert host.calls[0].arguments["command"] == "uname"

It speaks the real protocol over a real socket, so streaming, cancelling, deadlines and threads behave as they do with a host.
It confines nothing and decides about nothing but what a block narrows itself to: a function can raise `ToolDeniedError` to see
how a notebook takes it.

Functions get the tool's arguments by name. One with a parameter called `call` is also given the `FakeCall`, to stream
(`call.emit`), to read an upload (`call.body()`), or to notice that it was cancelled. What they return is the tool's result;
for some a plain value will do: text or `Command` for `terminal`, text or bytes for `read_file`, a list for `web_search`
and `web_extract`, a body (text, bytes, or what becomes JSON) or `Answer` for `http_request`.
"""

from __future__ import annotations

import collections
import contextlib
import inspect
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import zmq

from hermes_protocol import Connection, ErrorCode, LocalProtocolError, RemoteProtocolError, Role
from hermes_protocol.frames import MAX_BULK_FRAME_BYTES, Frame
from hermes_protocol.messages import (
    PROTOCOL_VERSIONS,
    SECRETS_SINCE,
    AnyMessage,
    Budget,
    Cancel,
    Chunk,
    Credit,
    Failure,
    Goodbye,
    Heartbeat,
    Hello,
    Limits,
    Parameter,
    StatusReply,
    StatusRequest,
    ToolDescription,
    ToolReply,
    ToolRequest,
    Welcome,
)
from hermes_protocol.ticket import TICKET_VARIABLE, Ticket, encode_ticket
from hermes_runtime import _client
from hermes_runtime._errors import ERRORS, HermesError, ToolDeniedError, ToolFailedError
from hermes_runtime._fake_calls import FakeCall
from hermes_runtime._fake_narrowing import narrowing_denial, narrowing_problem
from hermes_runtime._fake_tools import Answer, Command, FakeFiles, Reply, complete
from hermes_runtime._wakers import Waker

__all__ = ["Answer", "Command", "FakeCall", "FakeHost", "Reply"]

LIMITS = Limits(open_calls=64, frame_bytes=MAX_BULK_FRAME_BYTES, upload_window_bytes=2 * 2**20, heartbeat_seconds=5.0)
IDLE_SECONDS = 0.2  # between two looks at the calls' deadlines
STOP_SECONDS = 5.0

_CODES: dict[type[HermesError], ErrorCode] = {kind: code for code, kind in reversed(ERRORS.items())}


class FakeHost:
    """See the module. A context manager: inside it, the tools of this process are served by it.

    Args:
        tools: Functions by tool name.
        files: A workspace in memory, by path; brings `read_file`, `write_file` and `list_files`.
        limits: What the host accepts from the kernel.
        budgets: What `hermes.budget()` shows: used and limit by name.
        secrets: The names that `hermes.status()` shows. Functions get `[secret NAME]` where a handle was passed.
        principal: Who the session acts for; `profile` and `workspace` likewise are what `hermes.status()` shows.

    Attributes:
        calls: The calls so far, in the order they came.
        files: The workspace as it is now, bytes by path.
        ticket: What a kernel finds this host by.
    """

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        *,
        files: Mapping[str, str | bytes] | None = None,
        limits: Limits = LIMITS,
        budgets: Mapping[str, tuple[float, float | None]] | None = None,
        principal: str = "tester",
        profile: str = "fake",
        workspace: str = "/workspace",
        secrets: Sequence[str] = (),
    ) -> None:
        self._files = FakeFiles(files or {})
        self._tools: dict[str, Callable[..., Any]] = {} if files is None else self._files.tools()
        self._tools.update(tools or {})
        self._budgets = tuple(
            Budget(name=name, used=used, limit=most) for name, (used, most) in (budgets or {}).items()
        )
        self._limits = limits
        self._facts = {"principal": principal, "profile": profile, "workspace": workspace}
        self._secrets = tuple(secrets)
        self.calls: list[FakeCall] = []
        self._connections: dict[bytes, Connection] = {}
        self._open: dict[tuple[bytes, int], FakeCall] = {}
        self._outbox: collections.deque[tuple[bytes, AnyMessage, Sequence[Frame]]] = collections.deque()
        self._waker = Waker()
        self._stopping = ""
        self._frozen = False
        self._folder = tempfile.mkdtemp(prefix="hermes-fake-")
        public, secret = (key.decode() for key in zmq.curve_keypair())
        server_public, self._server_secret = (key.decode() for key in zmq.curve_keypair())
        self.ticket = Ticket(
            session_id="fake",
            endpoint=f"ipc://{self._folder}/s",
            server_public_key=server_public,
            public_key=public,
            secret_key=secret,
        )
        self._previous: _client.Client | None = None
        self._thread = threading.Thread(target=self._serve, name="fake-host", daemon=True)

    @property
    def files(self) -> dict[str, bytes]:
        """The workspace as it is now."""
        return self._files.contents

    def environment(self) -> dict[str, str]:
        """Give the variables with which another process finds this host."""
        return {TICKET_VARIABLE: encode_ticket(self.ticket)}

    def __enter__(self) -> Self:
        self._context = zmq.Context()
        self._router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._router.curve_server = True
        self._router.curve_secretkey = self._server_secret.encode()
        self._router.linger = 0
        self._router.sndhwm = self._router.rcvhwm = 0
        self._router.bind(self.ticket.endpoint)
        self._thread.start()
        self._previous = _client.replace(_client.Client(self.ticket))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        client = _client.replace(self._previous)
        if client is not None:
            client.close()
        self._stop("goodbye")

    def end(self) -> None:
        """End the session in an orderly way, as a host does when a kernel's time is over."""
        self._stop("goodbye")

    def crash(self) -> None:
        """Be gone at once, without a word."""
        self._stop("crash")

    def freeze(self) -> None:
        """Stop hearing and saying anything, without being gone."""
        self._frozen = True
        self._waker.wake()

    def _stop(self, how: str) -> None:
        self._stopping = self._stopping or how
        self._frozen = False
        self._waker.wake()
        self._thread.join(STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    # the serving thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        polled: list[Any] = [(self._router, zmq.POLLIN), (self._waker.descriptor, zmq.POLLIN)]
        while not self._stopping:
            ready: set[Any] = {source for source, _ in zmq.zmq_poll(polled, int(IDLE_SECONDS * 1000))}
            if self._waker.descriptor in ready:
                self._waker.clear()
            while self._frozen and not self._stopping:
                self._waker.wait(IDLE_SECONDS * 1000)
            self._send_outbox()
            if self._router in ready:
                self._receive()
            self._end_overdue()
        for call in list(self._open.values()):
            call._end()
        if self._stopping == "goodbye":
            self._say_goodbye()
        self._context.destroy(linger=200 if self._stopping == "goodbye" else 0)

    def _say_goodbye(self) -> None:
        self._send_outbox()
        for peer in list(self._connections):
            self._send(peer, Goodbye(code=ErrorCode.SESSION_ENDED, message="the session ended"))

    def _receive(self) -> None:
        peer, *received = self._router.recv_multipart()
        connection = self._connections.setdefault(peer, Connection(Role.BRIDGE))
        try:
            message, bulk = connection.receive(received)
        except RemoteProtocolError as error:
            self._connections[peer] = Connection(Role.BRIDGE)
            self._send(peer, Goodbye(code=error.code, message=str(error)))
            return
        if message is not None:
            self._handle(peer, message, bulk)

    def _handle(self, peer: bytes, message: AnyMessage, bulk: Sequence[Frame]) -> None:
        match message:
            case Hello():
                version = max(set(PROTOCOL_VERSIONS) & set(message.versions), default=PROTOCOL_VERSIONS[-1])
                self._send(peer, self._welcome(version))
            case ToolRequest():
                self._begin(peer, message, bulk)
            case StatusRequest():
                self._send(
                    peer,
                    StatusReply(
                        id=message.id,
                        budgets=self._budgets,
                        open_calls=len(self._open),
                        failure=narrowing_problem(message.narrow, self._tools),
                        narrow=message.narrow,
                    ),
                )
            case Cancel():
                self._settle_failed(peer, message.id, ErrorCode.CANCELLED, "the call was cancelled")
            case Heartbeat():
                if not message.reply:
                    self._send(peer, Heartbeat(reply=True))
            case Goodbye():
                for key in [key for key in self._open if key[0] == peer]:
                    self._open.pop(key)._end()
                del self._connections[peer]
            case Chunk() | Credit():
                self._flow(self._open.get((peer, message.id)), message, bulk)

    def _welcome(self, version: int = PROTOCOL_VERSIONS[-1]) -> Welcome:
        return Welcome(
            version=version,
            session_id=self.ticket.session_id,
            confinement="none",
            limits=self._limits,
            tools=tuple(_describe(name, function) for name, function in sorted(self._tools.items())),
            secrets=self._secrets if version >= SECRETS_SINCE else (),
            **self._facts,
        )

    def _flow(self, call: FakeCall | None, message: Chunk | Credit, bulk: Sequence[Frame]) -> None:
        if call is None:
            return
        with call._changed:
            if isinstance(message, Chunk):
                call._pieces.append((bytes(bulk[0]), message.end))
            else:
                call._credit += message.bytes
            call._changed.notify_all()

    def _begin(self, peer: bytes, request: ToolRequest, bulk: Sequence[Frame]) -> None:
        contents = {name: bytes(content) for name, content in zip(request.bulk, bulk, strict=True)}
        call = FakeCall(self._post, peer, request, contents)
        self.calls.append(call)
        self._open[peer, request.id] = call
        function = self._tools.get(request.tool)
        if function is None:
            self._settle_failed(peer, request.id, ErrorCode.UNKNOWN_TOOL, f"there is no tool {request.tool!r}")
            return
        denial = narrowing_problem(request.narrow, self._tools) or narrowing_denial(
            request.narrow, request.tool, request.arguments
        )
        if denial is not None:
            call._end()
            self._send(peer, ToolReply(id=request.id, failure=denial))
            return
        threading.Thread(target=self._run, args=(call, function), name=f"fake-{request.tool}", daemon=True).start()

    def _settle_failed(self, peer: bytes, call_id: int, code: ErrorCode, text: str) -> None:
        call = self._open.get((peer, call_id))
        if call is not None:
            call._end()
            self._send(peer, ToolReply(id=call_id, failure=Failure(code=code, message=text)))

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for (peer, call_id), call in list(self._open.items()):
            if call._deadline < now:
                text = f"{call.tool} did not end within {call.timeout_seconds:g} s"
                self._settle_failed(peer, call_id, ErrorCode.TIMED_OUT, text)

    def _send_outbox(self) -> None:
        while self._outbox:
            self._send(*self._outbox.popleft())

    def _send(self, peer: bytes, message: AnyMessage, bulk: Sequence[Frame] = ()) -> None:
        connection = self._connections.get(peer)
        if connection is None:
            return
        if isinstance(message, ToolReply | Chunk | Credit) and message.id not in connection.open_calls:
            return  # settled meanwhile: cancelled, or its time was up
        try:
            frames = connection.send(message, bulk)
        except LocalProtocolError as error:
            if not isinstance(message, ToolReply):
                raise
            text = f"the fake tool's result can't be sent: {error}"
            frames = connection.send(ToolReply(id=message.id, failure=Failure(code=ErrorCode.FAILED, message=text)))
        if isinstance(message, ToolReply):
            self._open.pop((peer, message.id), None)
        elif isinstance(message, Goodbye):
            del self._connections[peer]  # the peer may say hello again
        self._router.send_multipart([peer, *frames])

    # a call's thread ---------------------------------------------------------------------------------------------------

    def _post(self, peer: bytes, message: AnyMessage, bulk: Sequence[Frame] = ()) -> None:
        self._outbox.append((peer, message, bulk))
        self._waker.wake()

    def _run(self, call: FakeCall, function: Callable[..., Any]) -> None:
        try:
            given = {"call": call} if "call" in inspect.signature(function).parameters else {}
            reply = complete(call, function(**given, **call.arguments))
        except HermesError as error:
            self._post(call._peer, ToolReply(id=call._id, failure=_failure(error)))
        except Exception as error:  # a function may raise anything, and a test should see what
            failure = _failure(ToolFailedError(f"the fake {call.tool} raised {type(error).__name__}: {error}"))
            self._post(call._peer, ToolReply(id=call._id, failure=failure))
        else:
            self._files.contents.update(reply.files)
            message = ToolReply(id=call._id, result=reply.value, bulk=tuple(reply.bulk))
            self._post(call._peer, message, list(reply.bulk.values()))


def _failure(error: HermesError) -> Failure:
    code = next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)
    denial = error if isinstance(error, ToolDeniedError) else None
    return Failure(
        code=code,
        message=str(error)[:16_000],
        rule_id=denial.rule_id if denial else "",
        remedy=denial.remedy if denial else "",
    )


def _describe(name: str, function: Callable[..., Any]) -> ToolDescription:
    parameters = []
    with contextlib.suppress(ValueError):  # a function written in C may have no signature
        for each in inspect.signature(function).parameters.values():
            if each.name == "call" or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
                continue
            required = each.default is each.empty
            annotation = (
                "Any" if each.annotation is each.empty else str(getattr(each.annotation, "__name__", each.annotation))
            )
            default = "" if required else repr(each.default)
            parameters.append(
                Parameter(name=each.name, type=annotation[:256], required=required, default=default[:256])
            )
    return ToolDescription(name=name, summary=inspect.getdoc(function) or "", parameters=tuple(parameters))
