"""One session process, spoken to on the wire: what a kernel may get from it, and what it may not do to it."""

from __future__ import annotations

import random
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from bare_kernel import commands_like, open_host, open_kernel
from waiting import until

from hermes_protocol.messages import (
    Cancel,
    Chunk,
    Credit,
    Goodbye,
    Heartbeat,
    Pending,
    StatusReply,
    StatusRequest,
    ToolReply,
)
from host_bridge import control
from host_bridge.audit.heads import read_heads
from host_bridge.audit.log import verify

ALLOW_ALL = (
    ("test", 'version = 1\n[rules]\nallow = ["terminal", "read_file", "write_file(./**)", "process", "add"]\n'),
)


@pytest.fixture
def host():
    with open_host(policy_texts=ALLOW_ALL) as host:
        host.expect(control.Ready)
        yield host


@pytest.fixture
def kernel(host):
    with open_kernel(host) as kernel:
        kernel.greet()
        yield kernel


def test_a_kernel_is_welcomed_and_reads_a_file(host):
    host.write("greeting.txt", b"hello\n")
    with open_kernel(host) as kernel:
        welcome = kernel.greet()
        assert (welcome.session_id, welcome.profile, welcome.version) == ("test", "workspace", 2)
        assert {"terminal", "read_file", "web_search"} <= {tool.name for tool in welcome.tools}
        answer = kernel.call("read_file", path="greeting.txt")
    assert answer.content == b"hello\n"
    assert host.expect(control.CallSettled).outcome == "ok"


def test_each_call_leaves_a_record_before_and_after(host, kernel):
    host.write("a.txt", b"a")
    kernel.call("read_file", path="a.txt")
    before, after = host.records()[-2:]
    assert (before["type"], before["tool"], before["effect"]) == ("call_decided", "read_file", "allow")
    assert (after["type"], after["call_id"], after["outcome"]) == ("call_settled", before["call_id"], "ok")


def test_a_call_nothing_allows_is_denied_recorded_and_explained(host, kernel):
    answer = kernel.call("web_extract", urls=["https://example.com/"])
    assert answer.code == "denied"
    assert answer.reply.failure.rule_id
    assert answer.reply.failure.remedy
    assert host.records("call_decided")[-1]["effect"] == "deny"
    assert host.expect(control.CallSettled).outcome == "denied"


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("no_such_tool", {}, "unknown_tool"),
        ("read_fil", {"path": "a"}, "unknown_tool"),
        ("read_file", {}, "invalid_request"),
        ("read_file", {"path": 3}, "invalid_request"),
        ("read_file", {"path": ["a"]}, "invalid_request"),
        ("read_file", {"path": "a", "surprise": 1}, "invalid_request"),
        ("read_file", {"path": "missing.txt"}, "not_found"),
    ],
)
def test_a_call_that_cannot_be_meant_gets_a_typed_answer_and_a_record(host, kernel, tool, arguments, code):
    before = len(host.records())
    assert kernel.call(tool, **arguments).code == code
    assert len(host.records()) > before


def test_an_unknown_tool_is_answered_with_the_nearest_name(kernel):
    assert "read_file" in kernel.call("read_fil", path="a").reply.failure.message


def test_a_misfit_is_answered_in_plain_words(kernel):
    assert kernel.call("read_file", path=3).reply.failure.message == "read_file: `path` must be text, not a number"
    message = kernel.call("read_file", pth="a").reply.failure.message
    assert message == "read_file: there is no argument `pth`; did you mean `path`?"


def test_terminal_output_arrives_while_the_command_runs(kernel):
    call_id = kernel.ask("terminal", command="echo first; sleep 30")
    message, bulk = kernel.receive()
    assert (message, bytes(bulk[0])) == (Chunk(id=call_id, stream="stdout"), b"first\n")
    kernel.say(Cancel(id=call_id))
    assert kernel.answer(call_id).code == "cancelled"


def test_one_slow_tool_delays_nobody(host, kernel):
    host.write("a.txt", b"a")
    slow = kernel.ask("terminal", command="sleep 30")
    started = time.monotonic()
    assert kernel.call("read_file", path="a.txt").content == b"a"
    assert time.monotonic() - started < 5
    kernel.say(Cancel(id=slow))
    assert kernel.answer(slow).code == "cancelled"


def test_calls_run_at_the_same_time(kernel):
    started = time.monotonic()
    calls = {kernel.ask("terminal", command="sleep 1") for _ in range(8)}
    while calls:
        message, _ = kernel.receive()
        if isinstance(message, ToolReply):
            assert message.failure is None
            calls.remove(message.id)
    assert time.monotonic() - started < 4


def test_a_deadline_ends_the_call_and_its_command(host, kernel):
    answer = kernel.call("terminal", command="sleep 300.25", timeout=1)
    assert answer.code == "timed_out"
    assert not commands_like("300.25")


def test_a_window_of_nothing_holds_the_command_back_until_credit_comes(kernel):
    call_id = kernel.ask("terminal", command="echo held", window_bytes=0)
    assert kernel.is_silent()
    kernel.say(Credit(id=call_id, bytes=100))
    assert kernel.answer(call_id).streams == {"stdout": b"held\n"}


def test_a_large_file_streams_within_the_credit_given(host, kernel):
    content = random.Random(1).randbytes(3_000_000)
    host.write("big.bin", content)
    call_id = kernel.ask("read_file", path="big.bin", unit="bytes", window_bytes=100_000)
    received = b""
    while True:
        message, bulk = kernel.receive()
        if isinstance(message, ToolReply):
            break
        assert len(bulk[0]) <= 100_000
        received += bytes(bulk[0])
        kernel.say(Credit(id=call_id, bytes=len(bulk[0])))
    assert received == content


def test_an_upload_arrives_whole(host, kernel):
    content = random.Random(2).randbytes(5_000_000)
    window = kernel.connection.upload_window_bytes
    call_id = kernel.ask("write_file", path="up.bin", upload="content")
    sent = 0
    while sent < len(content):
        size = min(500_000, kernel.connection.upload_credit(call_id), len(content) - sent)
        if size == 0:
            assert isinstance(kernel.receive()[0], Credit)
            continue
        piece = content[sent : sent + size]
        sent += size
        kernel.say(Chunk(id=call_id, stream="body", end=sent == len(content)), piece)
    while not isinstance(message := kernel.receive()[0], ToolReply):
        assert isinstance(message, Credit)
    assert message.failure is None
    assert window < len(content)
    assert (Path(host.config.workspace) / "up.bin").read_bytes() == content


def test_the_budget_is_exact_at_its_edge():
    with open_host(policy_texts=ALLOW_ALL, budgets={"calls": 10}) as host:
        host.write("a.txt", b"a")
        with open_kernel(host) as kernel:
            kernel.greet()
            calls = [kernel.ask("read_file", path="a.txt") for _ in range(30)]
            codes = [kernel.answer(call_id).code for call_id in calls]
            assert codes == ["ok"] * 10 + ["budget_exhausted"] * 20
            kernel.say(StatusRequest(id=kernel.connection.next_id()))
            status = kernel.hear(StatusReply)
    assert {budget.name: (budget.used, budget.limit) for budget in status.budgets}["calls"] == (10, 10)


def test_outside_a_cell_nothing_is_allowed_when_the_host_marks_cells():
    with open_host(policy_texts=ALLOW_ALL, marks_cells=True) as host, open_kernel(host) as kernel:
        host.write("a.txt", b"a")
        kernel.greet()
        assert kernel.call("read_file", path="a.txt").code == "denied"
        host.send(control.CellStarted(index=4))
        assert kernel.call("read_file", path="a.txt").code == "ok"
        assert host.expect(control.CallSettled, outcome="ok").cell_index == 4
        slow = kernel.ask("terminal", command="echo running; sleep 30")
        kernel.hear(Chunk)
        host.send(control.CellSettled(index=4, cancel=True))
        assert kernel.answer(slow).code == "cancelled"
        assert kernel.call("read_file", path="a.txt").code == "denied"


ASK = (("test", 'version = 1\n[rules]\nask = ["terminal(echo *)"]\n'),)


def test_headless_an_ask_is_a_denial_that_names_the_rule_and_what_to_do():
    with open_host(policy_texts=ASK) as host, open_kernel(host) as kernel:
        kernel.greet()
        failure = kernel.call("terminal", command="echo hi").reply.failure
    assert (failure.code.value, failure.rule_id) == ("denied", "test:rules.ask[0]")
    assert "terminal(echo *)" in failure.message
    assert "--park" in failure.message


@pytest.mark.parametrize(("answer", "code"), [("once", "ok"), ("no", "denied"), ("nonsense", "denied")])
def test_a_person_decides_about_an_ask(answer, code):
    with open_host(policy_texts=ASK, interactive=True) as host, open_kernel(host) as kernel:
        kernel.greet()
        call_id = kernel.ask("terminal", command="echo hi")
        asked = host.expect(control.Asked)
        assert (asked.tool, asked.shown["command"]) == ("terminal", "echo hi")
        kernel.hear(Pending)
        host.send(control.Answer(question_id=asked.question_id, answer=answer))
        assert kernel.answer(call_id).code == code


def test_a_yes_for_the_run_covers_the_same_call_and_no_other():
    with open_host(policy_texts=ASK, interactive=True) as host, open_kernel(host) as kernel:
        kernel.greet()
        first = kernel.ask("terminal", command="echo hi")
        host.send(control.Answer(question_id=host.expect(control.Asked).question_id, answer="run"))
        kernel.hear(Pending)
        assert kernel.answer(first).code == "ok"
        assert kernel.call("terminal", command="echo hi").code == "ok"
        kernel.ask("terminal", command="echo other")
        assert host.expect(control.Asked).shown["command"] == "echo other"


def test_an_ask_nobody_answers_is_a_no_in_time():
    with open_host(policy_texts=ASK, interactive=True, ask_timeout_seconds=0.3) as host, open_kernel(host) as kernel:
        kernel.greet()
        call_id = kernel.ask("terminal", command="echo hi")
        kernel.receive()
        assert kernel.answer(call_id).code == "denied"


def test_a_question_may_wait_for_as_long_as_can_be_configured():
    with (
        open_host(policy_texts=ASK, interactive=True, ask_timeout_seconds=86_400.0) as host,
        open_kernel(host) as kernel,
    ):
        kernel.greet()
        call_id = kernel.ask("terminal", command="echo hi")
        host.send(control.Answer(question_id=host.expect(control.Asked).question_id, answer="once"))
        assert kernel.hear(Pending).seconds == 86_400.0
        assert kernel.answer(call_id).code == "ok"


def test_the_time_a_person_takes_is_no_work_that_a_budget_is_charged_with():
    budgets = {"seconds": 0.5}
    with open_host(policy_texts=ASK, interactive=True, budgets=budgets) as host, open_kernel(host) as kernel:
        kernel.greet()
        call_id = kernel.ask("terminal", command="echo hi")
        asked = host.expect(control.Asked)
        kernel.hear(Pending)
        assert kernel.is_silent(0.7), "longer than the budget"
        host.send(control.Answer(question_id=asked.question_id, answer="once"))
        assert kernel.answer(call_id).code == "ok"
        assert kernel.call("list_files", path=".").code == "ok"


def test_the_host_is_told_when_nobody_waits_for_an_answer_any_more():
    with open_host(policy_texts=ASK, interactive=True, ask_timeout_seconds=30) as host, open_kernel(host) as kernel:
        kernel.greet()
        call_id = kernel.ask("terminal", command="echo hi")
        asked = host.expect(control.Asked)
        kernel.say(Cancel(id=call_id))
        over = host.expect(control.QuestionOver)
        assert (over.question_id, over.reason) == (asked.question_id, "the call has ended")


def test_a_tool_of_the_host_application_is_decided_recorded_and_run_there(host):
    host.send(control.ProvideTools(tools=({"name": "add", "summary": "Add."},)))
    with open_kernel(host) as kernel:
        kernel.greet()
        call_id = kernel.ask("add", a=1, b=2)
        request = host.expect(control.HostToolRequest)
        assert request.arguments == {"a": 1, "b": 2}
        host.send(control.HostToolReply(call_id=request.call_id, value=3))
        assert kernel.answer(call_id).reply.result == 3
        cancelled = kernel.ask("add", a=1, b=2)
        request = host.expect(control.HostToolRequest)
        kernel.say(Cancel(id=cancelled))
        assert kernel.answer(cancelled).code == "cancelled"
        assert host.expect(control.HostToolCancel).call_id == request.call_id


# ends ------------------------------------------------------------------------------------------------------------------


def test_end_leaves_no_process_no_socket_and_a_closed_log(host, kernel):
    kernel.ask("terminal", command="sleep 300.5 & sleep 300.5")
    until(lambda: len(commands_like("300.5")) >= 2)
    host.send(control.End())
    assert host.expect(control.Ended).reason == ""
    assert host.wait() == 0
    assert not Path(host.folder / "bridge").exists()
    assert not commands_like("300.5")
    assert host.records()[-1]["type"] == "session_closed"


def test_a_session_dies_with_its_host(host, kernel):
    kernel.ask("terminal", command="sleep 300.75")
    until(lambda: commands_like("300.75"))
    host.channel.shutdown(socket.SHUT_RDWR)
    assert host.wait() == 0
    assert not commands_like("300.75")


def test_sigterm_ends_a_session_in_order(host, kernel):
    host.process.send_signal(signal.SIGTERM)
    assert "SIGTERM" in host.expect(control.Ended).reason
    assert host.wait() == 0
    assert isinstance(kernel.receive()[0], Goodbye)


def test_ctrl_c_is_the_hosts_business(host, kernel):
    host.process.send_signal(signal.SIGINT)
    kernel.say(Heartbeat())
    assert kernel.hear(Heartbeat).reply


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"policy_texts": (("test", "version = 1\n[rules]\nallow = 3\n"),)}, "PolicyError"),
        ({"profile": "no-such-profile"}, "PolicyError"),
        ({"policy_texts": (("test", 'version = 1\n[rules]\nallow = ["termnal"]\n'),)}, "PolicyError"),
        ({"audit_path": "/nonexistent/folder/audit.jsonl"}, "AuditError"),
        ({"endpoint": "ipc:///nonexistent/folder/bridge"}, "SessionError"),
    ],
)
def test_a_session_that_cannot_be_right_refuses_to_start(fields, error):
    with open_host(**fields) as host:
        assert host.expect(control.Refused).error == error
        assert host.wait() == 1


# the log ----------------------------------------------------------------------------------------------------------------


def test_a_sessions_head_is_kept_elsewhere_and_its_log_goes_on_in_further_files(tmp_path):
    heads = tmp_path / "heads.jsonl"
    with open_host(policy_texts=ALLOW_ALL, audit_heads=str(heads), audit_rotate_bytes=2000) as host:
        with open_kernel(host) as kernel:
            kernel.greet()
            host.write("a.txt", b"a")
            for _ in range(20):
                assert kernel.call("read_file", path="a.txt").code == "ok"
        host.send(control.End())
        assert host.wait() == 0
        report = verify(host.config.audit_path, heads=heads)
    assert (report.ok, report.closed, len(report.files) > 2) == (True, True, True)
    assert report.kept == report.records - 1


def test_an_idle_session_keeps_its_head_without_a_further_call(tmp_path):
    heads = tmp_path / "heads.jsonl"
    with open_host(policy_texts=ALLOW_ALL, audit_heads=str(heads)) as host, open_kernel(host) as kernel:
        kernel.greet()
        kernel.call("read_file", path="a.txt")
        number = len(host.records()) - 1
        until(lambda: read_heads(heads)[-1].seq == number)
        host.process.kill()
        host.wait()
        assert verify(host.config.audit_path, heads=heads).kept == number


def test_where_heads_cannot_be_kept_no_session_starts():
    with open_host(audit_heads="/dev/null") as host:
        assert host.expect(control.Refused).error == "AuditError"
        assert host.wait() == 1


def test_a_full_audit_disk_stops_every_act():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with open_host(policy_texts=ALLOW_ALL, audit_path=str(full)) as host:
        assert host.expect(control.Refused).error == "AuditError"


def test_a_session_imports_nothing_of_jupyter_and_stays_small(host, kernel):
    process = psutil.Process(host.process.pid)
    mapped = {Path(region.path).name for region in process.memory_maps() if region.path.endswith(".so")}
    assert not any(name.startswith(("_pydantic", "lib_lxml", "pandas", "_multiarray")) for name in mapped)
    assert process.memory_info().rss < 80 << 20
    open_files = {entry.path for entry in process.open_files()}
    assert not any("jupyter" in path for path in open_files)
