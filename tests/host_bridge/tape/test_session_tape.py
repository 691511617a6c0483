"""A session's tape, from a kernel's calls on the wire to what can be read and answered from it later."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import threading
from pathlib import Path

import pytest
from bare_kernel import BareKernel, open_host
from taped_sessions import ALLOW, answers, ask, call, end, recorded, session

from hermes_protocol.messages import Chunk, Credit, ToolReply
from host_bridge import control
from host_bridge.tape.past_calls import past_calls
from host_bridge.tape.reader import TapeReader

SECRET = "s3cr3t-value-of-nobody"


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape"


@pytest.fixture
def orders(tape: Path) -> control.TapeOrders:
    return control.TapeOrders(path=str(tape), facts={"run_id": "r1"})


def test_a_tape_holds_each_calls_place_arguments_decision_result_and_time(tape, orders):
    with session(orders) as (host, kernel):
        Path(host.config.workspace, "a.txt").write_bytes(b"hello")
        call(kernel, "read_file", line=3, path="a.txt")
        call(kernel, "terminal", line=4, command="echo out; echo err >&2; exit 3")
        call(kernel, "web_extract", line=5, urls=["https://example.com/"])
        root = end(host).tape_root
    with TapeReader(str(tape)) as reader:
        read, command, denied = reader.calls()
        assert (read.row.tool, read.row.cell_index, read.row.cell_id, read.row.line) == ("read_file", 2, "two", 3)
        assert read.row.arguments == '{"path":"a.txt"}'
        assert (read.row.effect, read.row.acts, read.outcome.outcome) == ("allow", False, "ok")
        assert read.outcome.duration_seconds > 0
        assert [piece.data for piece in reader.pieces(read.row.seq) if piece.name == "content"] == [b"hello"]
        assert command.row.acts
        assert reader.value(command)["exit_code"] == 3
        streams = {piece.name: piece.data for piece in reader.pieces(command.row.seq) if piece.kind == "stream"}
        assert streams == {"stdout": b"out\n", "stderr": b"err\n"}
        assert (denied.row.effect, denied.outcome.outcome, denied.row.acts) == ("deny", "denied", False)
        assert '"code":"denied"' in denied.outcome.failure
        assert [(mark.event, mark.cell_index, mark.source_digest) for mark in reader.cells()] == [("started", 2, "d2")]
        assert reader.facts()["run_id"] == "r1"
        assert reader.facts()["policy_digest"]
        assert root == reader.root()


def test_a_replay_gives_the_same_without_doing_anything(tape, orders, tmp_path):
    big = random.Random(3).randbytes(3_000_000)
    with session(orders) as (host, kernel):
        workspace = Path(host.config.workspace)
        (workspace / "big.bin").write_bytes(big)
        first = call(kernel, "terminal", command="echo out; echo err >&2; touch made; exit 3")
        missing = call(kernel, "read_file", path="missing")
        denied = call(kernel, "web_extract", urls=["https://example.com/"])
        assert read_all(kernel, "big.bin") == big
        assert (workspace / "made").exists()
        end(host)
    again = control.TapeOrders(mode="replay", earlier=str(tape), path=str(tmp_path / "again"))
    with session(again, policy_texts=(), profile="read-only") as (host, kernel):
        second = call(kernel, "terminal", command="echo out; echo err >&2; touch made; exit 3")
        assert (second.reply.failure, second.streams) == (None, first.streams)
        assert call(kernel, "read_file", path="missing").reply.failure == missing.reply.failure
        assert call(kernel, "web_extract", urls=["https://example.com/"]).reply.failure == denied.reply.failure
        assert read_all(kernel, "big.bin") == big
        assert not list(Path(host.config.workspace).iterdir())
        assert end(host).divergences == ()
    assert {one.row.origin for one in recorded(tmp_path / "again")} == {"tape"}


def read_all(kernel: BareKernel, path: str) -> bytes:
    call_id = ask(kernel, "read_file", path=path, unit="bytes")
    received = b""
    while True:
        message, bulk = kernel.receive()
        if isinstance(message, ToolReply):
            assert message.failure is None
            return received
        assert isinstance(message, Chunk)
        received += bytes(bulk[0])
        kernel.say(Credit(id=call_id, bytes=len(bulk[0])))


def test_a_divergence_names_cell_line_expected_and_got(tape, orders):
    with session(orders) as (host, kernel):
        call(kernel, "terminal", line=7, command="echo one")
        end(host)
    with session(answers(tape)) as (host, kernel):
        answer = call(kernel, "terminal", line=7, command="echo two")
        text = answer.reply.failure.message
        assert answer.code == "failed"
        for word in (
            "cell 2 (two)",
            "line 7",
            "expected terminal(command='echo one')",
            "got terminal(command='echo two')",
        ):
            assert word in text
        assert end(host).divergences == (text,)


def test_what_a_replay_misses_can_be_made_live_under_the_policy_and_is_recorded(tape, orders, tmp_path):
    with session(orders) as (host, kernel):
        call(kernel, "terminal", command="echo one")
        end(host)
    second = tmp_path / "second"
    with session(answers(tape, on_miss="live", path=str(second))) as (host, kernel):
        assert call(kernel, "terminal", command="echo two").streams == {"stdout": b"two\n"}
        assert call(kernel, "web_extract", urls=["https://example.com/"]).code == "denied"
        assert call(kernel, "terminal", command="echo one").streams == {"stdout": b"one\n"}
        end(host)
    assert [one.row.origin for one in recorded(second)] == ["live", "live", "tape"]


def test_a_call_that_was_made_live_in_place_of_a_recorded_one_does_not_fail_the_replay(tape, orders):
    with session(orders) as (host, kernel):
        call(kernel, "terminal", line=7, command="echo one")
        end(host)
    with session(answers(tape, on_miss="live")) as (host, kernel):
        assert call(kernel, "terminal", line=7, command="echo two").streams == {"stdout": b"two\n"}
        host.send(control.CellSettled(index=2))
        assert end(host).divergences == ()


def test_two_hundred_calls_at_once_find_theirs_in_any_order(tape, orders):
    names = [f"{number}.txt" for number in range(200)]
    with session(orders) as (host, kernel):
        for name in names:
            Path(host.config.workspace, name).write_text(f"content of {name}")
        assert ask_together(kernel, names) == {name: f"content of {name}".encode() for name in names}
        end(host)
    with session(answers(tape)) as (host, kernel):
        random.Random(5).shuffle(names)
        assert ask_together(kernel, names) == {name: f"content of {name}".encode() for name in names}
        assert end(host).divergences == ()


def ask_together(kernel: BareKernel, names: list[str]) -> dict[str, bytes]:
    calls = {ask(kernel, "read_file", path=name): name for name in names}
    found = {}
    while len(found) < len(names):
        message, bulk = kernel.receive()
        assert isinstance(message, ToolReply)
        assert message.failure is None
        found[calls[message.id]] = dict(zip(message.bulk, map(bytes, bulk), strict=True))["content"]
    return found


def test_uploads_replay_and_other_bytes_are_a_divergence(tape, orders):
    def upload(kernel: BareKernel, content: bytes):
        call_id = kernel.ask("write_file", path="up.bin", upload="content")
        kernel.say(Chunk(id=call_id, stream="body", end=True), content)
        return kernel.answer(call_id)

    with session(orders) as (host, kernel):
        assert upload(kernel, b"the same").code == "ok"
        assert upload(kernel, b"the same").code == "ok"
        end(host)
    with session(answers(tape)) as (host, kernel):
        assert upload(kernel, b"the same").reply.result["bytes_written"] == 8
        different = upload(kernel, b"different")
        assert different.code == "failed"
        assert "other bytes" in different.reply.failure.message
        assert not Path(host.config.workspace, "up.bin").exists()


def test_secrets_never_enter_a_tape_not_even_cut_in_two(tape, orders):
    halves = (SECRET[:9], SECRET[9:])
    with session(orders, secrets=(SECRET,)) as (host, kernel):
        Path(host.config.workspace, "s.txt").write_text(f"before {SECRET} after")
        call(kernel, "read_file", path="s.txt")
        call(kernel, "terminal", command=f"printf %s {halves[0]}; sleep 0.3; echo {halves[1]}; echo {SECRET} >&2")
        call(kernel, "read_file", path=SECRET)
        end(host)
    assert SECRET.encode() not in tape.read_bytes()
    with TapeReader(str(tape)) as reader:
        pieces = [piece.data for one in reader.calls() for piece in reader.pieces(one.row.seq)]
        assert any(b"before [secret] after" in piece for piece in pieces)
        output = b"".join(piece.data for piece in reader.pieces(1) if piece.name == "stdout")
        assert output == b"[secret]\n"


def test_a_killed_bridge_leaves_the_call_it_was_in_as_unknown(tape, orders):
    with session(orders) as (host, kernel):
        call(kernel, "terminal", command="echo done > done.txt")
        ask(kernel, "terminal", command="echo begun; touch begun; sleep 30")
        assert isinstance(kernel.receive()[0], Chunk)
        host.process.send_signal(signal.SIGKILL)
        host.wait()
    finished, cut = recorded(tape)
    assert (finished.outcome.outcome, finished.is_unknown) == ("ok", False)
    assert (cut.outcome, cut.is_unknown) == (None, True)


def test_a_tape_that_cannot_be_written_starts_no_session():
    with open_host(policy_texts=ALLOW, tape=control.TapeOrders(path="/nowhere/at/all")) as host:
        refused = host.expect(control.Refused)
        assert refused.error == "TapeError"
        assert "--no-tape" in refused.message


def test_a_call_that_is_not_made_again_is_a_divergence_too(tape, orders):
    with session(orders) as (host, kernel):
        call(kernel, "terminal", line=7, command="echo one")
        call(kernel, "terminal", line=8, command="echo two")
        end(host)
    with session(answers(tape)) as (host, kernel):
        call(kernel, "terminal", line=7, command="echo one")
        host.send(control.CellSettled(index=2))
        (text,) = end(host).divergences
        assert "cell 2, line 8: expected terminal(command='echo two'), and the cell ended without it" in text


def test_resuming_answers_what_was_done_makes_what_failed_and_asks_about_what_is_unknown(tape, orders, tmp_path):
    with session(orders) as (host, kernel):
        workspace = Path(host.config.workspace)
        call(kernel, "terminal", line=1, command="echo one >> log")
        call(kernel, "read_file", line=2, path="later.txt")
        ask(kernel, "terminal", line=3, command="echo two >> log; echo begun; sleep 30")
        assert isinstance(kernel.receive()[0], Chunk)
        assert (workspace / "log").read_text() == "one\ntwo\n"
        host.process.send_signal(signal.SIGKILL)
        host.wait()

    def resume(number: int, on_unknown: str, earlier: Path):
        return control.TapeOrders(
            path=str(tmp_path / f"tape{number}"),
            mode="resume",
            earlier=str(earlier),
            live_from=2,
            on_unknown=on_unknown,
        )

    unknown = "echo two >> log; echo begun; sleep 30"
    with session(resume(1, "fail", tape)) as (host, kernel):
        workspace = Path(host.config.workspace)
        (workspace / "later.txt").write_text("there by now")
        assert call(kernel, "terminal", line=1, command="echo one >> log").reply.result["exit_code"] == 0
        assert call(kernel, "read_file", line=2, path="later.txt").content == b"there by now"
        doubt = call(kernel, "terminal", line=3, command=unknown)
        assert doubt.code == "failed"
        assert "nobody knows whether it was done" in doubt.reply.failure.message
        assert not (workspace / "log").exists()
        end(host)
    assert [one.is_unknown for one in recorded(tmp_path / "tape1")] == [False, False, True, False]
    with session(resume(2, "skip", tmp_path / "tape1")) as (host, kernel):
        assert call(kernel, "terminal", line=3, command=unknown).reply.result["exit_code"] == 0
        assert not Path(host.config.workspace, "log").exists()
        end(host)
    with session(resume(3, "ask", tmp_path / "tape1"), interactive=True) as (host, kernel):
        question = ask(kernel, "terminal", line=3, command=unknown)
        asked = host.expect(control.Asked)
        assert asked.rule_id == "tape:unknown"
        assert "nobody knows" in asked.reason
        host.send(control.Answer(question_id=asked.question_id, answer="no"))
        kernel.receive()
        assert kernel.answer(question).code == "denied"
        end(host)


def test_what_a_person_allowed_the_notebook_is_no_yes_to_doing_it_twice(tape, orders, tmp_path):
    rules = (("test", 'version = 1\n[rules]\nask = ["terminal"]\n'),)
    kept = {"notebook_digest": "d" * 64, "grants_path": str(tmp_path / "grants.json"), "workspace": str(tmp_path / "w")}
    fields = {"policy_texts": rules, "interactive": True, **kept}
    command = "touch made; echo begun; sleep 30"
    with session(orders, **fields) as (host, kernel):
        ask(kernel, "terminal", command=command)
        asked = host.expect(control.Asked)
        host.send(control.Answer(question_id=asked.question_id, answer="notebook"))
        while not isinstance(kernel.receive()[0], Chunk):
            pass
        host.process.send_signal(signal.SIGKILL)
        host.wait()
    assert (tmp_path / "grants.json").exists()
    resume = control.TapeOrders(
        path=str(tmp_path / "second"), mode="resume", earlier=str(tape), live_from=2, on_unknown="ask"
    )
    with session(resume, **fields) as (host, kernel):
        question = ask(kernel, "terminal", command=command)
        asked = host.expect(control.Asked)
        assert asked.rule_id == "tape:unknown"
        assert "make it twice" in asked.reason
        assert "by the rule terminal (test)" in asked.reason
        host.send(control.Answer(question_id=asked.question_id, answer="no"))
        while not isinstance(message := kernel.receive()[0], ToolReply):
            pass
        assert (message.id, message.failure.code.value) == (question, "denied")
        end(host)


def test_requests_are_recorded_by_what_they_change_and_answered_from_the_tape(tape, orders):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        rules = (
            f'version = 1\n[taint]\nbrake = false\n[rules]\nallow = ["http_request(GET,POST url:http://{place}/**)"]\n'
        )
        fields = {
            "policy_texts": (("test", rules),),
            "tool_settings": {"http_request": {"allow_private": [place]}},
        }

        def request(kernel, method: str, **arguments):
            return call(kernel, "http_request", method=method, url=f"http://{place}/x", **arguments)

        with session(orders, **fields) as (host, kernel):
            server = threading.Thread(target=answer_requests, args=(listener, 2))
            server.start()
            first = [request(kernel, "GET"), request(kernel, "POST", json={"a": 1})]
            denied = request(kernel, "DELETE")
            server.join(20)
            end(host)
    with TapeReader(str(tape)) as reader:
        assert [row.row.acts for row in reader.calls()] == [False, True, False]
        past = [resource for one in past_calls(reader) for resource in one.resources]
    assert [(one.method, one.path) for one in past] == [("GET", "/x"), ("POST", "/x"), ("DELETE", "/x")]
    assert denied.reply.failure.remedy.endswith(f"'http_request(DELETE url:http://{place}/**)'")
    with session(answers(tape), **fields) as (host, kernel):  # nobody listens any more
        again = [request(kernel, "GET"), request(kernel, "POST", json={"a": 1})]
        assert [one.reply.result for one in again] == [one.reply.result for one in first]
        assert request(kernel, "DELETE").reply.failure == denied.reply.failure
        assert end(host).divergences == ()


def answer_requests(listener: socket.socket, count: int) -> None:
    for _ in range(count):
        connection, _address = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok")
            while connection.recv(65_536):  # until the other side has read it all
                pass
