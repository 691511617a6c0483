"""Who may say what, and when: one connection's state, without any I/O.

Both ends run the same class with their own `Role`. The tables below are the rules; `docs/protocol.md` is drawn from them.

Example:
    >>> kernel, bridge = Connection(Role.KERNEL), Connection(Role.BRIDGE)
    >>> bridge.receive(kernel.send(Hello(versions=(1,))))[0]
    Hello(versions=(1,), client='')
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from . import frames
from .errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from .frames import Frame
from .messages import (
    MAX_WINDOW_BYTES,
    NARROWING_SINCE,
    SECRETS_SINCE,
    AnyMessage,
    Cancel,
    Chunk,
    Credit,
    Goodbye,
    Heartbeat,
    Hello,
    Pending,
    StatusReply,
    StatusRequest,
    ToolReply,
    ToolRequest,
    Welcome,
)


class Role(enum.Enum):
    """The two ends. `KERNEL` asks, `BRIDGE` decides."""

    KERNEL = "kernel"
    BRIDGE = "bridge"


class State(enum.Enum):
    """How far the conversation has come."""

    NEW = "new"
    GREETED = "greeted"
    OPEN = "open"
    CLOSED = "closed"


MAY_SEND: dict[tuple[Role, State], frozenset[type]] = {
    (Role.KERNEL, State.NEW): frozenset({Hello, Goodbye}),
    (Role.BRIDGE, State.NEW): frozenset({Goodbye}),
    (Role.KERNEL, State.GREETED): frozenset({Heartbeat, Goodbye}),
    (Role.BRIDGE, State.GREETED): frozenset({Welcome, Heartbeat, Goodbye}),
    (Role.KERNEL, State.OPEN): frozenset({ToolRequest, StatusRequest, Cancel, Chunk, Credit, Heartbeat, Goodbye}),
    (Role.BRIDGE, State.OPEN): frozenset({ToolReply, StatusReply, Pending, Chunk, Credit, Heartbeat, Goodbye}),
    (Role.KERNEL, State.CLOSED): frozenset(),
    (Role.BRIDGE, State.CLOSED): frozenset(),
}

LEADS_TO: dict[type, State] = {Hello: State.GREETED, Welcome: State.OPEN, Goodbye: State.CLOSED}

_OTHER = {Role.KERNEL: Role.BRIDGE, Role.BRIDGE: Role.KERNEL}
_STREAMS = {Role.KERNEL: frozenset({"body"}), Role.BRIDGE: frozenset({"stdout", "stderr", "body"})}


class OpenCall:
    """What both ends count for one unsettled call.

    Attributes:
        download_bytes: Credit the bridge has left for chunks to the kernel.
        upload_bytes: Credit the kernel has left for chunks to the bridge.
        uploading: Whether the kernel still owes the end of an upload.
    """

    __slots__ = ("download_bytes", "upload_bytes", "uploading")

    def __init__(self, download_bytes: int, upload_bytes: int, uploading: bool) -> None:
        self.download_bytes = download_bytes
        self.upload_bytes = upload_bytes
        self.uploading = uploading


class Connection:
    """One end of a conversation.

    `send()` and `receive()` translate between messages and frames and keep the rules; after a `RemoteProtocolError` the
    connection is `CLOSED` and only the transport remains to be closed.

    Not thread-safe: whoever owns the socket owns the connection.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self._enter(State.NEW)
        self.open_calls: dict[int, OpenCall] = {}
        self.upload_window_bytes = 0
        """What a call may upload before credit; set by the `Welcome` that passes through."""
        self.version = 0
        """The version that is spoken, from the same `Welcome`; 0 before it."""
        self._last_id = 0

    def next_id(self) -> int:
        """The id the kernel side should give its next request."""
        return self._last_id + 1

    def send(self, message: AnyMessage, bulk: Sequence[Frame] = ()) -> list[Frame]:
        """Give the frames to put on the wire.

        Raises:
            LocalProtocolError: This end may not say that now; the connection is unchanged.
        """
        encoded = frames.encode(message, bulk)
        self._advance(self.role, message, bulk, LocalProtocolError)
        return encoded

    def receive(self, received: Sequence[Frame]) -> tuple[AnyMessage | None, Sequence[Frame]]:
        """Take frames off the wire.

        Returns:
            The message and its bulk frames; None for a message about a call that has been settled meanwhile, which is
            nobody's fault and means nothing any more.

        Raises:
            RemoteProtocolError: The other end broke the rules; the connection is now closed.
        """
        try:
            message, bulk = frames.decode(received)
            meaningful = self._advance(_OTHER[self.role], message, bulk, RemoteProtocolError)
        except RemoteProtocolError:
            self._enter(State.CLOSED)
            raise
        return (message, bulk) if meaningful else (None, ())

    def download_credit(self, call_id: int) -> int:
        """Bytes the bridge may send now for a call; 0 when it is settled."""
        call = self.open_calls.get(call_id)
        return call.download_bytes if call else 0

    def upload_credit(self, call_id: int) -> int:
        """Bytes the kernel may send now for a call; 0 when it is settled."""
        call = self.open_calls.get(call_id)
        return call.upload_bytes if call else 0

    def _advance(self, speaker: Role, message: AnyMessage, bulk: Sequence[Frame], error: type[ProtocolError]) -> bool:
        kind = type(message)
        if kind not in self._allowed[speaker is self.role]:
            raise error(f"{speaker.value} may not send {kind.__name__} while the connection is {self.state.value}")
        if kind is ToolRequest or kind is StatusRequest:
            self._open(message, error)  # type: ignore[arg-type]
        elif kind is ToolReply or kind is StatusReply:
            self._settle(message.id, error)  # type: ignore[union-attr]
        elif kind is Chunk:
            return self._spend(speaker, message, len(bulk[0]), error)  # type: ignore[arg-type]
        elif kind is Credit:
            return self._grant(speaker, message, error)  # type: ignore[arg-type]
        elif kind is Cancel or kind is Pending:
            return self._find(message.id, error) is not None  # type: ignore[union-attr]
        elif kind in LEADS_TO:
            self._enter(LEADS_TO[kind])
            if kind is Welcome:
                self.upload_window_bytes = message.limits.upload_window_bytes  # type: ignore[union-attr]
                self.version = message.version  # type: ignore[union-attr]
        return True

    def _enter(self, state: State) -> None:
        self.state = state
        # Looked up once per state: hashing enums for every message costs more than the rest of this check.
        self._allowed = (MAY_SEND[_OTHER[self.role], state], MAY_SEND[self.role, state])

    def _open(self, message: ToolRequest | StatusRequest, error: type[ProtocolError]) -> None:
        if message.id <= self._last_id:
            raise error(f"request id {message.id} was used before: ids must rise")
        if message.narrow and self.version < NARROWING_SINCE:
            raise error(f"version {self.version} of the protocol can't narrow a call, version {NARROWING_SINCE} can")
        self._last_id = message.id
        if type(message) is ToolRequest:
            if message.secrets and self.version < SECRETS_SINCE:
                raise error(f"version {self.version} of the protocol has no secrets, version {SECRETS_SINCE} has")
            self.open_calls[message.id] = OpenCall(message.window_bytes, self.upload_window_bytes, bool(message.upload))
        else:
            self.open_calls[message.id] = OpenCall(0, 0, False)

    def _settle(self, call_id: int, error: type[ProtocolError]) -> None:
        if self.open_calls.pop(call_id, None) is None:
            raise error(f"call {call_id} is not open, so it can't be answered")

    def _find(self, call_id: int, error: type[ProtocolError]) -> OpenCall | None:
        call = self.open_calls.get(call_id)
        if call is None and call_id > self._last_id:
            raise error(f"call {call_id} was never made")
        return call

    def _spend(self, speaker: Role, chunk: Chunk, size: int, error: type[ProtocolError]) -> bool:
        if chunk.stream not in _STREAMS[speaker]:
            raise error(f"{speaker.value} has no stream {chunk.stream!r}")
        call = self._find(chunk.id, error)
        if call is None:
            return False
        if speaker is Role.BRIDGE:
            if size > call.download_bytes:
                raise error(f"call {chunk.id}: {size} bytes sent with credit for {call.download_bytes}")
            call.download_bytes -= size
            return True
        if not call.uploading:
            raise error(f"call {chunk.id} has no upload under way")
        if size > call.upload_bytes:
            raise error(f"call {chunk.id}: {size} bytes sent with credit for {call.upload_bytes}")
        call.upload_bytes -= size
        call.uploading = not chunk.end
        return True

    def _grant(self, speaker: Role, credit: Credit, error: type[ProtocolError]) -> bool:
        call = self._find(credit.id, error)
        if call is None:
            return False
        if speaker is Role.KERNEL:
            call.download_bytes += credit.bytes
            total = call.download_bytes
        else:
            call.upload_bytes += credit.bytes
            total = call.upload_bytes
        if total > MAX_WINDOW_BYTES:
            raise error(f"call {credit.id}: {total} bytes of credit, over the limit of {MAX_WINDOW_BYTES}")
        return True
