"""What a session and a web worker say to each other, as length-prefixed MessagePack.

    Fetch, Search  ->  Page, Found, Redirected, Problem         one struct each way
    Send           ->  Wanted, and for each of these a Part     a request's body, as the server takes it
                   ->  Begun, Piece…, Ended                     or Redirected, or Problem at any time

Neither side holds more of a body than a few pieces: a part is sent when it is wanted, and a worker whose pieces nobody takes
waits in its pipe.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgpack
import msgspec

MAX_MESSAGE_BYTES = 16 * 2**20
_LENGTH = struct.Struct(">I")


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all of them share.

    Attributes:
        job: Which job it is about; chosen by the session.
    """

    job: int


class Fetch(_Message, frozen=True, tag="fetch"):
    """Fetch one URL, following nothing, and give its text.

    Attributes:
        any_address: Whether it may be served by any address, not only by public ones.
        max_bytes: How much of the body is read, decompressed.
        max_characters: How much of the text is given.
    """

    scheme: str
    host: str
    port: int
    path: str
    any_address: bool
    max_bytes: int
    max_characters: int
    user_agent: str
    timeout_seconds: float


class Send(_Message, frozen=True, tag="send"):
    """Make one request, following nothing, and give the answer as it is.

    Attributes:
        headers: Names and values, secrets put in; the worker adds what belongs to the connection.
        body_bytes: How long the body is that is asked for by `Wanted`; None for none.
        any_address: As in `Fetch`.
        only_loopback: Whether it may be served by this machine only: it carries a secret, unencrypted.
        max_bytes: How much of the answer's body is read, decompressed.
        max_success_bytes: The same for an answer that says it worked.
        tool: Whose settings an administrator would change.
    """

    method: str
    scheme: str
    host: str
    port: int
    path: str
    headers: dict[str, str]
    body_bytes: int | None
    any_address: bool
    only_loopback: bool
    max_bytes: int
    max_success_bytes: int
    timeout_seconds: float
    tool: str


class Part(_Message, frozen=True, tag="part"):
    """The next piece of a request's body."""

    data: bytes


class Search(_Message, frozen=True, tag="search"):
    """Ask a search provider. `settings` are its own; the key travels here and nowhere else."""

    provider: str
    settings: dict[str, Any]
    api_key: str
    query: str
    limit: int
    timeout_seconds: float


class Page(_Message, frozen=True, tag="page"):
    """What a URL gave."""

    title: str
    content_type: str
    markdown: str
    truncated: bool


class Wanted(_Message, frozen=True, tag="wanted"):
    """The server takes more of the request's body."""


class Begun(_Message, frozen=True, tag="begun"):
    """What a request is answered with; its body follows.

    Attributes:
        headers: Names and values, in order.
        size_bytes: How long the body is as the server says it, None where it doesn't.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    size_bytes: int | None


class Piece(_Message, frozen=True, tag="piece"):
    """More of an answer's body, decompressed."""

    data: bytes


class Ended(_Message, frozen=True, tag="ended"):
    """An answer's body is over, or cut: `truncated` says that it goes on beyond the cap."""

    truncated: bool


class Redirected(_Message, frozen=True, tag="redirected"):
    """The URL points elsewhere: whether to go there is not the worker's to decide."""

    location: str
    status: int = 302


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One search result, as the provider gave it."""

    title: str
    url: str
    description: str


class Found(_Message, frozen=True, tag="found"):
    """What a search gave."""

    results: tuple[Result, ...]


class Problem(_Message, frozen=True, tag="problem"):
    """Why a job gave nothing. The text is for the kernel.

    Attributes:
        is_exhausted: Whether the worker ran out of memory, and may be unable to do more.
    """

    kind: Literal["failed", "timed_out", "denied", "not_configured"]
    message: str
    is_exhausted: bool = False


Job = Fetch | Send | Search
Order = Job | Part
Answer = Page | Wanted | Begun | Piece | Ended | Redirected | Found | Problem


def encode(message: Order | Answer) -> bytes:
    """Give a message's bytes, length first."""
    body: bytes = msgpack.packb(msgspec.to_builtins(message, builtin_types=(bytes,)))
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in, messages out."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Take bytes and give the messages now complete.

        Raises:
            ValueError: They are no such messages.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if size > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {size} bytes")
            if len(self._buffer) < _LENGTH.size + size:
                break
            body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
            del self._buffer[: _LENGTH.size + size]
            messages.append(msgspec.convert(msgpack.unpackb(body), type=self._kind, builtin_types=(bytes,)))
        return messages
