from __future__ import annotations

import json
import socket
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from host_bridge.errors import CallCancelledError, CallError, CallTimeoutError, InvalidCallError, NotConfiguredError
from host_bridge.policy.model import TextResource
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.web.problems import WebError, WebNotConfiguredError, WebTimeoutError
from host_bridge.tools.web.providers.interface import load
from host_bridge.tools.web_search import WebSearch

TOOL = WebSearch()
Serve = Callable[..., Any]
Search = Callable[..., ToolOutput]


def answer(value: Any, status: str = "200 OK") -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def search(session: Any, make_context: Any) -> Search:
    def search(query: str = "question", limit: int = 5, *, context: Any = None) -> ToolOutput:
        call = TOOL.prepare(TOOL.Arguments(query, limit), session)
        return call.run(context or make_context())

    return search


@pytest.fixture
def searxng(serve: Serve, session: Any) -> Callable[..., Any]:
    """Have searches go to a SearXNG that answers so."""

    def start(reply: Any, **settings: Any) -> Any:
        server = serve(reply if isinstance(reply, bytes) or callable(reply) else answer(reply))
        session.settings["web_search"] = {"provider": "searxng", "url": server.url("/base"), **settings}
        return server

    return start


RESULT = {"title": "T", "url": "https://a.example/x", "content": "D", "engine": "e", "score": 1.5}


class TestSearxng:
    def test_results_are_titles_urls_and_descriptions(self, searxng: Any, search: Search) -> None:
        server = searxng({"query": "q", "results": [RESULT, {**RESULT, "url": "https://b.example/"}]})
        assert search("what is ä&b?").value == {
            "provider": "searxng",
            "results": [
                {"title": "T", "url": "https://a.example/x", "description": "D"},
                {"title": "T", "url": "https://b.example/", "description": "D"},
            ],
        }
        path, _, query = server.requests[0].split(b" ")[1].decode().partition("?")
        assert path == "/base/search"
        assert urllib.parse.parse_qs(query) == {
            "q": ["what is ä&b?"],
            "format": ["json"],
            "language": ["auto"],
            "categories": ["general"],
        }

    def test_no_results_are_no_error(self, searxng: Any, search: Search) -> None:
        searxng({"results": []})
        assert search().value["results"] == []

    def test_only_so_many_as_asked_for(self, searxng: Any, search: Search) -> None:
        searxng({"results": [RESULT] * 30})
        assert len(search(limit=7).value["results"]) == 7

    def test_it_needs_an_address(self, session: Any, search: Search) -> None:
        session.settings["web_search"] = {"provider": "searxng"}
        with pytest.raises(NotConfiguredError, match=r"url.*\[tools\.web_search\]"):
            search()

    @pytest.mark.parametrize("url", ["ftp://a.example", "a.example", "http://127.1/"])
    def test_an_address_that_is_none_is_named(self, session: Any, search: Search, url: str) -> None:
        session.settings["web_search"] = {"provider": "searxng", "url": url}
        with pytest.raises(NotConfiguredError, match="url can't be used"):
            search()

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            (answer({}, "429 Too Many Requests"), "rate"),
            (answer({}, "403 Forbidden"), "refuses"),
            (answer({}, "500 Oops"), "500"),
            (answer({}, "302 Found"), "302"),
            (answer(b"<html>"), "isn't JSON"),
            (answer(b"[" * 100_000), "isn't JSON"),
            (answer([1, 2]), "without"),
            (answer({"results": "none"}), "without a list"),
            (b"nonsense\r\n\r\n", "isn't HTTP"),
        ],
    )
    def test_a_bad_answer_is_an_error_with_its_reason(
        self, searxng: Any, search: Search, reply: bytes, expected: str
    ) -> None:
        searxng(reply)
        with pytest.raises(CallError, match=expected):
            search()

    def test_redirects_are_not_followed(self, serve: Serve, searxng: Any, search: Search) -> None:
        other = serve(answer({"results": [RESULT]}))
        searxng(f"HTTP/1.1 302 Found\r\nLocation: {other.url()}\r\nContent-Length: 0\r\n\r\n".encode())
        with pytest.raises(CallError, match="302"):
            search()
        assert not other.connections


class TestResultsAreData:
    def test_markup_and_controls_are_taken_out(self, searxng: Any, search: Search) -> None:
        entry = {
            "title": "<b>Bold</b> &amp; \x1b[31mred\x07\n\u202eevil\u200b",
            "url": "https://a.example/?a=1&b=2",
            "content": "a < b && c > d <script>alert(1)</script>\u0000 &lt;i&gt;",
        }
        searxng({"results": [entry]})
        assert search().value["results"] == [
            {
                "title": "Bold & [31mred evil",
                "url": "https://a.example/?a=1&b=2",
                "description": "a < b && c > d alert(1) <i>",
            }
        ]

    def test_lengths_are_bounded(self, searxng: Any, search: Search) -> None:
        searxng({"results": [{"title": "t" * 10**5, "url": "https://a.example/", "content": "d " * 10**5}]})
        (result,) = search().value["results"]
        assert (len(result["title"]), len(result["description"])) == (300, 1000)

    @pytest.mark.parametrize(
        "url",
        [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "https://u:p@a.example/",
            "",
            7,
            None,
            "https://a.example/" + "x" * 2000,
        ],
    )
    def test_results_that_lead_nowhere_are_left_out(self, searxng: Any, search: Search, url: Any) -> None:
        searxng({"results": [{**RESULT, "url": url}, "no map", RESULT]})
        assert [result["url"] for result in search().value["results"]] == ["https://a.example/x"]


class TestBrave:
    @pytest.fixture
    def brave(self, serve: Serve, session: Any) -> Callable[..., Any]:
        def start(reply: Any, **settings: Any) -> Any:
            server = serve(answer(reply))
            session.settings["web_search"] = {"provider": "brave", "url": server.url("/res"), **settings}
            return server

        return start

    REPLY = {"type": "search", "web": {"results": [{"title": "T", "url": "https://a.example/x", "description": "D"}]}}  # noqa: RUF012

    def test_the_key_comes_from_a_variable_at_each_use(
        self, brave: Any, search: Search, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = brave(self.REPLY, api_key_env="SEARCH_KEY", country="DE")
        for key in ("first", "second"):
            monkeypatch.setenv("SEARCH_KEY", key)
            assert search(limit=40).value["results"] == [
                {"title": "T", "url": "https://a.example/x", "description": "D"}
            ]
            assert f"X-Subscription-Token: {key}\r\n".encode() in server.requests[-1]
        assert b"/res?q=question&count=20&safesearch=moderate&country=DE" in server.requests[0]

    def test_or_from_whoever_started_the_session(self, brave: Any, search: Search) -> None:
        server = brave(self.REPLY, api_key="given", api_key_env="NOT_SET_HERE")
        search()
        assert b"X-Subscription-Token: given\r\n" in server.requests[0]

    def test_or_from_a_file(self, brave: Any, search: Search, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("from-file\n")
        server = brave(self.REPLY, api_key_file=str(tmp_path / "key"))
        search()
        assert b"X-Subscription-Token: from-file\r\n" in server.requests[0]

    def test_without_results_there_are_none(self, brave: Any, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEARCH_KEY", "k")
        brave({"type": "search"}, api_key_env="SEARCH_KEY")
        assert search().value["results"] == []

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, "api_key_env.*api_key_file"),
            ({"api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
            ({"api_key_file": "/nonexistent/key"}, "api_key_file"),
            ({"api_key_env": "SPLIT_KEY"}, "plain characters"),
        ],
    )
    def test_a_missing_key_says_what_to_set(
        self, brave: Any, search: Search, settings: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SPLIT_KEY", "sec\r\nret: x")
        server = brave(self.REPLY, **settings)
        with pytest.raises(NotConfiguredError, match=expected) as caught:
            search()
        assert "ret" not in str(caught.value).replace("secret", "")
        assert not server.connections

    def test_no_error_shows_the_key(
        self, serve: Serve, session: Any, search: Search, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEARCH_KEY", "very-secret")
        for reply in (answer({}, "401 No"), answer(b"very-secret"), b"very-secret\r\n\r\n"):
            url = serve(reply).url()
            session.settings["web_search"] = {"provider": "brave", "url": url, "api_key_env": "SEARCH_KEY"}
            with pytest.raises(CallError) as caught:
                search()
            assert "very-secret" not in str(caught.value)


class TestDdgs:
    """The library is real, its engines are not: nothing here leaves the machine."""

    def ask(self, monkeypatch: pytest.MonkeyPatch, outcome: Any, **settings: Any) -> Any:
        from ddgs.ddgs import DDGS  # what the package gives under that name is only a stand-in

        def text(self: Any, query: str, **options: Any) -> Any:
            seen.update(options, query=query, timeout=self._timeout)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        seen: dict[str, Any] = {}
        monkeypatch.setattr(DDGS, "text", text)
        return list(load("ddgs", settings, "").search("question", 3, 7.9)), seen

    def test_results_are_read_and_settings_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entries = [{"title": "T", "href": "https://a.example/", "body": "D"}, {"title": "no link"}]
        (result,), seen = self.ask(monkeypatch, entries, region="de-de")
        assert (result.title, result.url, result.description) == ("T", "https://a.example/", "D")
        assert seen == {
            "query": "question",
            "max_results": 3,
            "region": "de-de",
            "safesearch": "moderate",
            "backend": "auto",
            "timeout": 7,
        }

    def test_its_errors_become_reasons(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException

        with pytest.raises(WebError, match="rate"):
            self.ask(monkeypatch, RatelimitException("202"))
        with pytest.raises(WebTimeoutError):
            self.ask(monkeypatch, TimeoutException("timed out"))
        with pytest.raises(WebError, match="no answer"):
            self.ask(monkeypatch, DDGSException("ConnectError: x"))
        assert self.ask(monkeypatch, DDGSException("No results found."))[0] == []


class TestConfiguration:
    def test_no_provider_says_what_to_set(self, search: Search) -> None:
        with pytest.raises(NotConfiguredError, match="provider") as caught:
            search()
        assert all(name in str(caught.value) for name in ("ddgs", "searxng", "brave", "[tools.web_search]"))

    @pytest.mark.parametrize("name", ["google", "interface", "../brave", "brave.x", "Brave", "os"])
    def test_an_unknown_provider_names_those_there_are(self, name: str) -> None:
        with pytest.raises(WebNotConfiguredError, match="brave, ddgs, searxng"):
            load(name, {}, "")

    def test_a_setting_the_provider_does_not_know_is_named(self, searxng: Any, search: Search) -> None:
        searxng({"results": []}, langage="de")
        with pytest.raises(NotConfiguredError, match="langage"):
            search()

    def test_a_shared_setting_that_does_not_fit_is_named(self, session: Any, search: Search) -> None:
        session.settings["web_search"] = {"provider": "ddgs", "timeout_seconds": "soon"}
        with pytest.raises(NotConfiguredError, match="timeout_seconds"):
            search()


class TestTime:
    def test_a_silent_provider_is_given_up(self, searxng: Any, search: Search) -> None:
        searxng(lambda connection, request: connection.recv(1), timeout_seconds=1)
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            search()
        assert time.monotonic() - started < 8

    def test_the_calls_deadline_reaches_the_provider(self, searxng: Any, search: Search, make_context: Any) -> None:
        searxng(lambda connection, request: connection.recv(1))
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            search(context=make_context(timeout=3))
        assert time.monotonic() - started < 6

    def test_cancelling_does_not_wait_for_the_provider(self, searxng: Any, search: Search, make_context: Any) -> None:
        context = make_context()

        def handle(connection: socket.socket, request: bytes) -> None:
            context.cancel()
            connection.recv(1)

        searxng(handle)
        started = time.monotonic()
        with pytest.raises(CallCancelledError):
            search(context=context)
        assert time.monotonic() - started < 10


class TestArguments:
    def test_the_query_is_what_rules_see(self, session: Any) -> None:
        call = TOOL.prepare(TOOL.Arguments("  two\n words "), session)
        assert call.resources == (TextResource("two words"),)
        assert call.shown == {"query": "two words", "limit": 5}

    @pytest.mark.parametrize("query", [" ", "a\x00b", "a\x1b[2J", "a\u202eb", "a\u200bb"])
    def test_queries_nobody_could_read_are_refused(self, session: Any, query: str) -> None:
        with pytest.raises(InvalidCallError):
            TOOL.prepare(TOOL.Arguments(query), session)

    @pytest.mark.parametrize(
        "arguments",
        [{"query": ""}, {"query": "x" * 1001}, {"query": "x", "limit": 0}, {"query": "x", "limit": 51}, {"query": 1}],
    )
    def test_arguments_that_do_not_fit_are_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(arguments, type=TOOL.Arguments)
