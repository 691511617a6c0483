"""`hermes.http_request`: the same against a fake host and a real one."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from sdk_hosts import bridge_place

import hermes_runtime as hermes
from hermes_protocol.messages import SecretMark
from hermes_runtime._http_response import HttpResponse
from hermes_runtime._tools import http_request
from hermes_runtime.testing import Answer, FakeCall, FakeHost, Reply

LARGE = bytes(range(256)) * 20_000
TOKEN = hermes.secret("TOKEN")


def serve(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """What the web service of these tests answers."""
    if path == "/large":
        return 200, {"Content-Type": "application/octet-stream"}, LARGE
    if path == "/moved":
        return 302, {"Location": "/large"}, b""
    if path == "/missing":
        return 404, {"Content-Type": "text/html; charset=latin-1"}, "<b>nicht da: ä</b>".encode("latin-1")
    told = {"method": method, "path": path, "who": headers.get("x-who"), "size": len(body), "text": body[:100].decode()}
    return 200, {"Content-Type": "application/json", "X-Path": path}, json.dumps(told).encode()


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said, body = serve(self.command, self.path, headers, sent)
            self.send_response(status)
            for name, value in (*said.items(), ("Content-Length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked may have read enough
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    for method in ("GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler.answer)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def fake_request(
    call: FakeCall,
    method: str,
    url: str,
    headers: dict[str, str],
    body: Any = None,
    json: Any = None,
    max_bytes: int | None = None,
    form: Any = None,
    save_to: str | None = None,
) -> Answer:
    """The same service, as a test of a notebook would write it."""
    body = urlencode([tuple(field) for field in form]) if form is not None else body
    sent = dumped(json) if json is not None else body if body is not None else b""
    sent = sent.encode() if isinstance(sent, str) else sent
    if call.arguments.get("upload"):
        sent = b"".join(call.body())
    lower = {name.lower(): value for name, value in headers.items()}
    status, said, content = serve(method, "/" + url.partition("://")[2].partition("/")[2], lower, sent)
    return Answer(content, status, said, "Not Found" if status == 404 else "OK")


dumped = json.dumps


@pytest.fixture(scope="module", params=["fake", "bridge"])
def host(request: pytest.FixtureRequest, service: str) -> Iterator[str]:
    settings = {"http_request": {"allow_private": [service.partition("://")[2]]}}
    with FakeHost({"http_request": fake_request}) if request.param == "fake" else bridge_place(tool_settings=settings):
        yield service


def test_an_answer_is_a_value_whatever_its_status(host: str) -> None:
    answer = hermes.http_request("GET", f"{host}/v1?a=b", headers={"X-Who": "me"})
    assert (answer.status, answer.ok, answer.reason, answer.url) == (200, True, "OK", f"{host}/v1?a=b")
    assert answer.check() is answer
    assert answer.json() == {"method": "GET", "path": "/v1?a=b", "who": "me", "size": 0, "text": ""}
    assert answer.headers["X-PATH"] == answer.headers.get("x-path") == "/v1?a=b"
    assert "content-type" in answer.headers
    missing = hermes.http_request("GET", f"{host}/missing")
    assert (missing.status, missing.ok, missing.text) == (404, False, "<b>nicht da: ä</b>")
    with pytest.raises(hermes.ToolFailedError, match="404 Not Found\n<b>nicht da"):
        missing.check()
    with pytest.raises(hermes.ToolFailedError, match="no JSON"):
        missing.json()


def test_a_body_is_json_text_or_bytes(host: str) -> None:
    assert hermes.http_request("POST", host + "/", json={"a": [1]}).json()["text"].replace(" ", "") == '{"a":[1]}'
    assert hermes.http_request("POST", host + "/", body="text").json()["text"] == "text"
    assert hermes.http_request("PUT", host + "/", body=b"bytes").json()["text"] == "bytes"


def test_a_form_has_fields_and_may_have_files(host: str) -> None:
    told = hermes.http_request("POST", host + "/", data={"a": ["1", 2], "b": "x y", "c": None}).json()
    assert told["text"] == "a=1&a=2&b=x+y"
    told = hermes.http_request("POST", host + "/", data={"a": 1}, files={"f": ("n.csv", b"1,2", "text/csv")}).json()
    assert told["text"].startswith("--hermes-")
    assert 'form-data; name="a"' in told["text"]
    url = f"{host}/v1?a=1"
    assert hermes.http_request("GET", url, params={"b": ["x y", 2]}).json()["path"] == "/v1?a=1&b=x+y&b=2"


@pytest.mark.parametrize(
    "arguments",
    [
        {"body": "a", "data": {"b": 1}},
        {"json": 1, "files": {"f": b"x"}},
        {"data": "a=b"},
        {"data": {"a": {}}},
        {"files": [1]},
        {"files": {"f": ("n", b"x", "text/csv", 1)}},
        {"auth": "token"},
        {"auth": ("user", "password")},
        {"auth": ("user", TOKEN, "x")},
        {"params": {"key": TOKEN}},
        {"files": {"f": b"x"}, "data": {"key": TOKEN}},
        {"files": {"f": b"x"}, "headers": {"content-type": "text/plain"}},
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused_before_it_is_sent(arguments: Any) -> None:
    with pytest.raises(hermes.InvalidToolRequestError):
        http_request.operation("POST", "https://a.example/", **arguments)


def test_an_answer_is_saved_in_the_workspace(service: str) -> None:
    settings = {"http_request": {"allow_private": [service.partition("://")[2]]}}
    with bridge_place(tool_settings=settings) as place:
        answer = hermes.http_request("GET", f"{service}/moved", save_to="out/large.bin")
        assert (answer.saved_to, answer.saved_bytes, answer.content) == ("out/large.bin", len(LARGE), b"")
        assert place.read("out/large.bin") == LARGE
        (moved,) = answer.history
        assert (moved.status, moved.method, moved.url) == (302, "GET", f"{service}/moved")
        assert (answer.redirects, moved.location, answer.url) == (1, f"{service}/large", f"{service}/large")
        assert answer.duration_seconds > 0
        assert "5,120,000 bytes in 'out/large.bin'" in repr(answer)
        with pytest.raises(hermes.ToolFailedError, match=r"is in out/large\.bin"):
            answer.json()
        missing = hermes.http_request("GET", f"{service}/missing", save_to="missing")
        assert (missing.saved_to, missing.text) == (None, "<b>nicht da: ä</b>")
        with (
            hermes.narrow(f"http_request(url:{service}/**)"),
            pytest.raises(hermes.ToolDeniedError, match="write_file of"),
        ):
            hermes.http_request("GET", f"{service}/large", save_to="out/large.bin")
    with FakeHost({"http_request": fake_request}, files={}) as fake:
        assert hermes.http_request("GET", f"{service}/large", save_to="out/large.bin").saved_bytes == len(LARGE)
        assert fake.files["out/large.bin"] == LARGE


def test_a_large_answer_comes_whole_or_as_much_as_asked_and_says_so(host: str) -> None:
    whole = hermes.http_request("GET", f"{host}/large")
    assert (whole.content == LARGE, whole.truncated, whole.size_bytes) == (True, False, len(LARGE))
    cut = hermes.http_request("GET", f"{host}/large", max_bytes=1000)
    assert (cut.content, cut.truncated, cut.size_bytes) == (LARGE[:1000], True, len(LARGE))
    assert "the first 1,000 bytes of 5,120,000" in repr(cut)
    with pytest.raises(hermes.ToolFailedError, match="was cut"):
        cut.json()


def test_requests_run_at_the_same_time_with_await_and_by_name(host: str) -> None:
    async def several() -> list[HttpResponse]:
        return await asyncio.gather(*(hermes.aio.http_request("GET", f"{host}/{number}") for number in range(5)))

    assert [answer.json()["path"] for answer in asyncio.run(several())] == [f"/{number}" for number in range(5)]
    plain = hermes.call("http_request", method="GET", url=f"{host}/x", headers={})
    assert (plain["status"], json.loads(plain["content"])["path"]) == (200, "/x")


def test_bytes_of_any_size_are_uploaded(service: str) -> None:
    settings = {"http_request": {"allow_private": [service.partition("://")[2]]}}
    with bridge_place(tool_settings=settings):
        assert hermes.http_request("PUT", service + "/", body=b"x" * 3_000_000).json()["size"] == 3_000_000
    with FakeHost({"http_request": lambda call, method, url, headers: {"size": len(b"".join(call.body()))}}):
        assert hermes.http_request("PUT", service + "/", body=b"x" * 3_000_000).json()["size"] == 3_000_000


def test_a_narrowed_cell_makes_the_requests_it_named_and_no_others(host: str) -> None:
    place = f"url:{host}/**"
    with hermes.narrow(f"http_request({place})"):
        assert hermes.http_request("GET", f"{host}/x").ok
        with pytest.raises(hermes.ToolDeniedError):
            hermes.http_request("POST", f"{host}/x")
    with hermes.narrow(f"http_request(POST {place})"):
        assert hermes.http_request("POST", f"{host}/x").ok
        with pytest.raises(hermes.ToolDeniedError):
            hermes.http_request("GET", f"{host}/x")


def test_what_is_denied_is_an_error_that_says_why() -> None:
    with bridge_place(), pytest.raises(hermes.ToolDeniedError, match="not on the public internet"):
        hermes.http_request("GET", "http://127.0.0.1/")


def test_secrets_are_marked_in_headers_json_and_body_and_refused_in_a_url() -> None:
    operation = http_request.operation(
        "POST", "https://a.org", {"Authorization": "token " + TOKEN}, json={"k": [TOKEN]}
    )
    assert operation.arguments["headers"] == {"Authorization": "token [secret TOKEN]"}
    assert operation.secrets == (
        SecretMark(name="TOKEN", argument=("headers", "Authorization"), offset=6),
        SecretMark(name="TOKEN", argument=("json", "k", 0)),
    )
    operation = http_request.operation("POST", "https://a.org", auth=("ann", TOKEN), data={"a": "1", "b": [TOKEN]})
    assert operation.arguments["auth"] == ["ann", "[secret TOKEN]"]
    assert operation.secrets == (
        SecretMark(name="TOKEN", argument=("form", 1, 1)),
        SecretMark(name="TOKEN", argument=("auth", 1)),
    )
    assert http_request.operation("GET", "https://a.org", auth=TOKEN).secrets[0].argument == ("auth",)
    assert http_request.operation("POST", "https://a.org", body=TOKEN).secrets[0].argument == ("body",)
    with pytest.raises(hermes.InvalidToolRequestError, match="use a header"):
        hermes.http_request("GET", "https://a.org/?key=" + TOKEN)
    for url in ("https://ann:pass-word@a.org/", "HTTP:\\\\ann@a.org", " https://a@b@c/"):
        with pytest.raises(hermes.InvalidToolRequestError, match="auth=") as refused:
            hermes.http_request("GET", url)
        assert "pass-word" not in str(refused.value)


def test_an_answer_that_came_in_part_is_an_error() -> None:
    reply = Reply({"status": 200, "headers": [], "url": "u", "returned_bytes": 5}, {"content": b"abc"})
    with (
        FakeHost({"http_request": lambda **_: reply}),
        pytest.raises(hermes.ToolFailedError, match="3 bytes of the answer arrived, of 5"),
    ):
        hermes.http_request("GET", "https://a.org")
