"""The HTTP API as a client has it: a real server, real requests, and what pages from elsewhere would try."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from inboxes import asked, no

from host_bridge.control import Sibling
from host_bridge.inbox import api
from host_bridge.inbox.folder import FOLDER, Inbox
from host_bridge.inbox.owner import this_process
from host_bridge.inbox.question import Question
from host_bridge.rundirs.processes import ProcessIdentity

PROGRAM = str(Path(sys.executable).with_name("hermes-runtime"))
SECONDS = 20.0


class Server:
    """A running `approvals serve`, and requests to it."""

    def __init__(self, state: Path, *options: str) -> None:
        self.inbox = Inbox(state / "hermes-runtime" / FOLDER)
        self.process = subprocess.Popen(
            [PROGRAM, "approvals", "serve", *options],
            env={**os.environ, "XDG_STATE_HOME": str(state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.told = self.process.stdout.readline()
        assert self.told, self.process.communicate()

    @property
    def port(self) -> int:
        return int(self.told.split("//")[1].split("/")[0].rpartition(":")[2])

    @property
    def token(self) -> str:
        return self.told.strip().partition("token=")[2]

    def ask(self, seconds: float = 3600.0, **fields: Any) -> Question:
        return self.inbox.ask(asked(**fields), this_process(), seconds=seconds)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Make a request with the right token unless another is given; `Host_` stands for a header with a hyphen."""
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            assert response.getheader("Cache-Control") == "no-store"
            return response.status, json.loads(response.read())

    def raw(self, text: str) -> str:
        """Send bytes as they are, and give all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as channel:
            channel.sendall(text.encode("latin-1"))
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while data := channel.recv(65_536):
                    received += data
        return received.decode()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, err


class Listener:
    """A client of the events."""

    def __init__(self, server: Server, last_id: str = "") -> None:
        self.connection = server.connect()
        headers = {"Authorization": f"Bearer {server.token}"} | ({"Last-Event-ID": last_id} if last_id else {})
        self.connection.request("GET", "/api/events", headers=headers)
        self.response = self.connection.getresponse()
        assert (self.response.status, self.response.getheader("Content-Type")) == (
            200,
            "text/event-stream; charset=utf-8",
        )

    def next(self) -> dict[str, Any]:
        """Give the next event."""
        fields: dict[str, Any] = {}
        while True:
            line = self.response.readline().decode()
            assert line, "the stream ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "data":
                fields["data"] = json.loads(value)
            elif name in ("event", "id"):
                fields[name] = value
            elif not name and "data" in fields:
                return fields

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = Server(tmp_path_factory.mktemp("state"))
    yield served
    assert served.end() == (0, "")


@pytest.fixture
def listen(server: Server) -> Iterator[Callable[..., Listener]]:
    with contextlib.ExitStack() as stack:

        def make(last_id: str = "") -> Listener:
            listener = Listener(server, last_id)
            stack.callback(listener.close)
            return listener

        yield make


def test_questions_are_read_and_answered(server: Server) -> None:
    question = server.ask(shown={"command": "git push"}, siblings=(Sibling(digest="a" * 64, shown={}),))

    listed = server.request("GET", "/api/questions")
    one = server.request("GET", f"/api/questions/{question.id}")
    body = {
        "answer": "run",
        "digest": "d" * 64,
        "covers": ["a" * 64],
        "pattern": {"rule": "terminal(git *)", "calls": 2, "seconds": 60},
        "by": "ada",
    }
    answered = server.request("POST", f"/api/questions/{question.id}/answer", body)
    again = server.request("POST", f"/api/questions/{question.id}/answer", {"answer": "no"})

    assert listed[0] == 200
    assert question.id in [found["id"] for found in listed[1]["questions"]]
    assert (one[0], one[1]["shown"], one[1]["state"]) == (200, {"command": "git push"}, "pending")
    assert (answered[0], answered[1]["state"], answered[1]["outcome"]["by"]) == (200, "answered", "ada (HTTP)")
    assert answered[1]["outcome"]["pattern"] == {"rule": "terminal(git *)", "calls": 2, "seconds": 60.0}
    assert again[0] == 409
    assert again[1]["error"]["code"] == "settled"
    assert "was answered 'run' at" in again[1]["error"]["message"]
    assert question.id not in [found["id"] for found in server.request("GET", "/api/questions")[1]["questions"]]
    assert question.id in [found["id"] for found in server.request("GET", "/api/questions?all=1")[1]["questions"]]


def test_a_yes_nobody_was_there_to_hear_names_the_command_that_makes_use_of_it(server: Server) -> None:
    dead = msgspec.structs.replace(this_process(), process=ProcessIdentity(1, "1"))
    allows, denies = (server.inbox.ask(asked(), dead, seconds=3600) for _ in range(2))

    allowed = server.request("POST", f"/api/questions/{allows.id}/answer", {"answer": "once"})[1]
    denied = server.request("POST", f"/api/questions/{denies.id}/answer", {"answer": "no"})[1]

    assert (allowed["state"], allowed["resume"]) == ("answered", f"hermes-runtime approvals resume {allows.id}")
    assert (denied["state"], denied["resume"]) == ("answered", "")


def test_the_address_alone_opens_it_in_a_browser(server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", f"/api/questions?token={server.token}", headers={"Sec-Fetch-Site": "none"})
        assert connection.getresponse().status == 200


def test_events_begin_with_what_waits_and_go_on_with_what_changes(
    server: Server, listen: Callable[..., Listener]
) -> None:
    waiting = server.ask()
    listener = listen()
    first = listener.next()
    assert first["event"] == "snapshot"
    assert waiting.id in [one["id"] for one in first["data"]["questions"]]

    asked_now = server.ask()
    event = listener.next()
    assert (event["event"], event["data"]["id"]) == ("question", asked_now.id)
    server.inbox.answer(waiting.id, no())
    event = listener.next()
    assert (event["event"], event["data"]["id"], event["data"]["outcome"]["answer"]) == ("answered", waiting.id, "no")
    short = server.ask(seconds=1.0)
    while (event := listener.next())["event"] == "question":  # unless the machine was too busy to see it wait
        assert event["data"]["id"] == short.id
    assert (event["event"], event["data"]["id"]) == ("expired", short.id), "no file changed, and it is told"
    withdrawn = server.ask()
    assert listener.next()["event"] == "question"
    server.inbox.withdraw(withdrawn.id, "the call has ended")
    assert listener.next()["event"] == "withdrawn"
    dead = msgspec.structs.replace(this_process(), process=ProcessIdentity(1, "1"))
    orphan = server.inbox.ask(asked(), dead, seconds=3600)
    event = listener.next()
    assert (event["event"], event["data"]["id"]) == ("orphaned", orphan.id)


def test_a_client_that_was_away_gets_what_it_missed_or_a_snapshot(
    server: Server, listen: Callable[..., Listener]
) -> None:
    stays, leaves = listen(), listen()
    stays.next()
    last_id = leaves.next()["id"]
    leaves.close()
    missed = [server.ask(), server.ask()]
    for _ in missed:
        stays.next()

    back = listen(last_id)
    assert {back.next()["data"]["id"] for _ in missed} == {question.id for question in missed}
    assert listen("0badcafe-7").next()["event"] == "snapshot"
    assert listen("x" * 1000).next()["event"] == "snapshot"


def test_two_clients_that_answer_at_once_are_told_who_was_first(server: Server) -> None:
    question = server.ask()
    together = threading.Barrier(8, timeout=SECONDS)
    codes: list[int] = []

    def answer(number: int) -> None:
        together.wait()
        path = f"/api/questions/{question.id}/answer"
        codes.append(server.request("POST", path, {"answer": "once", "by": f"{number}"})[0])

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert sorted(codes) == [200] + [409] * 7


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"token": "wrong"}, 401, "token"),
        ({"token": ""}, 401, "token"),
        ({"token": "\xff"}, 401, "token"),
        ({"Authorization": "Basic dTpw"}, 401, "token"),
        ({"Host": "evil.example"}, 403, "host"),
        ({"Host": "127.0.0.1"}, 403, "host"),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403, "host"),
        ({"Origin": "http://evil.example"}, 403, "origin"),
        ({"Origin": "null"}, 403, "origin"),
        ({"Origin": "http://127.0.0.1:1"}, 403, "origin"),
        ({"Origin": "https://127.0.0.1:{port}"}, 403, "origin"),
        ({"Sec_Fetch_Site": "cross-site"}, 403, "origin"),
        ({"Sec_Fetch_Site": "same-site"}, 403, "origin"),
        ({"Content_Type": "text/plain"}, 415, "media_type"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415, "media_type"),
    ],
)
def test_what_a_page_from_elsewhere_could_send_is_refused_and_answers_nothing(
    server: Server, headers: dict[str, str], status: int, code: str
) -> None:
    question = server.ask()
    sent = {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}

    got = server.request("POST", f"/api/questions/{question.id}/answer", {"answer": "once"}, **sent)  # type: ignore[arg-type]

    assert (got[0], got[1]["error"]["code"]) == (status, code)
    assert len(got[1]["error"]["message"]) > 20
    assert server.inbox.standing(server.inbox.get(question.id)) == "pending"


@pytest.mark.parametrize("name", ["Host", "localhost"])
def test_the_names_of_this_machine_and_its_own_pages_are_let_in(server: Server, name: str) -> None:
    host = f"{'127.0.0.1' if name == 'Host' else name}:{server.port}"

    assert server.request("GET", "/api/questions", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/questions/", 404, "not_found"),
        ("GET", "/api/questions/nothere", 404, "not_found"),
        ("GET", "/api/questions/../../secrets", 404, "not_found"),
        ("GET", "/api/questions/%2e%2e%2fsecrets", 404, "not_found"),
        ("GET", "/api/questions/..%2f..%2fetc%2fpasswd", 404, "not_found"),
        ("GET", "/api/questions/%00", 404, "not_found"),
        ("GET", "/api/questions/.lock", 404, "not_found"),
        ("POST", "/api/questions/%2e%2e%2fsecrets/answer", 404, "not_found"),
        ("GET", "/api/questions/%ff", 400, "invalid"),
        ("GET", "/api/questions?all=perhaps", 400, "invalid"),
        ("DELETE", "/api/questions", 405, "method"),
        ("OPTIONS", "/api/questions", 405, "method"),
        ("GET", "/api/questions/{id}/answer", 405, "method"),
    ],
)
def test_every_error_is_json_that_says_what_to_do(
    server: Server, method: str, path: str, status: int, code: str
) -> None:
    question = server.ask()
    (server.inbox.folder.parent / "secrets.json").write_text("{}")
    body = {"answer": "once"} if method == "POST" else None

    got = server.request(method, path.replace("{id}", question.id), body)

    assert (got[0], got[1]["error"]["code"]) == (status, code)
    assert len(got[1]["error"]["message"]) > 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 60_000,
        b'{"answer": "session"}',
        b'{"answer": "once", "Answer": 1}',
        b'{"answer": ["once"]}',
        b'{"answer": "once", "covers": ["x"]}',
        b'{"answer": "once", "digest": "x"}',
        b'{"answer": "run", "pattern": {"rule": "x"}}',
        b'{"answer": "run", "pattern": {"rule": "x", "calls": 1e9, "seconds": 1}}',
        b'{"answer": "run", "pattern": {"rule": "x", "calls": 0, "seconds": 1}}',
        b'{"answer": "no", "pattern": {"rule": "x", "calls": 1, "seconds": 1}}',
        b'{"answer": "notebook"}',
    ],
)
def test_what_is_no_answer_is_refused_and_the_question_waits(server: Server, body: bytes) -> None:
    question = server.ask()

    got = server.request("POST", f"/api/questions/{question.id}/answer", body)

    assert (got[0], got[1]["error"]["code"]) == (400, "invalid")
    assert server.inbox.standing(server.inbox.get(question.id)) == "pending"


def test_a_body_of_ten_megabytes_is_told_to_be_too_large(server: Server) -> None:
    question = server.ask()

    got = server.request("POST", f"/api/questions/{question.id}/answer", b" " * 10_000_000)

    assert (got[0], got[1]["error"]["code"]) == (413, "too_large")


def test_an_answer_for_another_call_is_refused(server: Server) -> None:
    question = server.ask()

    got = server.request("POST", f"/api/questions/{question.id}/answer", {"answer": "once", "digest": "e" * 64})

    assert (got[0], got[1]["error"]["code"]) == (409, "settled")
    assert server.inbox.standing(server.inbox.get(question.id)) == "pending"


def test_text_in_a_question_can_not_pass_for_an_event(server: Server, listen: Callable[..., Listener]) -> None:
    listener = listen()
    listener.next()

    hostile = "x\r\n\r\nevent: answered\ndata: {}\n\n\u2028<script>"
    question = server.ask(shown={"command": hostile})

    event = listener.next()
    assert (event["event"], event["data"]["id"], event["data"]["shown"]) == (
        "question",
        question.id,
        {"command": hostile},
    )


def test_clients_that_do_not_read_or_write_hold_up_nobody(server: Server, listen: Callable[..., Listener]) -> None:
    slow = socket.create_connection(("127.0.0.1", server.port), SECONDS)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(
        f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
    )
    half = socket.create_connection(("127.0.0.1", server.port), SECONDS)
    half.sendall(b"GET /api/questions HTTP/1.1\r\nHos")
    reader = listen()
    reader.next()

    for number in range(5):
        question = server.ask(shown={"command": "x" * 900_000, "number": number})
        event = reader.next()
        assert (event["event"], event["data"]["id"]) == ("question", question.id)
        server.inbox.withdraw(question.id, "over")
        assert reader.next()["event"] == "withdrawn"

    assert server.request("GET", "/api/questions")[0] == 200
    slow.close()
    half.close()


def test_a_client_that_falls_too_far_behind_is_let_go() -> None:
    client = api.Client()

    for number in range(api.MAX_UNSENT_EVENTS):
        client.put(f"{number}")
    assert client.texts.qsize() == api.MAX_UNSENT_EVENTS
    client.put("one too many")

    assert client.texts.get_nowait() is None
    assert client.texts.empty()


def test_requests_that_are_no_http_get_no_further(server: Server) -> None:
    for text in ("\0\0\0\n\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", f"GET / HTTP/1.1\r\nX: {'y' * 100_000}\r\n\r\n"):
        assert "HTTP/1.1 200" not in server.raw(text)
    assert server.request("GET", "/api/questions")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_private_socket_is_served_and_nothing_of_it_is_left(tmp_path: Path, number: int) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    token_file = tmp_path / "token"
    server = Server(tmp_path, "--socket", str(path), "--token-file", str(token_file))
    token = token_file.read_text().strip()
    question = server.ask()

    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(SECONDS)
        channel.connect(str(path))
        lines = (
            "GET /api/questions HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {token}",
            "Connection: close",
        )
        channel.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        received = b""
        while data := channel.recv(65_536):
            received += data
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, token_file)]
    second = subprocess.run(
        [PROGRAM, "approvals", "serve", "--socket", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.connect(str(path))  # open while it ends
        ended = server.end(number)

    assert question.id in received.decode()
    assert token not in server.told
    assert modes == [0o600, 0o600]
    assert (second.returncode, "somebody listens at" in second.stderr) == (2, True)
    assert ended == (0, "")
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--host", "0.0.0.0"), "is not this machine's loopback"),
        (("--host", "::"), "is not this machine's loopback"),
        (("--host", "192.0.2.1"), "is not this machine's loopback"),
        (("--host", "example.org"), "is not this machine's loopback"),
        (("--socket", "{folder}/file"), "no socket of yours"),
        (("--socket", "{folder}/none/s"), "can't listen at"),
        (("--token-file", "{folder}/open"), "chmod 600"),
        (("--token-file", "{folder}/short"), "holds no token"),
    ],
)
def test_what_others_could_hear_or_know_is_not_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    from host_bridge.cli import main

    for name, mode in (("file", 0o600), ("open", 0o644), ("short", 0o600)):
        (tmp_path / name).write_text("secret" if name == "short" else "a" * 40)
        (tmp_path / name).chmod(mode)

    code = main(["approvals", "serve", *(option.replace("{folder}", str(tmp_path)) for option in options)])

    assert (code, told in capsys.readouterr().err) == (2, True)
