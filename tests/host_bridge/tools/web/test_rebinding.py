"""Names that change what they lead to between two look-ups, served by a real name server on loopback."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from host_bridge.policy.origins import join_url, parse_url
from host_bridge.tools.web import fetch as module
from host_bridge.tools.web.fetch import Response, fetch
from host_bridge.tools.web.problems import WebDeniedError

PUBLIC = "127.0.0.2"
"""Stands for an address of the public internet here; every other loopback address is what it is."""


class NameServer:
    """Answers each look-up with the next of its answers, at once outdated (a time to live of 0)."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"", self.address)
        self._thread.join()
        self._socket.close()

    def resolve(self, host: str, _port: int) -> list[str]:
        """Look a name up, as a stub resolver does."""
        labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
        query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!2H", 1, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(query, self.address)
            reply = client.recv(4096)
        (count,) = struct.unpack_from("!H", reply, 6)
        return [socket.inet_ntoa(reply[len(query) + 16 * index + 12 :][:4]) for index in range(count)]

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            if not query:
                return
            self.asked.append(_name(query))
            addresses = next(self._answers)
            records = b"".join(struct.pack("!3HIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(one) for one in addresses)
            header = query[:2] + struct.pack("!5H", 0x8180, 1, len(addresses), 0, 0)
            self._socket.sendto(header + query[12:] + records, client)


def _name(query: bytes) -> str:
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode())
        position += length + 1
    return ".".join(labels)


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., NameServer]]:
    monkeypatch.setattr(module, "is_reachable", lambda address: address == PUBLIC)
    servers: list[NameServer] = []

    def start(*answers: Sequence[str]) -> NameServer:
        servers.append(NameServer(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def get(url: str, names: NameServer) -> Response:
    return fetch(parse_url(url), timeout_seconds=10, max_bytes=10_000, resolver=names.resolve)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npublic"
SECRET = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"


def test_a_name_that_moves_after_the_check_is_reached_where_it_was_checked(name_server: Any, serve: Any) -> None:
    names = name_server([PUBLIC], ["127.0.0.1"])
    public = serve(OK, address=PUBLIC)
    assert get(f"http://rebind.example:{public.port}/", names).body == b"public"
    assert names.asked == ["rebind.example"]  # once for the check and the connection


def test_the_same_name_is_checked_again_for_the_next_request(name_server: Any, serve: Any) -> None:
    names = name_server([PUBLIC], ["127.0.0.1"])
    public, internal = serve(OK, address=PUBLIC), serve(SECRET, address="127.0.0.1")
    assert get(f"http://rebind.example:{public.port}/", names).body == b"public"
    with pytest.raises(WebDeniedError, match="not public"):
        get(f"http://rebind.example:{internal.port}/", names)
    assert not internal.connections


def test_a_redirect_to_a_name_that_leads_inside_stops_there(name_server: Any, serve: Any) -> None:
    names = name_server([PUBLIC], ["127.0.0.1"])
    internal = serve(SECRET, address="127.0.0.1")
    location = f"http://rebind.example:{internal.port}/secret"
    moved = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    public = serve(moved, address=PUBLIC)
    start = f"http://rebind.example:{public.port}/"
    answer = get(start, names)
    assert answer.status == 302
    target = join_url(parse_url(start), answer.headers["location"])
    with pytest.raises(WebDeniedError, match="not public"):
        fetch(target, timeout_seconds=10, max_bytes=10_000, resolver=names.resolve)
    assert names.asked == ["rebind.example", "rebind.example"]
    assert not internal.connections


@pytest.mark.parametrize(
    "answer", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["10.0.0.1"], ["169.254.169.254", PUBLIC]]
)
def test_one_address_inside_among_others_is_enough(name_server: Any, serve: Any, answer: list[str]) -> None:
    names = name_server(answer)
    public = serve(OK, address=PUBLIC)
    with pytest.raises(WebDeniedError, match="not public"):
        get(f"http://mixed.example:{public.port}/", names)
    assert not public.connections
