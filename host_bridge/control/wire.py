"""How control messages travel: a 4-byte big-endian length, and a MessagePack map tagged by `type`."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

import msgpack
import msgspec

from host_bridge.control.message import ControlMessage
from host_bridge.control.messages import ToHost, ToSession
from host_bridge.errors import SessionError

MAX_CONTROL_BYTES = 16 * 2**20
_LENGTH = struct.Struct(">I")

_TYPES: dict[str, type[ControlMessage]] = {
    kind.__struct_config__.tag: kind for kind in (*ToSession.__args__, *ToHost.__args__)
}


def encode(message: ControlMessage) -> bytes:
    """Give a message's bytes, length first."""
    body: bytes = msgpack.packb(msgspec.to_builtins(message))
    if len(body) > MAX_CONTROL_BYTES:
        raise SessionError(f"a control message of {len(body)} bytes is over the limit of {MAX_CONTROL_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in, messages out: for a socket read in whatever pieces it gives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[ControlMessage]:
        """Take bytes and give the messages now complete.

        Raises:
            SessionError: Not a control message; the channel can't be used any more.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if size > MAX_CONTROL_BYTES:
                raise SessionError(f"a control message announces {size} bytes, over the limit of {MAX_CONTROL_BYTES}")
            if len(self._buffer) < _LENGTH.size + size:
                break
            body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
            del self._buffer[: _LENGTH.size + size]
            messages.append(_decode(body))
        return messages


def _decode(body: bytes) -> ControlMessage:
    try:
        fields = msgpack.unpackb(body)
        return msgspec.convert(fields, type=_TYPES[fields["type"]])
    except Exception as error:  # whatever the bytes were, they were not a control message
        raise SessionError(f"unreadable control message: {error}") from None


class Writer:
    """Messages out, without ever waiting for the reader: what doesn't fit into the socket stays here until `flush`.

    Thread-safe.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unsent = bytearray()
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """How many bytes are still here."""
        return len(self._unsent)

    def put(self, *messages: ControlMessage) -> None:
        """Send messages, now or with a later `flush`."""
        data = b"".join(map(encode, messages))
        with self._lock:
            self._unsent += data
        self.flush()

    def flush(self, timeout_seconds: float = 0.0) -> None:
        """Send as much as the socket takes; a reader that is gone is sent nothing more.

        Args:
            timeout_seconds: How long to wait for a reader that is slow.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            while self._unsent:
                try:
                    sent = self._channel.send(self._unsent, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    del self._unsent[:sent]
                except BlockingIOError:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0 or not select.select([], [self._channel], [], remaining)[1]:
                        return
                except OSError:  # closed: the reading side notices and ends the session
                    self._unsent.clear()


def send(channel: socket.socket, message: ControlMessage) -> None:
    """Write one message whole.

    Raises:
        SessionError: The other end is gone.
    """
    try:
        channel.sendall(encode(message))
    except OSError as error:
        raise SessionError(f"the control channel is closed: {error.strerror}") from error
