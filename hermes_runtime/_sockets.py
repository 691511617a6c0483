"""Making a link's sockets: the DEALER that carries the messages, and the monitor that tells how its connection fares."""

from __future__ import annotations

import socket
from pathlib import Path

import zmq

from hermes_protocol.frames import MAX_BULK_FRAME_BYTES
from hermes_protocol.ticket import Ticket

RECONNECT_MILLISECONDS = 20  # the bridge starts beside the kernel: the first attempt may come too early
RECONNECT_MAX_MILLISECONDS = 2_000
CURVE_BYTES = 64  # ZeroMQ counts a frame's size with its encryption, which adds 33 bytes
_BACKLOG = 8  # one bridge dials in; the rest is for its attempts that came to nothing

_CONNECTION_LOST = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class _Socket(zmq.Socket[bytes]):
    """A socket that is closed for certain once nobody holds it.

    pyzmq's own `__del__` is Python, which the exception of a signal handler can tear apart. The socket would then stay open
    for good, and a context waits for its sockets when it ends. This one is C from end to end.
    """

    __del__ = zmq.backend.Socket.close


class Context(zmq.Context[_Socket]):
    """A ZeroMQ context for the sockets of links."""

    _socket_class = _Socket


def open_sockets(ticket: Ticket, context: Context) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """Give the DEALER, on its way to the bridge, and its monitor.

    Raises:
        zmq.ZMQError, ValueError, OSError: The ticket's address or keys can't be used. Nothing is left open.
    """
    dealer: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    monitor: zmq.Socket[bytes] | None = None
    try:
        dealer.linger = 0
        dealer.curve_serverkey = ticket.server_public_key.encode()
        dealer.curve_publickey = ticket.public_key.encode()
        dealer.curve_secretkey = ticket.secret_key.encode()
        dealer.maxmsgsize = MAX_BULK_FRAME_BYTES + CURVE_BYTES
        # Unlimited, because credit limits what is sent and what may come: so a send never has to wait.
        dealer.sndhwm = dealer.rcvhwm = 0
        if ticket.bridge_dials:
            monitor = dealer.get_monitor_socket(_CONNECTION_LOST | zmq.EVENT_HANDSHAKE_SUCCEEDED)
            monitor.linger = 0
            _listen(dealer, ticket.endpoint)
        else:
            dealer.reconnect_ivl = RECONNECT_MILLISECONDS
            dealer.reconnect_ivl_max = RECONNECT_MAX_MILLISECONDS
            monitor = dealer.get_monitor_socket(_CONNECTION_LOST)
            monitor.linger = 0
            dealer.connect(ticket.endpoint)
    except BaseException:
        if monitor is not None:
            monitor.close(0)
        dealer.close(0)
        raise
    return dealer, monitor


def _listen(dealer: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind where the bridge dials in, in place of what an earlier process or link left there.

    By a descriptor of our own: ZeroMQ removes the file of a socket that it bound itself, at some time after closing it, which
    would be the next one's file.
    """
    path = endpoint.removeprefix("ipc://")
    if path == endpoint:
        raise ValueError(f"a bridge dials in to an ipc:// address only, not to {endpoint}")
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        dealer.use_fd = listener.fileno()
        dealer.bind(endpoint)
        listener.detach()  # ZeroMQ's from here on
