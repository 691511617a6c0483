"""One HTTP request, with every address checked and everything bounded. Runs in a web worker.

A name is resolved once; all of its addresses must be allowed, and the connection goes to one of exactly those. Nothing is
followed, no proxy is used, no cookie or credential is sent but what is given. Whatever the server does, it ends at the deadline
or at the cap.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import httpcore

from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS, bracketed, is_public
from host_bridge.tools.web.decompression import Decompressor
from host_bridge.tools.web.problems import WebDeniedError, WebError, WebTimeoutError

Resolver = Callable[[str, int], Sequence[str]]

_OVERHEAD_BYTES = 512 * 1024  # headers, chunk marks and TLS beside the body; h11 takes 100 KiB of headers at most
PIECE_BYTES = 256 * 1024
_CONNECT_SECONDS = 5.0  # for each address, when there are several


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        headers: By lower-case name; of several only the first.
        body: Decompressed; empty unless the status is a success.
        truncated: Whether the body goes on beyond the cap.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool


class Exchange:
    """An answer whose body is still to be read.

    Attributes:
        reason: What the server wrote beside the status.
        fields: All headers, in order.
        headers: By lower-case name; of several only the first.
        truncated: Whether the body goes on beyond what `pieces` has given; known once it has given all.
        ends_early: Whether it ends in the middle of what is compressed; known then too.
    """

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer
        self.status = answer.status
        self.reason = answer.extensions.get("reason_phrase", b"").decode("latin-1")
        self.fields = tuple(_decoded(answer.headers))
        self.headers: Mapping[str, str] = dict(reversed(self.fields))
        self.truncated = False
        self.ends_early = False

    def pieces(self, max_bytes: int) -> Iterator[bytes]:
        """Read and decompress until the end or the cap, whichever comes first, on either side of the decompression.

        Raises:
            WebError: It isn't compressed as it says.
        """
        decompressor = Decompressor(self.headers.get("content-encoding", ""))
        given = received = 0
        for data in self._answer.iter_stream():
            received += len(data)
            for piece in decompressor.pieces(data, PIECE_BYTES):
                kept = piece[: max_bytes - given]
                given += len(kept)
                if kept:
                    yield kept
                if len(kept) < len(piece):
                    self.truncated = True
                    return
            if received > max_bytes:
                self.truncated = True
                return
        self.ends_early = decompressor.is_unfinished


def resolve(host: str, port: int) -> Sequence[str]:
    """Give a host's addresses in the system's order of preference.

    Raises:
        WebError: It has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise WebError(f"the host {host} was not found") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Connecting(TypedDict, total=False):
    """What `exchange` and `fetch` may be told besides, of how a place is reached and what is said there."""

    any_address: bool
    headers: Mapping[str, str] | None
    resolver: Resolver
    only_loopback: bool


def fetch(url: UrlResource, *, timeout_seconds: float, max_bytes: int, **connecting: Unpack[Connecting]) -> Response:
    """Get what is at a URL, read to its end; as `exchange`.

    Raises:
        WebError: No answer, or none that could be read.
    """
    with exchange(url, timeout_seconds=timeout_seconds, max_bytes=max_bytes, **connecting) as answer:
        if not 200 <= answer.status < 300:
            return Response(answer.status, answer.headers, b"", False)
        body = b"".join(answer.pieces(max_bytes))
        return Response(answer.status, answer.headers, body, answer.truncated)


@contextlib.contextmanager
def exchange(
    url: UrlResource,
    *,
    timeout_seconds: float,
    max_bytes: int,
    any_address: bool = False,
    headers: Mapping[str, str] | None = None,
    resolver: Resolver = resolve,
    method: str = "GET",
    body: Iterator[bytes] | None = None,
    body_bytes: int = 0,
    only_loopback: bool = False,
    tool: str = "web_extract",
) -> Iterator[Exchange]:
    """Make one request, and give the answer as soon as it begins.

    Args:
        url: Where to.
        timeout_seconds: For everything together, the reading of the body included.
        max_bytes: How much of the body is read at most, compressed or not.
        any_address: Whether addresses that are not public may serve it.
        headers: More than the few that are always sent, or instead of them.
        resolver: Gives a host's addresses.
        method: What to ask.
        body: What to send, None for nothing.
        body_bytes: How much that is.
        only_loopback: Whether only this machine may serve it.
        tool: Whose settings would allow an address that is refused.

    Raises:
        WebError: No answer, or none that could be read; also while its body is read.
    """
    deadline = time.monotonic() + timeout_seconds
    # What marks the pieces of a body grows with it.
    backend = _CheckedNetwork(deadline, max_bytes + max_bytes // 16 + _OVERHEAD_BYTES, any_address, resolver)
    backend.only_loopback, backend.tool = only_loopback, tool
    origin = httpcore.Origin(url.scheme.encode(), url.host.encode(), url.port)
    target = httpcore.URL(scheme=origin.scheme, host=origin.host, port=url.port, target=url.path.encode())
    sent = _headers(url, headers or {}, None if body is None else body_bytes)
    try:
        with (
            httpcore.HTTPConnection(origin, ssl_context=_tls(), network_backend=backend) as connection,
            connection.stream(method, target, headers=sent, content=body) as answer,
        ):
            yield Exchange(answer)
    except (httpcore.TimeoutException, TimeoutError):
        raise WebTimeoutError(f"{url.host} did not answer completely within {timeout_seconds:g} s") from None
    except httpcore.ConnectError as error:
        raise WebError(f"{url.host} can't be reached: {error}") from None
    except httpcore.ProtocolError:
        raise WebError(f"{url.host} answered with something that isn't HTTP, or with too long headers") from None
    except (httpcore.NetworkError, OSError):
        raise WebError(f"{url.host} broke the connection") from None


def _headers(url: UrlResource, more: Mapping[str, str], body_bytes: int | None) -> list[tuple[bytes, bytes]]:
    port = "" if url.port == DEFAULT_PORTS[url.scheme] else f":{url.port}"
    sent = {
        "Host": f"{bracketed(url.host)}{port}",
        "Accept": "text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.9,*/*;q=0.1",
        "Accept-Encoding": "gzip, deflate",
        "Connection": "close",
    }
    given = {name.lower() for name in more}
    sent = {name: value for name, value in sent.items() if name.lower() not in given} | dict(more)
    if body_bytes is not None:
        sent["Content-Length"] = str(body_bytes)
    return [(name.encode(), value.encode()) for name, value in sent.items()]


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")  # what HTTP once was
        yield name.decode("latin-1").lower(), text.strip()


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # A system without certificates of its own, such as a small container.
        import certifi

        context.load_verify_locations(certifi.where())
    return context


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to checked addresses only."""

    only_loopback = False
    tool = "web_extract"

    def __init__(self, deadline: float, max_bytes: int, any_address: bool, resolver: Resolver) -> None:
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._any_address = any_address
        self._resolver = resolver

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check, connect; the first address that answers."""
        addresses = self._resolver(host, port)
        for address in addresses:
            if self.only_loopback and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
                raise WebDeniedError(f"{host} is not this machine, so no secret may go there unencrypted; use https")
            if not self._any_address and not is_reachable(address):
                raise WebDeniedError(
                    f"{host} has an address that is not public, so it may not be fetched; an administrator can allow it "
                    f'with allow_private = ["{bracketed(host)}:{port}"] in [tools.{self.tool}]'
                )
        problem = "it has no address"
        for address in addresses:
            try:
                return self._connect(address, port, last=address == addresses[-1])
            except TimeoutError:
                problem = "it does not answer"
            except OSError as error:
                problem = "it refuses connections" if error.errno == errno.ECONNREFUSED else "no way leads there"
        raise httpcore.ConnectError(problem)

    def _connect(self, address: str, port: int, *, last: bool) -> httpcore.NetworkStream:
        left = _left(self._deadline)
        connection = socket.create_connection((address, port), timeout=left if last else min(left, _CONNECT_SECONDS))
        return _BoundedStream(connection, self._deadline, self._max_bytes)


class _BoundedStream(httpcore.NetworkStream):
    """A connection that ends at the deadline, and after so many bytes."""

    def __init__(self, connection: socket.socket, deadline: float, max_bytes: int) -> None:
        self._socket = connection
        self._deadline = deadline
        self._bytes_left = max_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some. Every single read looks at the clock, so a byte a second doesn't go on for ever."""
        self._socket.settimeout(_left(self._deadline))
        data = self._socket.recv(max_bytes)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise WebError("the server sends more beside the content than anybody would read")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all."""
        self._socket.settimeout(_left(self._deadline))
        try:
            self._socket.sendall(buffer)
        except TimeoutError:
            raise
        except OSError as error:
            # A server may answer before it has read all: then the answer is still to be read.
            raise httpcore.WriteError(str(error)) from None

    def close(self) -> None:
        """Close at once: what the server still wants to say is not waited for."""
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on encrypted, with a certificate for the name that was asked for."""
        self._socket.settimeout(_left(self._deadline))
        try:
            encrypted = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise httpcore.ConnectError(f"its certificate is not valid ({error.verify_message})") from None
        except OSError:
            raise httpcore.ConnectError("it does not speak TLS as it should") from None
        return _BoundedStream(encrypted, self._deadline, self._bytes_left)

    def get_extra_info(self, info: str) -> Any:
        """Say what httpcore wants to know."""
        return self._socket if info == "socket" else None


def is_reachable(address: str) -> bool:
    """Whether an address is public and not one of this machine's own."""
    return is_public(address) and not _is_own(address)


def _is_own(address: str) -> bool:
    # Towards an address of its own a machine speaks from that address: no list of interfaces is needed. Sends nothing.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return bool(probe.getsockname()[0] == address)
    return False


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
