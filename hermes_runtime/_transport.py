"""One connection to the bridge: the DEALER socket, the protocol's state, and the calls that are open on it.

Nothing here waits and nothing here locks. Whoever holds the client's lock calls a method, and every method that touches the
socket ends with `drain`: ZeroMQ's descriptor announces a change once, so a message left unread would never be announced.
"""

from __future__ import annotations

import collections
import contextlib
import select
import time
from collections.abc import Sequence

import zmq
from zmq.backend import zmq_poll

from hermes_protocol import Connection, LocalProtocolError, RemoteProtocolError, Role, State
from hermes_protocol.frames import MAX_FRAMES, Frame
from hermes_protocol.messages import (
    MAX_WINDOW_BYTES,
    NARROWING_SINCE,
    PROTOCOL_VERSIONS,
    AnyMessage,
    Cancel,
    Chunk,
    Credit,
    Goodbye,
    Heartbeat,
    Hello,
    Limits,
    Pending,
    StatusReply,
    ToolReply,
    Welcome,
)
from hermes_protocol.ticket import Ticket
from hermes_runtime._calls import Call, StatusOperation
from hermes_runtime._errors import (
    BridgeUnavailableError,
    HermesError,
    InvalidToolRequestError,
    ToolNotConfiguredError,
    ToolTimeoutError,
)
from hermes_runtime._narrowing import Levels
from hermes_runtime._sockets import Context, open_sockets

UPLOAD_CHUNK_BYTES = 1 * 2**20
MAX_UPLOADS = 8  # at the same time: their chunks wait in memory on both sides
MAX_SILENT_BEATS = 3  # heartbeats without any answer before the bridge counts as dead
GOODBYE_MILLISECONDS = 200
GRACE_SECONDS = 10.0  # after a call's time: the bridge stops a tool within 5 s and says so itself

_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE) | _NOBLOCK
_RCVMORE = int(zmq.RCVMORE)
_POLLIN = int(zmq.POLLIN)
_EVENTS = int(zmq.EVENTS)


class Link:
    """See the module.

    Args:
        ticket: Where to connect and as whom.
        context: The ZeroMQ context to make sockets in.
        connect_seconds: How long the bridge may take to say welcome.

    Attributes:
        welcome: What the bridge said about the session, None before it did.
        failure: Why the link is dead, None while it isn't.
        calls: The calls sent and not settled, by id.
        queue: Calls that wait for the welcome or for room, in order.
        leading: The call whose thread polls `descriptors`, None when no thread does.
        followers: Calls whose threads wait while another leads.
        descriptors: What to poll; readable means call `drain`.
    """

    def __init__(self, ticket: Ticket, context: Context, connect_seconds: float) -> None:
        self._ticket = ticket
        self._connection = Connection(Role.KERNEL)
        self._dealer, self._monitor = open_sockets(ticket, context)
        self._awaits_dial = ticket.bridge_dials
        # The methods below ZeroMQ's Python layer, which adds a microsecond to each call for what isn't used here.
        self._send_frame = zmq.backend.Socket.send.__get__(self._dealer)
        self._receive_frame = zmq.backend.Socket.recv.__get__(self._dealer)
        self._get_option = zmq.backend.Socket.get.__get__(self._dealer)
        self._polled = [(self._dealer, _POLLIN), (self._monitor, _POLLIN)]
        self.descriptors = (int(self._dealer.fd), int(self._monitor.fd))
        self._idle_poll = select.poll()
        for descriptor in self.descriptors:
            self._idle_poll.register(descriptor, select.POLLIN)
        self.welcome: Welcome | None = None
        self.failure: BridgeUnavailableError | None = None
        self.calls: dict[int, Call] = {}
        self.queue: collections.deque[Call] = collections.deque()
        self.leading: Call | None = None
        self.followers: dict[Call, None] = {}
        self._uploads = 0
        self._beats = 0
        self._connect_seconds = connect_seconds
        self.due = time.monotonic() + connect_seconds
        """When something has to be done though nothing was heard: give up connecting, or send a heartbeat."""
        if not ticket.bridge_dials:  # without a connection there is nobody to send it to
            self._say_hello()

    # calls -------------------------------------------------------------------------------------------------------------

    def serve(self, call: Call, now: float) -> None:
        """Send all that can be sent for a call now, and take in all that has arrived, until neither leads to more."""
        self._return_credit(call)
        if call.id == 0 and not call.is_settled and call not in self.queue:
            if self.welcome is None and not self.queue:  # nobody has waited until now
                self.due = now + self._connect_seconds
            if self.queue or not self._has_room(call):
                self.queue.append(call)
            else:
                self._open(call, now)
        self.drain()
        while call.upload is not None and self._upload(call):
            self.drain()

    def _open_queued(self) -> bool:
        """Send the requests there is room for by now; gives whether there were any.

        Whoever makes room does this for all calls: those who wait may be unable to, like the tasks of an event loop whose
        thread is in a blocking call.
        """
        opened = False
        for call in [*self.queue] if self.queue else ():
            if self._has_room(call):
                self.queue.remove(call)
                self._open(call, time.monotonic())
                self._upload(call)
                call.wake()  # from now on it waits for something else, and less long
                opened = True
        return opened

    def _has_room(self, call: Call) -> bool:
        if self.welcome is None or len(self._connection.open_calls) >= self.welcome.limits.open_calls:
            return False
        return not call.operation.contents or self._uploads < MAX_UPLOADS

    def _open(self, call: Call, now: float) -> None:
        assert self.welcome is not None
        limits = self.welcome.limits
        if not self.calls:  # nobody has waited until now, so nothing heard meant nothing
            self._beats = 0
            self.due = now + limits.heartbeat_seconds
        try:
            self._send_request(call, limits, now)
        except LocalProtocolError as error:
            call.error = InvalidToolRequestError(f"the call can't be sent: {error}; pass large content as bytes")
        except HermesError as error:
            call.error = error

    def _send_request(self, call: Call, limits: Limits, now: float) -> None:
        call_id = self._connection.next_id()
        operation = call.operation
        if isinstance(operation, StatusOperation):
            question = operation.question(call_id, call.narrow)
            self._require_narrowing(question.narrow)
            self._send(question)
        else:
            self._require_narrowing(call.narrow)
            seconds = min(operation.timeout_seconds, max(0.001, call.deadline - now))
            request, bulk, upload = operation.request(call_id, seconds, limits, call.site, call.narrow)
            self._send(request, bulk)
            if upload is not None:
                call.upload = upload
                self._uploads += 1
        if self.failure is None:
            call.id = call_id
            call.deadline += GRACE_SECONDS
            self.calls[call_id] = call

    def _require_narrowing(self, narrow: Levels) -> None:
        if narrow and self._connection.version < NARROWING_SINCE:
            raise ToolNotConfiguredError(
                f"the bridge speaks version {self._connection.version} of the protocol, in which calls can't be narrowed: "
                "install the same release on both sides, or leave hermes.narrow(…)"
            )

    def _return_credit(self, call: Call) -> None:
        """Let the bridge send as many bytes more as were consumed, once that is worth a message."""
        if call.consumed_bytes and call.consumed_bytes * 2 >= call.operation.window_bytes:
            self._send(Credit(id=call.id, bytes=min(call.consumed_bytes, MAX_WINDOW_BYTES)))
            call.consumed_bytes = 0

    def _upload(self, call: Call) -> bool:
        """Send as much of an upload as there is credit for; gives whether that was anything."""
        sent = False
        while call.upload is not None and (credit := self._connection.upload_credit(call.id)) and self.failure is None:
            piece = call.upload[: min(credit, self._upload_chunk_bytes())]
            rest = call.upload[len(piece) :]
            self._send(Chunk(id=call.id, stream="body", end=not rest), [piece])
            self._set_upload(call, rest or None)
            sent = True
        return sent

    def _upload_chunk_bytes(self) -> int:
        assert self.welcome is not None
        return min(UPLOAD_CHUNK_BYTES, self.welcome.limits.frame_bytes)

    def _set_upload(self, call: Call, rest: memoryview | None) -> None:
        if call.upload is not None and rest is None:
            self._uploads -= 1
        call.upload = rest

    def give_up(self, call: Call) -> None:
        """Forget a call nobody waits for any more, and tell the bridge. Its reply will be dropped by its id."""
        with contextlib.suppress(ValueError):
            self.queue.remove(call)
        if self.calls.pop(call.id, None) is not None:
            self._set_upload(call, None)
            if self.failure is None:
                self._send(Cancel(id=call.id))

    def leave(self, call: Call) -> None:
        """Take a call off the list of those whose threads wait, and let another thread lead in its place."""
        if self.leading is call:
            self.leading = None
        else:
            self.followers.pop(call, None)

    def hand_over(self) -> None:
        """Wake a thread that waits, to lead, if none does."""
        if self.leading is None and self.followers:
            next(iter(self.followers)).wake()

    # the clock ---------------------------------------------------------------------------------------------------------

    def keep_time(self, now: float) -> None:
        """Do what is due: give up connecting, ask for a sign of life, or take the bridge for dead."""
        if now < self.due:
            return
        self.drain()  # a process that was stopped for a while finds the answers it believes missing
        if now < self.due or self.failure is not None:
            return
        if self.welcome is None:
            self.fail(f"the bridge at {self._ticket.endpoint} did not answer within {self._connect_seconds:g} s")
        elif self._beats >= MAX_SILENT_BEATS:
            self.fail(f"the bridge has not answered {self._beats} heartbeats: it hangs or is unreachable")
        else:
            self._beats += 1
            self.due = now + self.welcome.limits.heartbeat_seconds
            self._send(Heartbeat())
            self.drain()

    def expire(self, call: Call, now: float) -> None:
        """Give up on a call whose answer is overdue."""
        if now < call.deadline or call.is_settled:
            return
        if self.welcome is None:
            call.error = BridgeUnavailableError(f"the bridge at {self._ticket.endpoint} did not answer in time")
        elif call.id:
            call.error = ToolTimeoutError(
                f"{call.operation.tool or 'the bridge'} was not answered within {call.operation.timeout_seconds:g} s, nor "
                "stopped by the bridge some seconds later; the call was cancelled"
            )
        else:
            call.error = ToolTimeoutError(
                f"{call.operation.tool}: waited {call.operation.timeout_seconds:g} s for room; the session allows "
                f"{self.welcome.limits.open_calls} open calls and {MAX_UPLOADS} uploads at once"
            )
        self.give_up(call)
        self.drain()

    # the socket --------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take in what has arrived while nobody waited, if anything has. Only right if the last touch ended with `drain`."""
        if self._idle_poll.poll(0):
            self.drain()

    def drain(self) -> None:
        """Take in everything that has arrived, and make use of the room that it gives."""
        while self.failure is None:
            ready = zmq_poll(self._polled, 0)
            if not ready:
                if self.queue and self._open_queued():
                    continue  # sending may have taken notice of something that arrived
                return
            if ready[0][0] is not self._dealer:  # what was received before the connection was lost came first
                self._take_event()
                continue
            try:
                message, bulk = self._connection.receive(self._receive())
                if message is not None:
                    self._heard()
                    self._take_in(message, bulk)
            except RemoteProtocolError as error:
                self.fail(f"the bridge broke the protocol: {error}")
            except zmq.ZMQError as error:
                self.fail(f"the connection to the bridge broke: {error}")

    def _receive(self) -> list[Frame]:
        received: list[Frame] = [self._receive_frame(_NOBLOCK)]
        if self._get_option(_RCVMORE):
            more = True
            while more:
                frame = self._receive_frame(_NOBLOCK, False)  # bulk isn't copied
                if len(received) <= MAX_FRAMES:
                    received.append(frame.buffer)
                more = frame.more
        return received

    def _heard(self) -> None:
        if self.welcome is not None:
            self._beats = 0
            self.due = time.monotonic() + self.welcome.limits.heartbeat_seconds

    def _take_in(self, message: AnyMessage, bulk: Sequence[Frame]) -> None:
        match message:
            case ToolReply() | StatusReply():
                call = self.calls.pop(message.id, None)
                if call is not None:
                    call.reply, call.bulk = message, tuple(bulk)
                    self._set_upload(call, None)
                    call.wake()
            case Chunk():
                call = self.calls.get(message.id)
                if call is not None:
                    call.arrived.append((message.stream, bulk[0]))
                    call.wake()
            case Credit():
                call = self.calls.get(message.id)
                if call is not None:
                    call.wake()
            case Pending():
                call = self.calls.get(message.id)
                if call is not None:
                    call.deadline += message.seconds
                    call.wake()
            case Heartbeat():
                if not message.reply:
                    self._send(Heartbeat(reply=True))
            case Welcome():
                self._take_welcome(message)
            case Goodbye():
                reason = message.message or "the session ended"
                self.fail(
                    f"the bridge closed the connection: {reason}" + (f" ({message.code})" if message.code else "")
                )

    def _take_welcome(self, welcome: Welcome) -> None:
        if welcome.version not in PROTOCOL_VERSIONS:
            self.fail(f"the bridge chose version {welcome.version}, which was not offered: install the same release")
            return
        self.welcome = welcome
        self._heard()

    def _say_hello(self) -> None:
        self._send(Hello(versions=PROTOCOL_VERSIONS, client="hermes-runtime (Python)"))

    def _take_event(self) -> None:
        """Take in what ZeroMQ says about the connection."""
        event = int.from_bytes(self._monitor.recv_multipart(zmq.NOBLOCK)[0][:2], "little")
        if not self._awaits_dial:
            self.fail(self._loss(event))
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._awaits_dial = False
            self._get_option(_EVENTS)  # has the socket take notice of its new connection
            self._say_hello()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.fail(self._loss(event))
        # Anything else is somebody who knocked and wasn't the bridge, or the bridge, which will try again.

    def _loss(self, event: int) -> str:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return "the bridge does not know this kernel's key: its session has ended or belongs to a newer kernel"
        if event == zmq.EVENT_DISCONNECTED and self._connection.state is State.OPEN:
            return "the bridge's process ended or closed the connection"
        return "the bridge refused the connection: its session has ended or belongs to a newer kernel"

    def _send(self, message: AnyMessage, bulk: Sequence[Frame] = ()) -> None:
        if self.failure is not None:
            return
        frames = self._connection.send(message, bulk)
        try:
            if bulk:
                for frame in frames[:-1]:
                    self._send_frame(frame, _SNDMORE)
            self._send_frame(frames[-1], _NOBLOCK)
        except zmq.ZMQError as error:
            self.fail(f"the connection to the bridge broke: {error}")

    def fail(self, reason: str, linger_milliseconds: int = 0) -> None:
        """Take the link for dead: every call on it ends, and a later one needs a new link."""
        if self.failure is not None:
            return
        self.failure = BridgeUnavailableError(reason)
        sent, queued = list(self.calls.values()), list(self.queue)
        self.calls.clear()
        self.queue.clear()
        for call in sent:
            call.error = BridgeUnavailableError(
                f"{reason}. {call.operation.tool or 'The request'} was under way: {_UNKNOWN}"
            )
            call.wake()
        for call in queued:
            call.wake()
        self.close(linger_milliseconds)

    def close(self, linger_milliseconds: int = 0) -> None:
        """Close what is still open of the sockets, after an exception from outside tore this or `fail` apart, too."""
        if not self._dealer.closed:
            self._dealer.disable_monitor()
        self._monitor.close(0)
        self._dealer.close(linger_milliseconds)

    def say_goodbye(self) -> None:
        """Close in an orderly way."""
        if self.failure is None:
            if self._connection.state is State.OPEN:
                self._send(Goodbye())
            self.fail("this process closed the connection", GOODBYE_MILLISECONDS)


_UNKNOWN = "whether it was carried out is not known"
