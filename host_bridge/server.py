"""The ROUTER socket and its peers: the only place that touches ZeroMQ, and one thread owns it.

Frames come in, messages go to the dispatcher, replies and chunks come back through an outbox that any thread may fill. What a
kernel can make this process hold is bounded: by credit per call, by the outbox for chunks, by the socket's high-water mark,
and, where ZeroMQ itself has no bound (unfinished multipart messages), by the memory watchdog in `bridge`.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from hermes_protocol import Connection, ErrorCode, LocalProtocolError, RemoteProtocolError, Role
from hermes_protocol.frames import MAX_BULK_FRAME_BYTES, MAX_FRAMES, Frame
from hermes_protocol.messages import (
    MAX_TIMEOUT_SECONDS,
    PROTOCOL_VERSIONS,
    SECRETS_SINCE,
    AnyMessage,
    Cancel,
    Chunk,
    Credit,
    Failure,
    Goodbye,
    Heartbeat,
    Hello,
    Limits,
    Pending,
    StatusRequest,
    ToolReply,
    ToolRequest,
    Welcome,
)
from host_bridge.calls import RunningCall
from host_bridge.control import SessionConfig
from host_bridge.dispatcher import Dispatcher
from host_bridge.errors import SessionError
from host_bridge.sessions import SessionState
from host_bridge.status import status_reply
from host_bridge.tools.interface import Bytes
from host_bridge.tools.registry import Registry

LIMITS = Limits(
    open_calls=256,
    frame_bytes=MAX_BULK_FRAME_BYTES,
    upload_window_bytes=2 * 2**20,
    heartbeat_seconds=5.0,
)
MAX_PEERS = 256  # a kernel has one connection and each process it forks one more
MAX_UPLOADS = 32  # times the window above: what uploads may hold in memory together
OUTBOX_BYTES = 32 * 2**20
HIGH_WATER_MARK = 64  # messages per peer inside ZeroMQ; a chunk is at most 1 MiB
ACCEPT_BACKLOG = 1_024
CURVE_BYTES = 64  # ZeroMQ counts a frame's size with its encryption, which adds 33 bytes
HANDSHAKE_MILLISECONDS = 2_000  # a peer that connects and says nothing is dropped after this
DIAL_MILLISECONDS = 20  # between attempts to reach a kernel that has not bound yet…
DIAL_MAX_MILLISECONDS = 100  # …or has ended: a new one may come at any time, and an attempt costs 30 µs
STUCK_SECONDS = 30.0  # a peer that doesn't read its replies for so long is dropped
GRACE_SECONDS = 5.0  # between a call's end and giving up on its tool; longer than a command's TERM and KILL take
COPY_BYTES = 65_536  # below this, copying a frame is cheaper than keeping track of who still needs it
BATCH = 64  # messages handled before looking at the other descriptors again
MAX_REFUSALS = 1_000  # recorded and remembered; more of the same says nothing new

_NOBLOCK = int(zmq.NOBLOCK)  # combining enums for every frame costs as much as sending it
_MORE = int(zmq.SNDMORE) | _NOBLOCK
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)


class Peer:
    """One connection of the kernel, known by ZeroMQ's routing id."""

    __slots__ = ("backlog", "calls", "connection", "routing_id", "stuck_since")

    def __init__(self, routing_id: bytes) -> None:
        self.routing_id = routing_id
        self.connection = Connection(Role.BRIDGE)
        self.calls: dict[int, RunningCall] = {}
        self.backlog: collections.deque[list[Frame]] = collections.deque()
        self.stuck_since = 0.0


class Server:
    """Serves one session's kernel. Everything but `settle`, `send_chunk`, `send_credit`, `send_pending` and `wake` belongs
    to the thread that calls `run`.

    Args:
        session: Whose kernel this is.
        registry: The tools to announce.
        on_settled: Called with every settled call and its reply.
        on_refused: Called with a code and a text whenever a peer is refused.
    """

    def __init__(
        self,
        session: SessionState,
        registry: Registry,
        *,
        on_settled: Callable[[RunningCall, ToolReply], None],
        on_refused: Callable[[ErrorCode, str], None],
    ) -> None:
        self._session = session
        self._registry = registry
        self._on_settled = on_settled
        self._on_refused = on_refused
        self.dispatcher: Dispatcher | None = None
        self._peers: dict[bytes, Peer] = {}
        self._refused: collections.OrderedDict[bytes, None] = collections.OrderedDict()
        self._refusals = 0
        self._kernel_key = b""
        self._generation = 0
        self._deadlines: list[tuple[float, int, RunningCall]] = []
        self._order = itertools.count()
        self._outbox: collections.deque[Callable[[], None]] = collections.deque()
        self._outbox_bytes = 0
        self._room = threading.Condition()
        self._thread = threading.get_ident()
        self._stopping = False
        self._control = select.poll()
        self._on_control: Callable[[], None] = lambda: None
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._context = zmq.Context()
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind("inproc://zeromq.zap.01")
        self._router = self._open_router(session.config)
        # Below ZeroMQ's Python layer, which adds a microsecond to each frame for what isn't used here.
        self._send_frame = zmq.backend.Socket.send.__get__(self._router)
        bound = "" if session.config.dials else self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.endpoint = bound or session.config.endpoint

    def _open_router(self, config: SessionConfig) -> zmq.Socket[bytes]:
        router = self._context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_publickey = config.server_public_key.encode()
        router.curve_secretkey = config.server_secret_key.encode()
        router.zap_domain = b"kernel"
        router.router_mandatory = True  # a full or vanished peer is an error here instead of a silent loss
        router.maxmsgsize = MAX_BULK_FRAME_BYTES + CURVE_BYTES
        router.rcvhwm = router.sndhwm = HIGH_WATER_MARK
        router.backlog = ACCEPT_BACKLOG
        router.handshake_ivl = HANDSHAKE_MILLISECONDS
        router.linger = 200
        try:
            if config.dials:
                _prepare_to_dial(router, config.endpoint)
            else:
                router.bind(config.endpoint)
                if config.endpoint.startswith("ipc://"):
                    Path(config.endpoint.removeprefix("ipc://")).chmod(0o600)
        except (zmq.ZMQError, OSError) as error:
            raise SessionError(f"the bridge can't serve at {config.endpoint}: {error}") from error
        return router

    # the loop ----------------------------------------------------------------------------------------------------------

    def run(self, control: int, on_control: Callable[[], None], on_idle: Callable[[], float | None]) -> None:
        """Serve until `stop`.

        Args:
            control: The control channel's descriptor; looked at before the kernel's messages, so that a cell's mark is
                known before the cell's calls.
            on_control: Called when it is readable.
            on_idle: Called before each wait; gives how many seconds it may last before the next call, None for any.
        """
        self._thread = threading.get_ident()
        self._control.register(control, select.POLLIN)
        self._on_control = on_control
        items = [
            (control, zmq.POLLIN),
            (self._zap, zmq.POLLIN),
            (self._wake_reader, zmq.POLLIN),
            (self._router, zmq.POLLIN),
        ]
        while not self._stopping:
            patience = on_idle()
            ready: set[Any] = {source for source, _ in zmq.zmq_poll(items, self._timeout(patience))}  # type: ignore[arg-type]
            if control in ready:
                on_control()
            if self._zap in ready:
                self._hear_host()
                self._authenticate()
            if self._wake_reader in ready:
                self._drain_wakes()
            self._run_outbox()
            self._flush_backlogs()
            if self._router in ready and not self._stopping:
                self._receive_batch()
            self._keep_time()

    def turn(self, seconds: float) -> None:
        """Serve only what is under way, for at most so long: replies leave, nothing is received."""
        zmq.zmq_poll([(self._wake_reader, zmq.POLLIN)], int(seconds * 1000))
        self._drain_wakes()
        self._run_outbox()
        self._flush_backlogs()
        self._keep_time()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping = True

    def wake(self) -> None:
        """Have `run` look at the outbox, from any thread or a signal handler."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well as a fuller one
            os.write(self._wake_writer, b"\0")

    def close(self) -> None:
        """Say goodbye to every peer and give the endpoint back."""
        for peer in list(self._peers.values()):
            self._drop(peer, ErrorCode.SESSION_ENDED)
            self._send(peer, Goodbye(code=ErrorCode.SESSION_ENDED, message="the session ended"))
        self._run_outbox()
        self._context.destroy(linger=200)
        if self.endpoint.startswith("ipc://") and not self._session.config.dials:
            Path(self.endpoint.removeprefix("ipc://")).unlink(missing_ok=True)
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def accept_key(self, public_key: str) -> None:
        """Believe this key from now on, and no other: a new kernel starts."""
        self._kernel_key = z85.decode(public_key)
        self._generation += 1
        for peer in list(self._peers.values()):
            self._drop(peer, ErrorCode.CANCELLED)
        if self._session.config.dials:
            self._dial()

    def _dial(self) -> None:
        """Connect to where the new kernel binds, now or later; afresh, as ZeroMQ doesn't dial whoever broke its protocol."""
        if self._generation > 1:
            with contextlib.suppress(zmq.ZMQError):
                self._router.disconnect(self.endpoint)
        self._router.connect(self.endpoint)

    def cancel_cell(self, index: int) -> None:
        """Cancel the calls that a cell left open."""
        for peer in self._peers.values():
            for call in list(peer.calls.values()):
                if call.cell_index == index:
                    self._end(call, ErrorCode.CANCELLED)

    def end_calls(self, code: ErrorCode) -> None:
        """End all calls; they settle as their tools stop."""
        for peer in self._peers.values():
            for call in list(peer.calls.values()):
                self._end(call, code)

    @property
    def open_calls(self) -> int:
        """How many calls are not settled."""
        return sum(len(peer.calls) for peer in self._peers.values())

    # from any thread ---------------------------------------------------------------------------------------------------

    def settle(self, call: RunningCall, reply: ToolReply, bulk: Sequence[Frame]) -> None:
        """Send a call's reply: at once on the serving thread, through the outbox from others."""
        if threading.get_ident() == self._thread:
            self._settle(call, reply, bulk)
        else:
            self._post(lambda: self._settle(call, reply, bulk))

    def send_chunk(self, call: RunningCall, stream: str, data: Bytes) -> None:
        """See `calls.Line`."""
        size = len(data)
        with self._room:
            while self._outbox_bytes and self._outbox_bytes + size > OUTBOX_BYTES:
                call.check()
                self._room.wait(0.2)
            self._outbox_bytes += size
        self._post(lambda: self._send_chunk(call, stream, data))

    def send_credit(self, call: RunningCall, size: int) -> None:
        """See `calls.Line`."""
        self._post(lambda: self._send_for(call, Credit(id=call.request.id, bytes=size)))

    def send_pending(self, call: RunningCall, seconds: float, reason: str) -> None:
        """Tell the kernel that a call's clock stands still."""
        seconds = min(seconds, MAX_TIMEOUT_SECONDS)  # a kernel takes a longer one for a broken bridge
        self._post(lambda: self._send_for(call, Pending(id=call.request.id, seconds=seconds, reason=reason)))

    def watch(self, call: RunningCall) -> None:
        """Look at a call's deadline again, which is earlier than it was."""
        self._post(lambda: heapq.heappush(self._deadlines, (call.deadline, next(self._order), call)))

    def _post(self, action: Callable[[], None]) -> None:
        self._outbox.append(action)
        self.wake()

    # receiving ---------------------------------------------------------------------------------------------------------

    def _receive_batch(self) -> None:
        for _ in range(BATCH):
            self._receive()
            if not self._router.getsockopt(_EVENTS) & _POLLIN:  # type: ignore[operator]
                break

    def _receive(self) -> None:
        # Frame objects, one by one: half the cost of recv_multipart, and each knows its connection's key.
        part = self._router.recv(copy=False)
        routing_id = part.bytes
        frames: list[Frame] = []
        while part.more:
            part = self._router.recv(copy=False)
            if len(frames) <= MAX_FRAMES:  # one over the limit is kept, to be refused; the others are let go
                frames.append(part.bytes)
        self._hear_host()
        peer = self._peers.get(routing_id)
        if peer is None:
            if routing_id in self._refused:
                return
            peer = Peer(routing_id)
            if self._user_of(part) != self._user_id():
                self._refuse(peer, ErrorCode.SESSION_ENDED, "the key belongs to a kernel that has ended")
                return
        try:
            message, bulk = peer.connection.receive(frames)
            if message is not None:
                _HANDLERS[type(message)](self, peer, message, bulk)
        except RemoteProtocolError as error:
            self._refuse(peer, error.code, str(error))

    def _hear_host(self) -> None:
        """Read what the host said before the kernel could say what was just received.

        A cell's mark is sent before the cell's execution request, so it is there by now; but the poll that announced the
        kernel's message may have looked at the control channel a moment before the mark came.
        """
        if self._control.poll(0):
            self._on_control()

    @staticmethod
    def _user_of(part: zmq.Frame) -> str:
        """Which kernel's key the connection authenticated with; ZAP looked at it once, this looks at every hello."""
        try:
            return str(part.get("User-Id"))
        except zmq.ZMQError:
            return ""

    def _user_id(self) -> str:
        return f"kernel-{self._generation}"

    def _authenticate(self) -> None:
        """Answer one ZAP request (RFC 27): is this the key of the kernel that runs now?"""
        version, request_id, _domain, address, _identity, mechanism, *credentials = self._zap.recv_multipart()
        known = mechanism == b"CURVE" and bool(self._kernel_key) and credentials == [self._kernel_key]
        if not known:
            self._count_refusal(
                ErrorCode.DENIED, f"a peer at {address.decode(errors='replace')!r} showed an unknown key"
            )
        status = (b"200", b"OK", self._user_id().encode()) if known else (b"400", b"unknown key", b"")
        self._zap.send_multipart([version, request_id, *status, b""])

    def _on_hello(self, peer: Peer, message: Hello, _bulk: Sequence[Frame]) -> None:
        version = max(set(PROTOCOL_VERSIONS) & set(message.versions), default=0)
        if not version:
            text = f"the bridge speaks version {PROTOCOL_VERSIONS[-1]}, the kernel {message.versions}; install the same release"
            self._refuse(peer, ErrorCode.VERSION_MISMATCH, text)
            return
        if self._session.config.dials:
            for earlier in list(self._peers.values()):  # there is one connection, so theirs is gone
                self._drop(earlier, ErrorCode.CANCELLED)
        if len(self._peers) >= MAX_PEERS:
            self._refuse(peer, ErrorCode.BUDGET_EXHAUSTED, f"the session already has {MAX_PEERS} connections")
            return
        self._peers[peer.routing_id] = peer
        config = self._session.config
        welcome = Welcome(
            version=version,
            session_id=config.session_id,
            principal=config.principal,
            profile=config.profile,
            workspace=config.workspace,
            confinement=config.confinement,
            kernel_limits=config.kernel_limits,
            limits=LIMITS,
            tools=self._registry.descriptions(),
            secrets=self._session.vault.names if version >= SECRETS_SINCE else (),
        )
        self._send(peer, welcome)

    def _on_tool_request(self, peer: Peer, message: ToolRequest, bulk: Sequence[Frame]) -> None:
        assert self.dispatcher is not None
        if problem := self._overload(peer, message):
            failure = Failure(code=ErrorCode.BUDGET_EXHAUSTED, message=problem)
            self._send(peer, ToolReply(id=message.id, failure=failure))
            return
        call = self.dispatcher.open(message, peer)
        peer.calls[message.id] = call
        self.dispatcher.start(call, bulk)
        if not call.settled:
            heapq.heappush(self._deadlines, (call.deadline, next(self._order), call))

    def _overload(self, peer: Peer, message: ToolRequest) -> str:
        if len(peer.calls) >= LIMITS.open_calls:
            return f"{LIMITS.open_calls} calls are open on this connection; wait for one to end"
        if message.upload:
            uploads = sum(bool(call.request.upload) for each in self._peers.values() for call in each.calls.values())
            if uploads >= MAX_UPLOADS:
                return f"{MAX_UPLOADS} uploads are under way; wait for one to end"
        return ""

    def _on_status_request(self, peer: Peer, message: StatusRequest, _bulk: Sequence[Frame]) -> None:
        assert self.dispatcher is not None
        reply = status_reply(
            message,
            self._session,
            self.dispatcher.narrowings,
            open_calls=self.open_calls,
            version=peer.connection.version,
        )
        self._send(peer, reply)

    def _on_cancel(self, peer: Peer, message: Cancel, _bulk: Sequence[Frame]) -> None:
        if call := peer.calls.get(message.id):
            self._end(call, ErrorCode.CANCELLED)

    def _on_chunk(self, peer: Peer, message: Chunk, bulk: Sequence[Frame]) -> None:
        if call := peer.calls.get(message.id):
            call.add_piece(bytes(bulk[0]), message.end)

    def _on_credit(self, peer: Peer, message: Credit, _bulk: Sequence[Frame]) -> None:
        if call := peer.calls.get(message.id):
            call.add_credit(message.bytes)

    def _on_heartbeat(self, peer: Peer, message: Heartbeat, _bulk: Sequence[Frame]) -> None:
        if not message.reply:
            self._send(peer, Heartbeat(reply=True))

    def _on_goodbye(self, peer: Peer, _message: Goodbye, _bulk: Sequence[Frame]) -> None:
        self._drop(peer, ErrorCode.CANCELLED)

    def _refuse(self, peer: Peer, code: ErrorCode, text: str) -> None:
        """Close a connection that broke the rules, and hear nothing more from it."""
        self._drop(peer, ErrorCode.CANCELLED)
        self._refused[peer.routing_id] = None
        while len(self._refused) > MAX_REFUSALS:
            self._refused.popitem(last=False)
        self._count_refusal(code, text)
        # The connection's state is closed already, so the goodbye is encoded by a fresh one.
        farewell = Connection(Role.BRIDGE).send(Goodbye(code=code, message=text[:1000]))
        with contextlib.suppress(zmq.ZMQError):  # the peer may be gone, and is owed nothing
            self._router.send_multipart([peer.routing_id, *farewell], zmq.NOBLOCK)

    def _count_refusal(self, code: ErrorCode, text: str) -> None:
        self._refusals += 1
        if self._refusals <= MAX_REFUSALS:
            self._on_refused(code, text)

    def _drop(self, peer: Peer, code: ErrorCode) -> None:
        self._peers.pop(peer.routing_id, None)
        for call in list(peer.calls.values()):
            self._end(call, code)

    # sending -----------------------------------------------------------------------------------------------------------

    def _run_outbox(self) -> None:
        while self._outbox:
            self._outbox.popleft()()

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 65_536)

    def _settle(self, call: RunningCall, reply: ToolReply, bulk: Sequence[Frame]) -> None:
        if call.settled:
            return
        call.settled = True
        peer: Peer = call.peer  # type: ignore[assignment]
        peer.calls.pop(call.request.id, None)
        if call.reserved:
            self._session.budgets.settle(time.monotonic() - call.started - call.waited_seconds)
        if self._peers.get(peer.routing_id) is peer:
            try:
                self._send(peer, reply, bulk)
            except LocalProtocolError as error:
                text = f"the result of {call.request.tool} can't be sent: {error}; ask for less of it"
                reply = ToolReply(id=reply.id, failure=Failure(code=ErrorCode.FAILED, message=text))
                self._send(peer, reply)
        self._on_settled(call, reply)

    def _send_chunk(self, call: RunningCall, stream: str, data: Bytes) -> None:
        with self._room:
            self._outbox_bytes -= len(data)
            self._room.notify_all()
        self._send_for(call, Chunk(id=call.request.id, stream=stream), [data])  # type: ignore[arg-type, list-item]

    def _send_for(self, call: RunningCall, message: AnyMessage, bulk: Sequence[Frame] = ()) -> None:
        peer: Peer = call.peer  # type: ignore[assignment]
        if not call.settled and self._peers.get(peer.routing_id) is peer:
            self._send(peer, message, bulk)

    def _send(self, peer: Peer, message: AnyMessage, bulk: Sequence[Frame] = ()) -> None:
        frames = [peer.routing_id, *peer.connection.send(message, bulk)]
        if peer.backlog:
            peer.backlog.append(frames)
        elif not self._try_send(peer, frames):
            peer.backlog.append(frames)
            peer.stuck_since = time.monotonic()

    def _try_send(self, peer: Peer, frames: list[Frame]) -> bool:
        """Hand frames to ZeroMQ; False if the peer has no room for them now."""
        try:
            for frame in frames[:-1]:  # part by part: half the cost of send_multipart
                self._send_frame(frame, _MORE, len(frame) < COPY_BYTES)
            self._send_frame(frames[-1], _NOBLOCK, len(frames[-1]) < COPY_BYTES)
        except zmq.Again:
            return False
        except zmq.ZMQError:  # EHOSTUNREACH: the peer is gone
            self._drop(peer, ErrorCode.CANCELLED)
        return True

    def _flush_backlogs(self) -> None:
        for peer in list(self._peers.values()):
            while peer.backlog and self._try_send(peer, peer.backlog[0]):
                if peer.backlog:
                    peer.backlog.popleft()
                peer.stuck_since = time.monotonic()
            if peer.backlog and time.monotonic() - peer.stuck_since > STUCK_SECONDS:
                peer.backlog.clear()
                self._refuse(peer, ErrorCode.TOO_LARGE, f"replies were not read for {STUCK_SECONDS:g} s")

    # time --------------------------------------------------------------------------------------------------------------

    def _timeout(self, patience: float | None) -> int:
        """Milliseconds to wait for the next event."""
        if self._outbox:
            return 0
        if any(peer.backlog for peer in self._peers.values()):
            return 2
        longest = 1_000 if patience is None else min(1_000, int(patience * 1000) + 1)
        if not self._deadlines:
            return longest
        return max(0, min(longest, int((self._deadlines[0][0] - time.monotonic()) * 1000) + 1))

    def _keep_time(self) -> None:
        """End the calls whose time is up, and give up on those that were told to stop and did not."""
        if not self._deadlines:
            return
        assert self.dispatcher is not None
        if len(self._deadlines) > 8 * LIMITS.open_calls:  # mostly calls that were settled long before their deadline
            self._deadlines = [entry for entry in self._deadlines if not entry[2].settled]
            heapq.heapify(self._deadlines)
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, order, call = heapq.heappop(self._deadlines)
            if call.settled:
                continue
            if call.ended is not None:
                self.dispatcher.give_up(call)
            elif call.deadline > now:
                heapq.heappush(self._deadlines, (call.deadline, order, call))
            else:
                self._end(call, call.late)

    def _end(self, call: RunningCall, code: ErrorCode) -> None:
        assert self.dispatcher is not None
        call.end(code)
        if call.running:
            heapq.heappush(self._deadlines, (time.monotonic() + GRACE_SECONDS, next(self._order), call))
        else:
            self.dispatcher.give_up(call)


def _prepare_to_dial(router: zmq.Socket[bytes], endpoint: str) -> None:
    if not endpoint.startswith("ipc://"):
        raise SessionError(f"a bridge dials in to a kernel of this machine only, not to {endpoint}")
    # Each connection is a peer of its own, so that nothing meant for one kernel waits for the next.
    router.immediate = True
    router.reconnect_ivl = DIAL_MILLISECONDS
    router.reconnect_ivl_max = DIAL_MAX_MILLISECONDS


_HANDLERS: dict[type, Callable[[Server, Peer, Any, Sequence[Frame]], None]] = {
    Hello: Server._on_hello,
    ToolRequest: Server._on_tool_request,
    StatusRequest: Server._on_status_request,
    Cancel: Server._on_cancel,
    Chunk: Server._on_chunk,
    Credit: Server._on_credit,
    Heartbeat: Server._on_heartbeat,
    Goodbye: Server._on_goodbye,
}
