from __future__ import annotations

import gzip
import itertools
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from web_answers import answer

from host_bridge.policy.origins import parse_url
from host_bridge.tools.web import fetch as module
from host_bridge.tools.web.fetch import Response, fetch, is_reachable
from host_bridge.tools.web.problems import WebDeniedError, WebError, WebTimeoutError

Serve = Callable[..., Any]


def get(url: str, *, timeout: float = 10, max_bytes: int = 10_000, **options: Any) -> Response:
    return fetch(parse_url(url), timeout_seconds=timeout, max_bytes=max_bytes, **{"any_address": True, **options})


def test_one_request_is_made_for_exactly_what_was_decided(serve: Serve) -> None:
    server = serve(answer(b"hello", "Content-Type: text/plain", "X-A: 1", "X-A: 2"))
    response = get(server.url("/a%2Fb?c=%C3%A4"), headers={"X-Key": "k"})
    assert (response.status, response.body, response.truncated) == (200, b"hello", False)
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["x-a"] == "1"
    line, *headers = server.requests[0].decode().split("\r\n")
    assert line == "GET /a%2Fb?c=%C3%A4 HTTP/1.1"
    assert {"Host: " + server.place, "X-Key: k", "Connection: close"} <= set(headers)
    assert not [header for header in headers if header.lower().startswith(("cookie", "authorization", "referer"))]


def test_an_ipv6_address_is_spelt_as_http_wants_it(serve: Serve) -> None:
    server = serve(answer(b"six"), address="::1")
    assert get(server.url()).body == b"six"
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


def test_proxies_of_the_environment_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = serve(answer(b"proxy")), serve(answer(b"server"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    assert get(server.url()).body == b"server"
    assert not proxy.connections


class TestAddresses:
    def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = serve(answer(b"checked"), address="127.0.0.2")
        checked: list[str] = []
        monkeypatch.setattr(module, "is_reachable", lambda address: not checked.append(address))
        answers = iter([["127.0.0.2"], ["127.0.0.1"]])  # a name that moves between two look-ups
        response = get(f"http://rebinding.example:{server.port}/", resolver=lambda *_: next(answers), any_address=False)
        assert response.body == b"checked"
        assert checked == ["127.0.0.2"]
        assert f"Host: rebinding.example:{server.port}\r\n".encode() in server.requests[0]
        assert next(answers) == ["127.0.0.1"], "it was resolved a second time"

    @pytest.mark.parametrize(
        "addresses",
        [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["::1"], ["fe80::1%1"], ["nonsense"]],
    )
    def test_one_address_that_is_not_public_is_enough_to_refuse(self, serve: Serve, addresses: Sequence[str]) -> None:
        server = serve(answer(b"internal"))
        with pytest.raises(WebDeniedError, match=r"not public.*allow_private"):
            get(f"http://evil.example:{server.port}/", resolver=lambda *_: addresses, any_address=False)
        assert not server.connections

    def test_the_real_resolver_is_checked_too(self, serve: Serve) -> None:
        server = serve(answer(b"internal"))
        with pytest.raises(WebDeniedError):
            get(f"http://localhost:{server.port}/", any_address=False)
        assert not server.connections

    def test_this_machines_own_addresses_are_not_reachable_even_if_public(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "is_public", lambda address: True)
        assert not is_reachable("127.0.0.1")
        assert not is_reachable("::1")
        assert is_reachable("192.0.2.1")

    @pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["1.1.1.1"], ["fe80::1%1"]])
    def test_what_only_this_machine_may_be_told_is_told_nobody_else_whatever_the_name_leads_to(
        self, serve: Serve, addresses: Sequence[str]
    ) -> None:
        server = serve(answer(b"here"))
        url = f"http://localhost:{server.port}/"
        with pytest.raises(WebDeniedError, match="unencrypted"):
            get(url, resolver=lambda *_: addresses, only_loopback=True)
        assert not server.connections
        assert get(url, resolver=lambda *_: ["127.0.0.1"], only_loopback=True).body == b"here"

    def test_the_next_address_is_tried_when_one_does_not_answer(self, serve: Serve) -> None:
        server = serve(answer(b"second"))
        url = f"http://two.example:{server.port}/"
        assert get(url, resolver=lambda *_: ["127.0.0.9", "127.0.0.1"]).body == b"second"

    def test_a_host_that_does_not_exist_or_answer_says_so(self) -> None:
        with pytest.raises(WebError, match="was not found"):
            get("http://does-not-exist.invalid/")
        with pytest.raises(WebError, match="refuses connections"):
            get("http://127.0.0.1:9/")
        with pytest.raises(WebError, match="no address"):
            get("http://a.example/", resolver=lambda *_: [])


class TestBounds:
    def test_a_body_is_cut_at_the_cap(self, serve: Serve) -> None:
        server = serve(answer(b"x" * 50_000))
        response = get(server.url())
        assert (len(response.body), response.truncated) == (10_000, True)
        assert get(server.url(), max_bytes=50_000).truncated is False

    def test_a_bomb_is_cut_at_the_cap(self, serve: Serve) -> None:
        bomb = gzip.compress(bytes(100 * 2**20), compresslevel=9)
        server = serve(answer(bomb, "Content-Encoding: gzip"))
        response = get(server.url(), max_bytes=1_000_000)
        assert (response.body, response.truncated) == (bytes(1_000_000), True)

    def test_an_endless_body_is_cut(self, serve: Serve) -> None:
        def endless(connection: socket.socket, request: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")

        assert get(serve(endless).url()).truncated

    def test_an_endless_body_that_unpacks_to_nothing_is_cut(self, serve: Serve) -> None:
        def endless(connection: socket.socket, request: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n")
            while True:
                connection.sendall(b"\x00\x00\x00\xff\xff" * 1000)  # stored blocks of no bytes

        assert get(serve(endless).url()).truncated

    @pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
    def test_a_byte_now_and_then_ends_at_the_deadline(self, serve: Serve, head: bytes) -> None:
        def slow(connection: socket.socket, request: bytes) -> None:
            connection.sendall(head)
            for byte in itertools.cycle(b"HTTP/1.1 200 OK"):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

        started = time.monotonic()
        with pytest.raises(WebTimeoutError):
            get(serve(slow).url(), timeout=0.5)
        assert time.monotonic() - started < 3

    def test_a_silent_server_ends_at_the_deadline(self, serve: Serve) -> None:
        server = serve(lambda connection, request: connection.recv(1))
        started = time.monotonic()
        with pytest.raises(WebTimeoutError):
            get(server.url(), timeout=0.3)
        assert time.monotonic() - started < 2

    @pytest.mark.parametrize(
        "piece", [b"X-A: " + b"a" * 10_000 + b"\r\n", b"X: y\r\n", b"a" * 10_000], ids=["long", "many", "one"]
    )
    def test_headers_without_end_are_refused(self, serve: Serve, piece: bytes) -> None:
        def endless(connection: socket.socket, request: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(piece)

        with pytest.raises(WebError, match="too long headers"):
            get(serve(endless).url())

    def test_interim_answers_without_end_are_refused(self, serve: Serve) -> None:
        def endless(connection: socket.socket, request: bytes) -> None:
            while True:
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")

        with pytest.raises(WebError):
            get(serve(endless).url(), timeout=20)

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"\0\xff" * 100,
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxxx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nxxxxx",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 999999 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\x00: x\r\n\r\n",
        ],
    )
    def test_what_is_not_http_is_an_error(self, serve: Serve, sent: bytes) -> None:
        with pytest.raises(WebError):
            get(serve(sent).url())

    def test_only_a_success_is_read(self, serve: Serve) -> None:
        response = get(serve(answer(b"x" * 100, "Location: /y", status="302 Found")).url())
        assert (response.status, response.body, response.headers["location"]) == (302, b"", "/y")


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[Path, Path]:
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext"
        )
        files = ("subjectAltName=DNS:name.example", "-keyout", str(key), "-out", str(certificate))
        subprocess.run([*command.split(), *files], check=True, capture_output=True)
        return key, certificate

    @pytest.fixture
    def server(self, serve: Serve, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Any:
        key, path = certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, key)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        module._tls.cache_clear()
        names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        server = serve(answer(b"secret"), tls=context)
        server.names = names
        yield server
        module._tls.cache_clear()

    def test_the_certificate_must_be_for_the_name_that_was_asked_for(self, server: Any) -> None:
        url = f"https://name.example:{server.port}/"
        assert get(url, resolver=lambda *_: ["127.0.0.1"]).body == b"secret"
        assert server.names == ["name.example"]
        with pytest.raises(WebError, match="certificate"):
            get(f"https://other.example:{server.port}/", resolver=lambda *_: ["127.0.0.1"])
        assert len(server.requests) == 1

    def test_a_server_that_does_not_speak_tls_says_so(self, serve: Serve) -> None:
        server = serve(answer(b"plain"))
        with pytest.raises(WebError):
            get(f"https://127.0.0.1:{server.port}/", timeout=2)
