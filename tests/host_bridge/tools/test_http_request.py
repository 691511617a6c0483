"""A request is made as it was decided about, wherever its redirects lead, and its secret goes nowhere else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import web_attacks
from web_answers import answer, redirect

from host_bridge import control
from host_bridge.errors import CallCancelledError, CallError, CallTimeoutError, DeniedError, InvalidCallError
from host_bridge.policy.model import Access, PathResource, UrlResource
from host_bridge.tools.http_request import HttpRequest
from host_bridge.tools.interface import ToolOutput, Upload

TOOL = HttpRequest()
Serve = Callable[..., Any]
Ask = Callable[..., ToolOutput]
VALUE = "tok-3n-0f-s0me-l3ngth"


def whole(connection: socket.socket, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Read a request to its end: its first line, its headers, its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    content = bytearray(body)
    while len(content) < int(headers.get("content-length", 0)):
        content += connection.recv(2**20)
    return first, headers, bytes(content)


@pytest.fixture
def seen(serve: Serve, allow: Any) -> Callable[..., tuple[Any, list[tuple[str, dict[str, str], bytes]]]]:
    """Start a server that notes whole requests: `seen(answer)` gives it and the list."""

    def start(reply: Any = b"") -> tuple[Any, list[tuple[str, dict[str, str], bytes]]]:
        requests: list[tuple[str, dict[str, str], bytes]] = []

        def handle(connection: socket.socket, request: bytes) -> None:
            requests.append(whole(connection, request))
            connection.sendall(reply(*requests[-1]) if callable(reply) else reply or answer())

        return serve(handle), requests

    return start


@pytest.fixture
def allow(session: Any) -> Callable[..., None]:
    """Let the tool ask servers of the test; more settings by name."""

    def allow(*servers: Any, **settings: Any) -> None:
        session.settings["http_request"] = {"allow_private": [server.place for server in servers], **settings}

    return allow


@pytest.fixture
def ask(session: Any, make_context: Any) -> Ask:
    def ask(method: str, url: str, context: Any = None, **arguments: Any) -> ToolOutput:
        call = TOOL.prepare(TOOL.Arguments(method, url, **arguments), session)
        try:
            return call.run(context or make_context())
        finally:
            call.close()

    return ask


@pytest.fixture
def with_secret(make_context: Any) -> Callable[..., Any]:
    """Make contexts of calls that may have the secret T, for servers that are named."""

    def make(*servers: Any, value: str = VALUE, **options: Any) -> Any:
        spec = control.SecretUse(
            name="T", tools=("http_request(* domain:*)",), hosts=tuple(server.url("") for server in servers)
        )
        return make_context(secrets=(spec,), values={"T": value}, **options)

    return make


BEARER = {"Authorization": "Bearer [secret T]"}


class TestARequest:
    def test_is_sent_as_said_and_answered_whatever_the_status(self, seen: Any, allow: Any, ask: Ask) -> None:
        server, requests = seen(answer(b'{"id": 7}', "X-A: 1", "x-a: 2", status="404 No Such Thing"))
        allow(server)
        output = ask("post", server.url("/v1/items?a=b#c"), json={"name": "ä"}, headers={"X-Who": "grün"})
        first, headers, body = requests[0]
        assert first == "POST /v1/items?a=b HTTP/1.1"
        assert json.loads(body) == {"name": "ä"}
        assert headers["content-type"] == "application/json"
        assert headers["content-length"] == str(len(body))
        assert headers["host"] == server.place
        assert headers["user-agent"] == "hermes-runtime"
        assert headers["x-who"] == "grün"
        assert output.value.pop("duration_seconds") > 0
        assert output.value == {
            "status": 404,
            "reason": "No Such Thing",
            "headers": [["x-a", "1"], ["x-a", "2"], ["content-length", "9"]],
            "url": server.url("/v1/items?a=b"),
            "redirects": 0,
            "history": [],
            "returned_bytes": 9,
            "size_bytes": 9,
            "truncated": False,
        }
        assert output.bulk == {"content": b'{"id": 7}'}

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
    def test_may_have_any_method(self, seen: Any, allow: Any, ask: Ask, method: str) -> None:
        server, requests = seen()
        allow(server)
        assert ask(method, server.url()).value["status"] == 200
        assert requests[0][0] == f"{method} / HTTP/1.1"

    def test_brings_bytes_text_or_an_upload(self, seen: Any, allow: Any, ask: Ask, make_context: Any) -> None:
        server, requests = seen()
        allow(server)
        ask("PUT", server.url(), body=b"\x00\xff")
        ask("PUT", server.url(), body="grün")
        pieces = [bytes([number]) * 2**20 for number in range(3)]
        ask("PUT", server.url(), make_context(upload=pieces), body=Upload())
        assert [body for _, _, body in requests] == [b"\x00\xff", "grün".encode(), b"".join(pieces)]

    def test_is_shown_with_all_that_is_sent_but_secrets(self, session: Any) -> None:
        call = TOOL.prepare(
            TOOL.Arguments("post", "HTTPS://Api.Example.org./a/../b", headers=BEARER, json={"k": "[secret T]"}), session
        )
        assert call.resources == (UrlResource("https", "api.example.org", 443, "/b", "POST"),)
        assert call.shown["method"] == "POST"
        assert call.shown["url"] == "https://api.example.org/b"
        assert call.shown["headers"]["authorization"] == "Bearer [secret T]"
        assert call.shown["body"]["text"] == '{"k":"[secret T]"}'
        assert call.shown["body"]["size_bytes"] == 18
        large = TOOL.prepare(TOOL.Arguments("PUT", "https://a.example/", body=b"x" * 5000), session).shown["body"]
        assert large.keys() == {"sha256", "size_bytes"}

    def test_has_an_answer_that_is_streamed_when_it_is_large(
        self, serve: Serve, allow: Any, ask: Ask, make_context: Any
    ) -> None:
        content = bytes(range(256)) * 12_000
        server = serve(answer(content))
        allow(server)
        context = make_context(credit=1000)
        outputs: list[ToolOutput] = []
        thread = threading.Thread(target=lambda: outputs.append(ask("GET", server.url(), context)))
        thread.start()
        context.wait_for(lambda context: len(context.bytes_of("body")) == 1000)
        context.grant(len(content))
        thread.join(20)
        assert context.bytes_of("body") == content
        assert outputs[0].value["returned_bytes"] == len(content)
        assert not outputs[0].bulk

    def test_is_not_taken_faster_than_the_kernel_takes_it(
        self, serve: Serve, allow: Any, ask: Ask, make_context: Any
    ) -> None:
        piece, count = bytes(range(256)) * 2**12, 48
        sent, is_full = [0], threading.Event()

        def handle(connection: socket.socket, request: bytes) -> None:
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(piece) * count}\r\n\r\n".encode())
            connection.settimeout(0.5)
            for _ in range(count):
                left = memoryview(piece)
                while left:
                    try:
                        size = connection.send(left)
                    except TimeoutError:  # nobody reads any more
                        is_full.set()
                        continue
                    sent[0] += size
                    left = left[size:]

        server = serve(handle)
        allow(server)
        context = make_context(credit=1000)
        outputs: list[ToolOutput] = []
        thread = threading.Thread(target=lambda: outputs.append(ask("GET", server.url(), context)))
        thread.start()
        assert is_full.wait(20)
        assert sent[0] < 32 * 2**20
        context.grant(len(piece) * count)
        thread.join(30)
        value = outputs[0].value
        assert (value["returned_bytes"], value["truncated"]) == (len(piece) * count, False)
        assert context.bytes_of("body") == piece * count

    def test_sends_a_form_and_shows_its_fields(self, seen: Any, allow: Any, ask: Ask, session: Any) -> None:
        server, requests = seen()
        allow(server)
        fields = [("name", "ä&b=c"), ("name", "2")]
        ask("POST", server.url(), form=fields)
        assert requests[0][2] == b"name=%C3%A4%26b%3Dc&name=2"
        assert requests[0][1]["content-type"] == "application/x-www-form-urlencoded"
        call = TOOL.prepare(TOOL.Arguments("POST", server.url(), form=fields), session)
        assert call.shown["body"]["fields"] == fields

    def test_uploads_what_no_message_could_hold_and_again_where_it_is_redirected_to(
        self, seen: Any, allow: Any, ask: Ask, make_context: Any
    ) -> None:
        server, requests = seen(lambda line, *_: redirect("/there", 307) if "/here" in line else answer())
        allow(server)
        pieces = [bytes([number]) * 2**20 for number in range(13)]
        assert ask("PUT", server.url("/here"), make_context(upload=pieces), body=Upload()).value["status"] == 200
        assert [hashlib.sha256(body).digest() for _, _, body in requests] == [
            hashlib.sha256(b"".join(pieces)).digest()
        ] * 2


class TestSaving:
    def test_puts_the_body_into_the_file_and_says_where(
        self, serve: Serve, allow: Any, ask: Ask, session: Any, make_context: Any
    ) -> None:
        content = bytes(range(256)) * 20_000
        server = serve(answer(content))
        allow(server)
        context = make_context()
        output = ask("GET", server.url(), context, save_to="out/data.bin")
        assert Path(session.workspace, "out/data.bin").read_bytes() == content
        assert output.bulk == {"content": b""}
        assert not context.chunks
        facts = {"saved_to": "out/data.bin", "saved_bytes": len(content), "returned_bytes": 0, "truncated": False}
        assert facts.items() <= output.value.items()

    def test_is_about_the_file_too(self, session: Any) -> None:
        call = TOOL.prepare(TOOL.Arguments("GET", "https://a.example/", save_to="./out//data.bin"), session)
        call.close()
        assert call.resources[1] == PathResource(f"{session.workspace}/out/data.bin", "out/data.bin", Access.WRITE)
        assert call.shown["save_to"] == "out/data.bin"

    @pytest.mark.parametrize("path", ["../x", "a\0b", "~/x", ""])
    def test_goes_to_no_place_that_write_file_does_not_go_to(self, session: Any, path: str) -> None:
        with pytest.raises((InvalidCallError, DeniedError)):
            TOOL.prepare(TOOL.Arguments("GET", "https://a.example/", save_to=path), session)

    def test_leaves_the_file_alone_if_the_status_says_that_it_failed(
        self, serve: Serve, allow: Any, ask: Ask, session: Any
    ) -> None:
        server = serve(answer(b"no such thing", status="404 Not Found"))
        allow(server)
        output = ask("GET", server.url(), save_to="data.bin")
        assert (output.value["status"], output.bulk["content"]) == (404, b"no such thing")
        assert "saved_to" not in output.value
        assert not Path(session.workspace, "data.bin").exists()

    @pytest.mark.parametrize(
        ("sent", "settings"),
        [
            (answer(b"x" * 3000), {"max_bytes": 2000}),
            (answer(b"x" * 3000).replace(b"3000", b"4000"), {}),
            (answer(gzip.compress(b"x" * 30_000)[:-20], "Content-Encoding: gzip"), {}),
        ],
        ids=["too much", "too little", "cut within its compression"],
    )
    def test_is_whole_or_not_at_all(
        self, serve: Serve, allow: Any, ask: Ask, session: Any, sent: bytes, settings: Any
    ) -> None:
        server = serve(sent)
        allow(server)
        session.settings["write_file"] = settings
        path = Path(session.workspace, "data.bin")
        path.write_bytes(b"before")
        with pytest.raises(CallError):
            ask("GET", server.url(), save_to="data.bin")
        assert path.read_bytes() == b"before"
        assert [each.name for each in path.parent.iterdir()] == ["data.bin"]

    def test_hides_the_values_of_secrets(
        self, serve: Serve, allow: Any, ask: Ask, with_secret: Any, session: Any
    ) -> None:
        server = serve(answer(b"your token is " + VALUE.encode()))
        allow(server)
        ask("GET", server.url(), with_secret(server), headers=BEARER, save_to="data.txt")
        assert Path(session.workspace, "data.txt").read_bytes() == b"your token is [secret T]"

    def test_of_an_answer_without_a_body_is_refused(self, session: Any) -> None:
        with pytest.raises(InvalidCallError, match="no body"):
            TOOL.prepare(TOOL.Arguments("HEAD", "https://a.example/", save_to="x"), session)


class TestCredentials:
    @pytest.mark.parametrize(
        ("auth", "sent"),
        [
            ("[secret T]", f"Bearer {VALUE}"),
            (("ann", "[secret T]"), "Basic " + base64.b64encode(f"ann:{VALUE}".encode()).decode()),
            (("[secret T]", ""), "Basic " + base64.b64encode(f"{VALUE}:".encode()).decode()),
        ],
    )
    def test_are_made_into_a_header_by_the_host_and_shown_by_name(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any, session: Any, auth: Any, sent: str
    ) -> None:
        server, requests = seen(lambda line, headers, body: answer(headers["authorization"].encode()))
        allow(server)
        output = ask("GET", server.url(), with_secret(server), auth=auth)
        assert requests[0][1]["authorization"] == sent
        assert sent.partition(" ")[2][8:] not in output.bulk["content"].decode()  # what is before is the user's name
        shown = TOOL.prepare(TOOL.Arguments("GET", server.url(), auth=auth), session).shown
        assert VALUE not in str(shown)
        assert "[secret T]" in shown["auth"].values()
        assert "authorization" not in shown["headers"]

    @pytest.mark.parametrize("status", [302, 307])
    def test_stay_behind_when_the_answer_redirects_to_another_place(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any, status: int
    ) -> None:
        back: list[Any] = []
        storage, there = seen(lambda *_: redirect(back[0].url("/again"), status))
        server, here = seen(
            lambda line, *_: answer(b"end") if "/again" in line else redirect(storage.url("/x"), status)
        )
        back.append(server)
        allow(server, storage)
        output = ask("GET", server.url(), with_secret(server), auth="[secret T]")
        assert "authorization" in here[0][1]
        assert "authorization" not in there[0][1]
        assert "authorization" not in here[1][1]  # nor do they come back by way of somebody else
        assert [hop["location"] for hop in output.value["history"]] == [storage.url("/x"), server.url("/again")]

    def test_go_along_within_their_place(self, seen: Any, allow: Any, ask: Ask, with_secret: Any) -> None:
        server, requests = seen(lambda line, *_: redirect("/there") if "/here" in line else answer())
        allow(server)
        ask("GET", server.url("/here"), with_secret(server), auth="[secret T]")
        assert [headers["authorization"] for _, headers, _ in requests] == [f"Bearer {VALUE}"] * 2

    def test_go_nowhere_that_is_not_named(self, seen: Any, allow: Any, ask: Ask, with_secret: Any) -> None:
        server, requests = seen()
        other, _ = seen()
        allow(server)
        with pytest.raises(DeniedError, match="may not be sent to"):
            ask("GET", server.url(), with_secret(other), auth="[secret T]")
        assert not requests

    def test_lift_no_bar_for_a_secret_elsewhere_in_the_request(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any
    ) -> None:
        target, there = seen()
        server, _ = seen(redirect(target.url(), 307))
        allow(server, target)
        with pytest.raises(DeniedError, match="carries a secret"):
            ask("POST", server.url(), with_secret(server, target), auth="[secret T]", json={"k": "[secret T]"})
        assert not there

    @pytest.mark.parametrize(
        ("auth", "value"),
        [
            ("[secret T]", f"{VALUE}\r\nX-Evil: 1"),
            ("[secret T]", "two words"),
            (("a:b", "[secret T]"), VALUE),
            (("a\r\nX-Evil: 1", "[secret T]"), VALUE),
            (("a", "[secret T]"), f"{VALUE}\nx"),
            (("a" * 40_000, "[secret T]"), VALUE),
            (("a", "no secret at all"), VALUE),
            ("no secret at all", VALUE),
        ],
    )
    def test_that_no_header_can_hold_are_refused_and_not_named(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any, auth: Any, value: str
    ) -> None:
        server, requests = seen()
        allow(server)
        with pytest.raises(InvalidCallError, match="auth") as refused:
            ask("GET", server.url(), with_secret(server, value=value), auth=auth)
        assert value not in str(refused.value)
        assert not requests

    def test_beside_a_header_that_says_the_same_are_refused(self, session: Any) -> None:
        with pytest.raises(InvalidCallError, match="not both"):
            TOOL.prepare(
                TOOL.Arguments("GET", "https://a.example/", {"AUTHORIZATION": "x"}, auth="[secret T]"), session
            )


class TestWhatIsRefusedAtOnce:
    @pytest.mark.parametrize("url", web_attacks.NOT_PUBLIC)
    def test_places_that_are_not_public(self, session: Any, url: str) -> None:
        with pytest.raises(DeniedError) as caught:
            TOOL.prepare(TOOL.Arguments("GET", url), session)
        assert "[tools.http_request]" in caught.value.remedy

    @pytest.mark.parametrize("url", web_attacks.MISLEADING)
    def test_spellings_that_mislead(self, session: Any, url: str) -> None:
        with pytest.raises(InvalidCallError):
            TOOL.prepare(TOOL.Arguments("GET", url), session)

    @pytest.mark.parametrize("method", ["CONNECT", "TRACE", "", "GET /x HTTP/1.1\r\nX: y", "GET\n", "ＧＥＴ"])
    def test_methods_there_are_not(self, session: Any, method: str) -> None:
        with pytest.raises(InvalidCallError, match="GET, HEAD"):
            TOOL.prepare(TOOL.Arguments(method, "https://a.example/"), session)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[(name, "x") for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "TE", "Upgrade")],
            *[(name, "x") for name in ("Proxy-Authorization", "proxy-x", "Expect", "Accept-Encoding", "Keep-Alive")],
            *[(name, "x") for name in ("", "a b", "a:", "a\r\nb", "ä", "a\0", " a")],
            *[("X-A", value) for value in ("a\r\nX-B: c", "a\nb", "a\rb", "a\0b", " a", "a ", "a\x7f", "a\u2028b")],
        ],
    )
    def test_headers_that_split_or_belong_to_the_connection(self, session: Any, name: str, value: str) -> None:
        with pytest.raises(InvalidCallError):
            TOOL.prepare(TOOL.Arguments("GET", "https://a.example/", {name: value}), session)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"headers": {"X-A": "1", "x-a": "2"}},
            {"headers": {"X-A": "x" * 40_000}},
            {"body": "a", "json": 1},
            {"form": [("a", "b")], "json": 1},
            {"form": [("a", "b")], "body": "a"},
            {"body": ["a"]},
            {"body": 1},
            {"json": float("nan")},
        ],
    )
    def test_what_could_be_meant_in_two_ways_or_is_too_much(self, session: Any, arguments: Any) -> None:
        with pytest.raises(InvalidCallError):
            TOOL.prepare(TOOL.Arguments("POST", "https://a.example/", **arguments), session)

    def test_a_body_over_the_limit(self, seen: Any, session: Any, allow: Any, ask: Ask, make_context: Any) -> None:
        server, requests = seen()
        allow(server, max_body_bytes=1000)
        with pytest.raises(CallError, match="nothing was sent"):
            ask("POST", server.url(), body=b"x" * 1001)
        with pytest.raises(CallError, match="nothing was sent"):
            ask("POST", server.url(), make_context(upload=[b"x" * 600] * 2), body=Upload())
        assert not requests


class TestRedirects:
    def test_ask_by_the_method_that_they_mean_and_are_decided_as_that(
        self, seen: Any, allow: Any, ask: Ask, make_context: Any
    ) -> None:
        status = 0
        server, requests = seen(lambda line, *_: redirect("/there", status) if "/here" in line else answer(b"ok"))
        allow(server)
        for status, method, then in (
            *[(status, "GET", "GET") for status in (301, 302, 303, 307, 308)],
            *[(301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET")],
            *[(307, "POST", "POST"), (308, "POST", "POST"), (302, "PUT", "PUT"), (303, "HEAD", "HEAD")],
        ):
            context = make_context()
            output = ask(method, server.url("/here"), context, body=None if method in ("GET", "HEAD") else "data")
            assert context.asked == [UrlResource("http", "127.0.0.1", server.port, "/there", then)]
            line, headers, body = requests[-1]
            assert line == f"{then} /there HTTP/1.1"
            assert body == (b"data" if then in ("POST", "PUT") else b"")
            assert ("content-type" in headers) is (then in ("POST", "PUT"))
            assert (output.value["url"], output.value["redirects"]) == (server.url("/there"), 1)
            assert output.value["history"][0]["status"] == status

    def test_that_the_policy_does_not_allow_end_there(self, seen: Any, allow: Any, ask: Ask, make_context: Any) -> None:
        target, asked = seen()
        server, _ = seen(redirect(target.url(), 307))
        allow(server, target)
        context = make_context(allow=lambda resource: resource.method != "POST")
        with pytest.raises(DeniedError, match="it redirects to"):
            ask("POST", server.url(), context, body="x")
        assert not asked

    def test_to_what_may_not_be_asked_they_end(self, serve: Serve, allow: Any, ask: Ask, make_context: Any) -> None:
        inner = serve(answer(b"internal"))
        location = ""
        server = serve(lambda connection, request: connection.sendall(redirect(location.format(port=inner.port))))
        allow(server)
        for location in web_attacks.REDIRECTS:
            context = make_context()
            with pytest.raises(CallError):
                ask("GET", server.url(), context)
            assert not context.asked, location
        assert not inner.connections

    def test_without_end_they_are_given_up(self, serve: Serve, allow: Any, ask: Ask) -> None:
        server = serve(redirect("/again"))
        allow(server)
        with pytest.raises(CallError, match="more than 5 times"):
            ask("GET", server.url())
        assert server.connections == 6

    def test_without_a_target_they_are_the_answer(self, serve: Serve, allow: Any, ask: Ask) -> None:
        server = serve(answer(status="302 Found"))
        allow(server)
        assert ask("GET", server.url()).value["status"] == 302

    def test_take_no_credentials_to_another_place(self, seen: Any, allow: Any, ask: Ask) -> None:
        target, there = seen()
        server, here = seen(redirect(target.url()))
        allow(server, target)
        ask(
            "GET", server.url(), headers={"Authorization": "Basic eA==", "Cookie": "a=b", "X-Key": "k", "Accept": "a/b"}
        )
        assert {"authorization", "cookie", "x-key"} < here[0][1].keys()
        assert there[0][1].keys() == {"host", "accept", "accept-encoding", "connection", "user-agent"}


class TestSecrets:
    def test_stand_in_headers_bodies_and_json_and_come_back_hidden(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any
    ) -> None:
        server, requests = seen(lambda line, headers, body: answer(headers["authorization"].encode() + b"|" + body))
        allow(server)
        for body in ({"json": {"k": ["[secret T]"]}}, {"body": "k=[secret T]"}):
            output = ask("POST", server.url(), with_secret(server), headers=BEARER, **body)
            _, headers, sent = requests[-1]
            assert headers["authorization"] == f"Bearer {VALUE}"
            assert VALUE.encode() in sent
            assert VALUE.encode() not in output.bulk["content"]
            assert output.bulk["content"].count(b"[secret T]") == 2

    def test_a_cut_shows_no_beginning_of_one(self, serve: Serve, allow: Any, ask: Ask, with_secret: Any) -> None:
        server = serve(answer(b"before " + VALUE.encode() + b" after"))
        allow(server)
        for most in range(8, 7 + len(VALUE)):
            output = ask("GET", server.url(), with_secret(server), headers=BEARER, max_bytes=most)
            assert output.bulk["content"] == b"before "
            assert output.value["truncated"]
            assert output.value["returned_bytes"] == 7

    def test_go_nowhere_that_is_not_named(self, seen: Any, allow: Any, ask: Ask, with_secret: Any) -> None:
        server, requests = seen()
        other, _ = seen()
        allow(server)
        with pytest.raises(DeniedError, match="may not be sent to"):
            ask("GET", server.url(), with_secret(other), headers=BEARER)
        assert not requests

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("place", ["headers", "body"])
    def test_follow_no_redirect_to_another_place_though_it_is_named(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any, status: int, place: str
    ) -> None:
        target, there = seen()
        server, _ = seen(redirect(target.url("/x?y"), status))
        allow(server, target)
        context = with_secret(server, target)
        with pytest.raises(DeniedError, match="carries a secret") as denied:
            ask("POST", server.url(), context, **{place: BEARER if place == "headers" else "[secret T]"})
        assert denied.value.rule_id == "http_request:redirect"
        assert not there
        assert not context.asked

    def test_follow_a_redirect_in_the_same_place(self, seen: Any, allow: Any, ask: Ask, with_secret: Any) -> None:
        server, requests = seen(lambda line, *_: redirect("/there") if "/here" in line else answer())
        allow(server)
        ask("GET", server.url("/here"), with_secret(server), headers=BEARER)
        assert [headers["authorization"] for _, headers, _ in requests] == [f"Bearer {VALUE}"] * 2

    def test_that_no_header_can_hold_are_not_named_in_the_error(
        self, seen: Any, allow: Any, ask: Ask, with_secret: Any
    ) -> None:
        server, requests = seen()
        allow(server)
        with pytest.raises(InvalidCallError, match="header authorization") as refused:
            ask("GET", server.url(), with_secret(server, value=f"{VALUE}\r\nX-Evil: 1"), headers=BEARER)
        assert VALUE not in str(refused.value)
        assert not requests


class TestBounds:
    def test_an_answer_is_cut_where_asked_or_at_the_hosts_limit(self, serve: Serve, allow: Any, ask: Ask) -> None:
        server = serve(answer(b"x" * 5000))
        allow(server, max_bytes=2000)
        for most, given in ((10, 10), (5000, 2000), (None, 2000)):
            value = ask("GET", server.url(), max_bytes=most).value
            assert (value["returned_bytes"], value["size_bytes"], value["truncated"]) == (given, 5000, True)

    def test_a_bomb_is_cut(self, serve: Serve, allow: Any, ask: Ask) -> None:
        # 1 GiB: files in this format can be strung together.
        server = serve(answer(gzip.compress(bytes(2**24), compresslevel=9) * 64, "Content-Encoding: gzip"))
        allow(server)
        before = psutil.Process().memory_info().rss
        value = ask("GET", server.url(), max_bytes=100_000).value
        assert (value["returned_bytes"], value["size_bytes"], value["truncated"]) == (100_000, None, True)
        with pytest.raises(CallError, match="was not written"):
            ask("GET", server.url(), max_bytes=10_000_000, save_to="bomb")
        assert psutil.Process().memory_info().rss - before < 64 * 2**20

    def test_headers_without_end_are_an_error(self, serve: Serve, allow: Any, ask: Ask) -> None:
        def endless(connection: socket.socket, request: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for number in itertools.count():
                connection.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())

        server = serve(endless)
        allow(server)
        with pytest.raises(CallError, match="too long headers"):
            ask("GET", server.url())

    @pytest.mark.parametrize("whose", ["the host's", "the call's"])
    def test_a_byte_now_and_then_ends_with_the_time(
        self, serve: Serve, allow: Any, ask: Ask, make_context: Any, whose: str
    ) -> None:
        def slow(connection: socket.socket, request: bytes) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
            while True:
                connection.sendall(b"x")
                threading.Event().wait(0.05)

        server = serve(slow)
        allow(server, **({"timeout_seconds": 1.0} if whose == "the host's" else {}))
        context = make_context(timeout=30.0 if whose == "the host's" else 1.5)
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            ask("GET", server.url(), context, save_to="slow")
        assert time.monotonic() - started < 8

    def test_a_server_that_reads_nothing_ends_with_the_time(self, serve: Serve, allow: Any, ask: Ask) -> None:
        server = serve(lambda connection, request: threading.Event().wait(5))
        allow(server, timeout_seconds=1.0)
        with pytest.raises(CallTimeoutError):
            ask("POST", server.url(), body=b"x" * 8 * 2**20)

    def test_a_call_whose_answer_nobody_takes_ends_with_its_worker(
        self, serve: Serve, allow: Any, ask: Ask, make_context: Any
    ) -> None:
        server = serve(answer(bytes(2**24)))
        allow(server)
        context = make_context(credit=1)
        errors: list[CallError] = []

        def run() -> None:
            try:
                ask("GET", server.url(), context)
            except CallError as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        context.wait_for(lambda context: bool(context.chunks))
        context.cancel()
        thread.join(20)
        assert [type(error) for error in errors] == [CallCancelledError]
        assert not psutil.Process().children()

    def test_a_cancelled_call_ends(self, serve: Serve, allow: Any, ask: Ask, make_context: Any) -> None:
        context = make_context()

        def handle(connection: socket.socket, request: bytes) -> None:
            context.cancel()
            connection.recv(1)

        server = serve(handle)
        allow(server)
        with pytest.raises(CallCancelledError):
            ask("GET", server.url(), context)


def test_a_name_that_leads_inside_is_denied_when_it_is_looked_up(
    serve: Serve, session: Any, ask: Ask, make_context: Any
) -> None:
    server = serve(answer(b"internal"))
    session.settings["http_request"] = {"ports": [server.port]}
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        pytest.skip("this machine's own name can't be looked up")
    with pytest.raises(DeniedError, match=r"\[tools.http_request\]"):
        ask("GET", f"http://{name}:{server.port}/")
    assert not server.connections
