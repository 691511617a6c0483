"""Answers of web services on a tape: large ones, and those that became files; tried, made, answered again and taken back."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_kernel import BareKernel
from taped_sessions import answers, call, end, recorded, session

from host_bridge import control
from host_bridge.tape.past_calls import past_calls
from host_bridge.tape.reader import TapeReader
from host_bridge.tape.undo import Undo

LARGE = bytes(range(256)) * 2**12


class Service(http.server.ThreadingHTTPServer):
    """Answers everything with the same bytes, and counts."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server_port}"
        self.asked: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:  # as http.server wants it named
        self.server.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(LARGE)))
        self.end_headers()
        self.wfile.write(LARGE)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def fields(service: Service) -> dict[str, object]:
    rules = f'"http_request(GET,POST url:http://{service.place}/**)", "write_file(./**)", "read_file"'
    return {
        "policy_texts": (("test", f"version = 1\n[taint]\nbrake = false\n[rules]\nallow = [{rules}]\n"),),
        "tool_settings": {"http_request": {"allow_private": [service.place]}},
    }


def request(kernel: BareKernel, service: Service, method: str = "GET", **arguments: object):
    return call(kernel, "http_request", method=method, url=f"http://{service.place}/x", **arguments)


def test_what_was_saved_is_on_the_tape_and_comes_back_from_it_and_can_be_undone(service, tmp_path):
    tape = tmp_path / "tape"
    with session(control.TapeOrders(path=str(tape)), **fields(service)) as (host, kernel):
        path = Path(host.config.workspace, "data.bin")
        path.write_bytes(b"before")
        saved = request(kernel, service, save_to="data.bin")
        given = request(kernel, service)
        assert path.read_bytes() == LARGE
        end(host)
        assert [(one.row.acts, one.outcome.outcome) for one in recorded(tape)] == [(True, "ok"), (False, "ok")]
        with TapeReader(str(tape)) as reader:
            assert [len(one.resources) for one in past_calls(reader)] == [2, 1]
            assert [(one.path, one.outcome) for one in Undo(reader).run()] == [("data.bin", "restored")]
        assert path.read_bytes() == b"before"
    assert len(service.asked) == 2
    with session(answers(tape), **fields(service)) as (host, kernel):
        assert request(kernel, service, save_to="data.bin").reply.result == saved.reply.result
        again = request(kernel, service)
        assert (again.reply.result, again.content) == (given.reply.result, LARGE)
        assert end(host).divergences == ()
        assert not Path(host.config.workspace, "data.bin").exists()
    assert len(service.asked) == 2


def test_a_plan_asks_what_only_looks_and_saves_it_where_only_the_plan_sees_it(service, tmp_path):
    tape = tmp_path / "tape"
    with session(control.TapeOrders(path=str(tape), mode="plan"), **fields(service)) as (host, kernel):
        assert request(kernel, service).content == LARGE
        assert request(kernel, service, save_to="out/data.bin").reply.result["saved_bytes"] == len(LARGE)
        assert call(kernel, "read_file", path="out/data.bin", unit="bytes").content == LARGE
        assert not Path(host.config.workspace, "out").exists()
        acted = request(kernel, service, "POST", save_to="out/other.bin")
        assert "can't be simulated" in acted.reply.failure.message
        end(host)
    assert service.asked == ["GET /x"] * 2
    assert [(one.row.acts, one.row.origin) for one in recorded(tape) if one.row.tool == "http_request"] == [
        (False, "live"),
        (True, "simulated"),
        (True, "simulated"),
    ]
