from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import psutil
import pytest
import web_attacks
from web_answers import answer, redirect

from host_bridge.errors import (
    CallCancelledError,
    CallError,
    CallTimeoutError,
    DeniedError,
    InvalidCallError,
    NotConfiguredError,
)
from host_bridge.policy.model import UrlResource
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.web.workers import WebWorkers
from host_bridge.tools.web_extract import WebExtract

TOOL = WebExtract()
Serve = Callable[..., Any]
Extract = Callable[..., ToolOutput]


def page(body: str | bytes, content_type: str = "text/html; charset=utf-8", *headers: str) -> bytes:
    return answer(body.encode() if isinstance(body, str) else body, f"Content-Type: {content_type}", *headers)


@pytest.fixture
def allow(session: Any) -> Callable[..., None]:
    """Let the tool fetch from servers of the test; more settings by name."""

    def allow(*servers: Any, **settings: Any) -> None:
        session.settings["web_extract"] = {"allow_private": [server.place for server in servers], **settings}

    return allow


@pytest.fixture
def extract(session: Any, make_context: Any) -> Extract:
    def extract(*urls: str, context: Any = None, char_limit: int | None = None) -> ToolOutput:
        call = TOOL.prepare(TOOL.Arguments(urls, char_limit), session)
        try:
            return call.run(context or make_context())
        finally:
            call.close()

    return extract


def only(output: ToolOutput) -> tuple[dict[str, Any], str]:
    (document,) = output.value["documents"]
    return document, bytes(output.bulk["markdown_0"]).decode()


def test_a_page_becomes_a_document(serve: Serve, allow: Any, extract: Extract) -> None:
    server = serve(page("<title>T</title><h1>Grüße</h1><a href=x>y</a>"))
    allow(server)
    document, text = only(extract(server.url("/a/b#c")))
    assert document == {
        "url": server.url("/a/b#c"),
        "final_url": server.url("/a/b"),
        "title": "T",
        "content_type": "text/html",
        "truncated": False,
        "error": "",
    }
    assert text == f"# Grüße\n\n[y]({server.url('/a/x')})\n"


def test_several_pages_are_read_at_once_and_one_that_fails_does_not_fail_the_others(
    serve: Serve, allow: Any, extract: Extract
) -> None:
    together = threading.Barrier(4, timeout=20)

    def handle(connection: socket.socket, request: bytes) -> None:
        together.wait()  # passes only if all four are asked for at the same time
        name = request.split(b" ")[1]
        if name == b"/pdf":
            connection.sendall(page(b"%PDF", "application/pdf"))
        elif name == b"/missing":
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.sendall(page(name, "text/plain"))

    server = serve(handle)
    allow(server)
    urls = [server.url(path) for path in ("/one", "/missing", "/pdf", "/two")]
    output = extract(*urls, "http://does-not-exist.invalid/")
    errors = [document["error"] for document in output.value["documents"]]
    assert [bytes(output.bulk[f"markdown_{index}"]) for index in range(5)] == [b"/one", b"", b"", b"/two", b""]
    assert errors[0] == errors[3] == ""
    assert "404" in errors[1]
    assert "application/pdf" in errors[2]
    assert "not found" in errors[4]


def test_text_is_cut_where_asked_and_says_so(serve: Serve, allow: Any, extract: Extract) -> None:
    server = serve(page("grün " * 1000, "text/plain; charset=utf-8"))
    allow(server)
    document, text = only(extract(server.url(), char_limit=8))
    assert (text, document["truncated"]) == ("grün grü", True)
    allow(server, max_markdown_bytes=8)
    document, text = only(extract(server.url()))
    assert (text, document["truncated"]) == ("grün gr", True)


class TestRedirects:
    def test_they_are_followed_one_decision_at_a_time(
        self, serve: Serve, allow: Any, extract: Extract, make_context: Any
    ) -> None:
        last = serve(page("there", "text/plain"))
        first = serve(
            lambda connection, request: connection.sendall(
                redirect("/b c") if b"GET /a" in request else redirect(f"{last.url()}end?x#y")
            )
        )
        allow(first, last)
        context = make_context()
        document, text = only(extract(first.url("/a"), context=context))
        assert (text, document["final_url"]) == ("there", last.url("/end?x"))
        assert context.asked == [
            UrlResource("http", "127.0.0.1", first.port, "/b%20c"),
            UrlResource("http", "127.0.0.1", last.port, "/end?x"),
        ]

    def test_what_the_policy_does_not_allow_is_not_asked_for(
        self, serve: Serve, allow: Any, extract: Extract, make_context: Any
    ) -> None:
        target = serve(page("secret", "text/plain"))
        server = serve(redirect(target.url()))
        allow(server, target)
        context = make_context(allow=lambda resource: resource.port != target.port)
        document, text = only(extract(server.url(), context=context))
        assert document["error"].startswith("denied: it redirects to")
        assert text == ""
        assert not target.connections

    def test_to_what_may_not_be_fetched_they_end(
        self, serve: Serve, allow: Any, extract: Extract, make_context: Any
    ) -> None:
        inner = serve(page("secret", "text/plain"))
        location = ""
        server = serve(lambda connection, request: connection.sendall(redirect(location.format(port=inner.port))))
        allow(server)
        for location in web_attacks.REDIRECTS:
            context = make_context()
            document, text = only(extract(server.url(), context=context))
            assert document["error"], location
            assert text == ""
            assert not context.asked
        assert not inner.connections

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_without_end_they_are_given_up(self, serve: Serve, allow: Any, extract: Extract, status: int) -> None:
        server = serve(redirect("/again", status))
        allow(server)
        document, _ = only(extract(server.url()))
        assert "more than 5 times" in document["error"]
        assert server.connections == 6

    def test_without_a_target_they_are_an_error(self, serve: Serve, allow: Any, extract: Extract) -> None:
        server = serve(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")
        allow(server)
        assert "302" in only(extract(server.url()))[0]["error"]


class TestWhatIsRefusedAtOnce:
    @pytest.mark.parametrize(
        "url",
        web_attacks.NOT_PUBLIC,
    )
    def test_places_that_are_not_public(self, session: Any, url: str) -> None:
        with pytest.raises(DeniedError) as caught:
            TOOL.prepare(TOOL.Arguments(("https://example.org/", url)), session)
        assert "allow_private" in caught.value.remedy

    @pytest.mark.parametrize(
        "url",
        web_attacks.MISLEADING,
    )
    def test_spellings_that_mislead(self, session: Any, url: str) -> None:
        with pytest.raises(InvalidCallError):
            TOOL.prepare(TOOL.Arguments((url,)), session)

    def test_an_allowed_service_is_allowed_on_its_port_only(self, serve: Serve, session: Any, allow: Any) -> None:
        server, other = serve(page("x")), serve(page("y"))
        allow(server)
        TOOL.prepare(TOOL.Arguments((server.url(),)), session).close()
        with pytest.raises(DeniedError):
            TOOL.prepare(TOOL.Arguments((other.url(),)), session)

    @pytest.mark.parametrize("urls", [[], ["https://a.example/"] * 6, "https://a.example/", [1]])
    def test_arguments_that_do_not_fit(self, urls: Any) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"urls": urls}, type=TOOL.Arguments)

    def test_a_wrong_setting_is_named(self, session: Any, allow: Any) -> None:
        allow(max_bites=1)
        with pytest.raises(NotConfiguredError, match="max_bites"):
            TOOL.prepare(TOOL.Arguments(("https://a.example/",)), session)


def test_a_name_that_leads_inside_is_denied_when_it_is_looked_up(
    serve: Serve, session: Any, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(page("secret", "text/plain"))
    session.settings["web_extract"] = {"ports": [server.port]}
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        pytest.skip("this machine's own name can't be looked up")
    document, text = only(extract(f"http://{name}:{server.port}/"))
    assert document["error"].startswith("denied:")
    assert text == ""
    assert not server.connections


def test_the_policy_sees_each_url_in_its_one_spelling(session: Any) -> None:
    call = TOOL.prepare(TOOL.Arguments(("HTTPS://Example.ORG./a/../b#c", "http://example.org:80?q")), session)
    assert call.resources == (
        UrlResource("https", "example.org", 443, "/b"),
        UrlResource("http", "example.org", 80, "/?q"),
    )
    assert call.shown == {"urls": ["https://example.org/b", "http://example.org/?q"], "char_limit": None}


class TestBounds:
    def test_a_bomb_is_cut_and_says_so(self, serve: Serve, allow: Any, extract: Extract) -> None:
        bomb = gzip.compress(b"a" * 100 * 2**20, compresslevel=9)
        server = serve(page(bomb, "text/plain", "Content-Encoding: gzip"))
        allow(server)
        before = psutil.Process().memory_info().rss
        document, text = only(extract(server.url()))
        assert document["truncated"]
        assert len(text) == 3 * 2**19
        assert psutil.Process().memory_info().rss - before < 64 * 2**20

    def test_five_large_pages_fit_into_one_reply(self, serve: Serve, allow: Any, extract: Extract) -> None:
        server = serve(page("ä" * 2**21, "text/plain"))
        allow(server)
        output = extract(*[server.url()] * 5)
        sizes = [len(data) for data in output.bulk.values()]
        assert all(document["truncated"] for document in output.value["documents"])
        assert max(sizes) <= 4 * 2**20
        assert 5 * 2**20 < sum(sizes) <= 8 * 2**20

    def test_a_slow_page_is_given_up_and_the_others_arrive(self, serve: Serve, allow: Any, extract: Extract) -> None:
        slow = serve(lambda connection, request: connection.recv(1))
        quick = serve(page("quick", "text/plain"))
        allow(slow, quick, timeout_seconds=1.0)
        extract(quick.url())  # starts the worker
        started = time.monotonic()
        output = extract(slow.url(), quick.url())
        assert time.monotonic() - started < 5
        assert "did not answer" in output.value["documents"][0]["error"]
        assert bytes(output.bulk["markdown_1"]) == b"quick"

    def test_pages_in_time_arrive_though_the_calls_time_is_short(
        self, serve: Serve, allow: Any, extract: Extract, make_context: Any
    ) -> None:
        slow = serve(lambda connection, request: connection.recv(1))
        quick = serve(page("quick", "text/plain"))
        allow(slow, quick)
        extract(quick.url())
        output = extract(slow.url(), quick.url(), context=make_context(timeout=3))
        assert output.value["documents"][0]["error"]
        assert bytes(output.bulk["markdown_1"]) == b"quick"

    def test_a_page_that_keeps_the_converter_busy_ends_with_the_call(
        self, serve: Serve, allow: Any, extract: Extract, make_context: Any
    ) -> None:
        server = serve(page("<div>" * 900_000))
        allow(server)
        started = time.monotonic()
        with contextlib.suppress(CallTimeoutError):
            document, _ = only(extract(server.url(), context=make_context(timeout=3)))
            assert document["error"]
        assert time.monotonic() - started < 8

    @pytest.mark.slow
    def test_a_page_that_takes_too_much_memory_ends_alone(
        self, serve: Serve, allow: Any, extract: Extract, session: Any
    ) -> None:
        heavy = serve(page("<p><b>x" * 600_000))
        light = serve(page("light", "text/plain"))
        allow(heavy, light, worker_memory_bytes=256 * 2**20)
        with contextlib.suppress(CallError):
            assert only(extract(heavy.url()))[0]["error"]
        assert only(extract(light.url()))[1] == "light"


class TestWorkers:
    def test_one_serves_call_after_call(self, serve: Serve, allow: Any, extract: Extract, session: Any) -> None:
        server = serve(page("x", "text/plain"))
        allow(server)
        pids = set()
        for _ in range(3):
            extract(server.url())
            pids |= {child.pid for child in psutil.Process().children()}
        assert len(pids) == 1
        session.close()
        assert not psutil.Process().children()

    @pytest.mark.parametrize("cancel_from_tool", [True, False])
    def test_a_cancelled_call_ends_its_worker(
        self, serve: Serve, allow: Any, extract: Extract, make_context: Any, cancel_from_tool: bool
    ) -> None:
        context = make_context()

        def handle(connection: socket.socket, request: bytes) -> None:
            context.cancel()
            connection.recv(1)

        server = serve(handle)
        allow(server)
        if not cancel_from_tool:
            context.cancel()
        started = time.monotonic()
        with pytest.raises(CallCancelledError):
            extract(server.url(), context=context)
        assert time.monotonic() - started < 5
        assert not psutil.Process().children()

    def test_one_that_is_killed_fails_its_call_only(self, serve: Serve, allow: Any, extract: Extract) -> None:
        def handle(connection: socket.socket, request: bytes) -> None:
            if b"/kill" in request:
                for child in psutil.Process().children():
                    child.kill()
            connection.sendall(page("alive", "text/plain"))

        server = serve(handle)
        allow(server)
        with pytest.raises(CallError, match="ended unexpectedly"):
            extract(server.url("/kill"))
        assert only(extract(server.url()))[1] == "alive"

    def test_there_are_only_so_many(self, serve: Serve, allow: Any, extract: Extract, session: Any) -> None:
        most = 0

        def handle(connection: socket.socket, request: bytes) -> None:
            nonlocal most
            most = max(most, len(psutil.Process().children()))
            connection.sendall(page("x", "text/plain"))

        server = serve(handle)
        allow(server)
        threads = [threading.Thread(target=extract, args=(server.url(),)) for _ in range(7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert server.connections == 7
        assert 1 <= most <= 4
        assert len(WebWorkers.of(session)._idle) <= 4

    def test_it_has_no_variables_of_the_session_or_the_host(
        self, serve: Serve, allow: Any, extract: Extract, monkeypatch: pytest.MonkeyPatch, session: Any
    ) -> None:
        monkeypatch.setenv("HOST_TOKEN", "x")
        session.environment = {**session.environment, "SESSION_VARIABLE": "x"}
        seen: dict[str, str] = {}

        def handle(connection: socket.socket, request: bytes) -> None:
            seen.update(psutil.Process().children()[0].environ())
            connection.sendall(page("x", "text/plain"))

        server = serve(handle)
        allow(server)
        extract(server.url())
        assert seen
        assert not {"HOST_TOKEN", "SESSION_VARIABLE", "http_proxy", "HTTPS_PROXY"} & set(seen)


def test_the_session_process_imports_none_of_it() -> None:
    script = (
        "import sys, host_bridge.tools.web_extract, host_bridge.tools.web_search, host_bridge.tools.terminal, "
        "host_bridge.tools.process; "
        "print([name for name in ('httpx', 'httpcore', 'ddgs', 'markdownify', 'bs4', 'lxml', 'idna', 'ssl', 'jupyter_client', "
        "'IPython', 'asyncio') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (printed.stdout, printed.stderr) == ("[]\n", "")
