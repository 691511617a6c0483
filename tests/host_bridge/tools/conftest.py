"""A session and a call's context without a bridge: what a tool is given, and a record of what it did with it."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host_bridge import control
from host_bridge.errors import CallCancelledError, CallError, CallTimeoutError, DeniedError
from host_bridge.policy.model import Resource, UrlResource
from host_bridge.secrets.marks import put_in
from host_bridge.secrets.uses import Use
from host_bridge.secrets.vault import RESOURCE
from host_bridge.secrets.veil import Values
from host_bridge.tools.interface import Tool, ToolOutput

_TIME_IS_UP = CallTimeoutError("the call's time is up")


@dataclasses.dataclass
class FakeSession:
    """A session with a workspace of its own. Change `settings` and `environment` freely before the first call."""

    workspace: str
    settings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    )
    resources: dict[str, Any] = dataclasses.field(default_factory=dict)

    def close(self) -> None:
        """Close what tools kept, as a real session does at its end."""
        for thing in list(self.resources.values()):
            if hasattr(thing, "close"):
                thing.close()
        self.resources.clear()


class FakeContext:
    """A call's context that records what was emitted and decides by a function.

    Attributes:
        chunks: What was emitted, in order, as `(stream, bytes)`.
        asked: The resources given to `authorise`, in order.
    """

    call_id = "call-1"
    keep_image = None

    def __init__(
        self,
        session: FakeSession,
        *,
        timeout: float = 30.0,
        credit: int | None = None,
        upload: Sequence[bytes] = (),
        allow: Callable[[Resource], bool] = lambda resource: True,
        secrets: Sequence[control.SecretUse] = (),
        values: Mapping[str, str] | None = None,
    ) -> None:
        self.session = session
        self.chunks: list[tuple[str, bytes]] = []
        self.asked: list[Resource] = []
        self._deadline = time.monotonic() + timeout
        self._changed = threading.Condition()
        self._credit = credit
        self._upload = upload
        self._allow = allow
        self._secrets = tuple(secrets)
        self._values = Values()
        for name, value in (values or {}).items():
            self._values.add(name, value)
            session.resources[RESOURCE] = self._values
        self._error: CallError | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._timer = threading.Timer(timeout, self._end, [_TIME_IS_UP])
        self._timer.daemon = True
        self._timer.start()

    # what a tool uses

    def remaining_seconds(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        if time.monotonic() >= self._deadline:
            self._end(_TIME_IS_UP)
        if self._error is not None:
            raise self._error

    def on_end(self, callback: Callable[[], None]) -> None:
        with self._changed:
            if self._error is None:
                self._callbacks.append(callback)
                return
        callback()

    def emit(self, stream: str, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data)
        with self._changed:
            while left:
                self._changed.wait_for(lambda: self._error is not None or self._credit != 0)
                if self._error is not None:
                    raise self._error
                size = len(left) if self._credit is None else min(len(left), self._credit)
                if self._credit is not None:
                    self._credit -= size
                self.chunks.append((stream, bytes(left[:size])))
                left = left[size:]
                self._changed.notify_all()

    def body(self) -> Iterator[bytes]:
        for piece in self._upload:
            self.check()
            yield piece

    def authorise(self, *resources: Resource) -> None:
        self.asked.extend(resources)
        for resource in resources:
            if not self._allow(resource):
                raise DeniedError("no rule allows it", rule_id="test")

    def reveal(self, value: Any, url: UrlResource | None = None) -> Any:
        if url is not None:
            for spec in self._secrets:
                Use(spec, principal="", workspace="").check_host(url)
        return put_in(value, [spec.name for spec in self._secrets], lambda name: self._values[name])

    # what a test uses

    def bytes_of(self, stream: str) -> bytes:
        """All that was emitted on a stream."""
        return b"".join(data for name, data in self.chunks if name == stream)

    def wait_for(self, condition: Callable[[FakeContext], bool], timeout: float = 10.0) -> None:
        """Wait until something that was emitted makes `condition` true."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout), "it never became true"

    def grant(self, count: int) -> None:
        """Let `count` more bytes be emitted."""
        with self._changed:
            self._credit = (self._credit or 0) + count
            self._changed.notify_all()

    def cancel(self) -> None:
        """End the call as a kernel's cancel does: callbacks run in the calling thread, not the tool's."""
        self._end(CallCancelledError("the call was cancelled"))

    def stop(self) -> None:
        """Let go of the timer."""
        self._timer.cancel()

    def _end(self, error: CallError) -> None:
        with self._changed:
            if self._error is not None:
                return
            self._error = error
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[FakeSession]:
    """A session whose workspace is an empty folder; closed afterwards."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    session = FakeSession(workspace=str(workspace.resolve()))
    yield session
    session.close()


@pytest.fixture
def make_context(session: FakeSession) -> Iterator[Callable[..., FakeContext]]:
    """Make contexts for calls of `session`: `make_context(timeout=…, credit=…, upload=[…], allow=…)`."""
    contexts: list[FakeContext] = []

    def make(**options: Any) -> FakeContext:
        context = FakeContext(session, **options)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.stop()


Handler = Callable[[socket.socket, bytes], None]


class Server:
    """An HTTP server on loopback that answers with whatever bytes a handler sends.

    Attributes:
        place: Its `host:port`.
        requests: What it was sent, request by request, headers included.
        connections: How many were made.
    """

    def __init__(self, handler: Handler, *, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(
            (address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET
        )
        self.port: int = self._listener.getsockname()[1]
        self.place = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, path: str = "/") -> str:
        return f"http{'s' if self._tls else ''}://{self.place}{path}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # Whatever the client does to us, such as leaving in the middle, is what the test is about.
        with contextlib.suppress(OSError), connection:
            talking = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := talking.recv(65_536)):
                    return
                request += data
            self.requests.append(request)
            self._handler(talking, request)
            talking.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers: `serve(handler)` with a function of connection and request, or with the bytes to answer."""
    servers: list[Server] = []

    def start(answer: Handler | bytes, **options: Any) -> Server:
        handler = answer if callable(answer) else lambda connection, request: connection.sendall(answer)
        servers.append(Server(handler, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def call(session: FakeSession, make_context: Callable[..., FakeContext]) -> Callable[..., ToolOutput]:
    """Make a call as the dispatcher does, without the policy: `call(tool, within=context, path=…)`."""

    def run(tool: Tool, *, within: FakeContext | None = None, **arguments: Any) -> ToolOutput:
        prepared = tool.prepare(msgspec.convert(arguments, tool.Arguments, builtin_types=(bytes,)), session)
        try:
            return prepared.run(within or make_context())
        finally:
            prepared.close()

    return run
