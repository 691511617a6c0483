"""What a person is asked by a session process, and what each answer does, on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest
from bare_kernel import BareKernel, Host, open_host, open_kernel

from hermes_protocol.messages import (
    CallSite,
    Cancel,
    Chunk,
    Pending,
    StatusReply,
    StatusRequest,
    ToolReply,
    ToolRequest,
)
from host_bridge import control

RULES = """
version = 1
[rules]
ask = ["terminal(echo *)", "terminal(sleep *)", "add"]
allow = ["terminal(true)"]
"""
ASK = (("test", RULES),)


@pytest.fixture
def host():
    with open_host(policy_texts=ASK, interactive=True) as host:
        host.expect(control.Ready)
        yield host


@pytest.fixture
def kernel(host):
    with open_kernel(host) as kernel:
        kernel.greet()
        yield kernel


def ask(kernel: BareKernel, command: str, line: int = 0, timeout: float = 15.0) -> int:
    """Ask for a command from a line of a cell."""
    call_id = kernel.connection.next_id()
    kernel.say(
        ToolRequest(
            id=call_id,
            tool="terminal",
            arguments={"command": command},
            timeout_seconds=timeout,
            window_bytes=1 << 20,
            site=CallSite(cell="c", line=line),
        )
    )
    return call_id


def replies(kernel: BareKernel, count: int) -> dict[int, ToolReply]:
    """Collect so many replies, whatever else comes between."""
    found: dict[int, ToolReply] = {}
    while len(found) < count:
        message, _ = kernel.receive()
        if isinstance(message, ToolReply):
            found[message.id] = message
    return found


def codes(kernel: BareKernel, count: int) -> list[str]:
    return [reply.failure.code.value if reply.failure else "ok" for _, reply in sorted(replies(kernel, count).items())]


def answer(host: Host, asked: control.Asked, text: str, **fields) -> None:
    host.send(control.Answer(question_id=asked.question_id, answer=text, by="tester", **fields))


def test_a_question_names_the_place_the_targets_and_the_rule_and_its_answer_is_recorded_first(host, kernel):
    ask(kernel, "echo hi", line=7)
    asked = host.expect(control.Asked)
    assert asked.targets == (f"run in {host.config.workspace}: echo hi",)
    assert (asked.line, asked.rule_id, asked.session_id) == (7, "test:rules.ask[0]", "test")
    assert asked.question_id.startswith("test-q")
    answer(host, asked, "once")
    assert codes(kernel, 1) == ["ok"]
    (answered,) = host.records("question_answered")
    (decided,) = host.records("call_decided")
    assert answered["seq"] < decided["seq"]
    assert (answered["answer"], answered["by"], answered["arguments_digest"]) == ("once", "tester", asked.digest)
    assert (decided["answer"], decided["question_id"], decided["effect"]) == ("once", asked.question_id, "allow")


def test_fifty_identical_asks_of_a_loop_are_one_question(host, kernel):
    for _ in range(50):
        ask(kernel, "echo hi", line=3)
    asked = host.expect(control.Asked)
    assert (asked.waiting, asked.siblings) == (50, ())
    answer(host, asked, "once")
    assert codes(kernel, 50) == ["ok"] * 50
    assert not [message for message in host.inbox if isinstance(message, control.Asked)]


def test_a_pattern_is_exact_and_what_is_beyond_it_makes_another_question(host, kernel):
    for number in range(50):
        ask(kernel, f"echo {number}", line=3)
    pattern = control.Pattern(rule="terminal(echo *)", calls=49, seconds=60)
    answer(host, host.expect(control.Asked), "run", pattern=pattern)
    assert codes(kernel, 49) == ["ok"] * 49
    asked = host.expect(control.Asked)
    assert (asked.waiting, asked.siblings) == (1, ())
    answer(host, asked, "no")
    assert codes(kernel, 1) == ["denied"]
    uses = [record["reason"] for record in host.records("call_decided") if record["answer"] == "pattern"]
    assert len(uses) == len(set(uses)) == 49


def test_waiting_for_a_person_holds_up_nobody_else(host, kernel):
    for number in range(40):  # more than there are workers
        ask(kernel, "echo hi", line=number)
    quick = ask(kernel, "true")
    while True:
        message, _ = kernel.receive()
        if isinstance(message, ToolReply):
            break
    assert (message.id, message.failure) == (quick, None)


def test_the_person_has_the_calls_time_stand_still_and_the_tool_has_what_was_left(host, kernel):
    call_id = ask(kernel, "sleep 30", timeout=1.5)
    asked = host.expect(control.Asked)
    assert not kernel.receive()[1]  # pending
    assert kernel.is_silent(2.0), "the call's time went by while a person thought"
    answer(host, asked, "once")
    reply = replies(kernel, 1)[call_id]
    assert reply.failure is not None
    assert reply.failure.code.value == "timed_out"
    kernel.say(StatusRequest(id=kernel.connection.next_id()))
    used = {budget.name: budget.used for budget in kernel.hear(StatusReply).budgets}
    assert 1.0 < used["seconds"] < host.records("call_settled")[0]["duration_seconds"] - 1.9
    (settled,) = host.records("call_settled")
    assert settled["duration_seconds"] < 15


def test_stop_denies_all_that_waits_and_all_that_comes(host, kernel):
    ask(kernel, "echo hi")
    ask(kernel, "echo other", line=5)
    answer(host, host.expect(control.Asked), "stop")
    assert codes(kernel, 2) == ["denied"] * 2
    reply = kernel.call("terminal", command="true").reply
    assert reply.failure is not None
    assert (reply.failure.rule_id, reply.failure.message) == ("session:stopped", "a person stopped the run")


def test_a_cancelled_call_takes_its_question_back(host, kernel):
    call_id = ask(kernel, "echo hi")
    asked = host.expect(control.Asked)
    kernel.hear(Pending)
    kernel.say(Cancel(id=call_id))
    assert codes(kernel, 1) == ["cancelled"]
    assert host.expect(control.QuestionOver).question_id == asked.question_id
    answer(host, asked, "run")
    ask(kernel, "echo hi")
    assert host.expect(control.Asked).question_id != asked.question_id
    assert host.records("answer_unused")[0]["question_id"] == asked.question_id


def test_a_question_nobody_answers_expires_by_name():
    with open_host(policy_texts=ASK, interactive=True, ask_timeout_seconds=0.4) as host, open_kernel(host) as kernel:
        kernel.greet()
        ask(kernel, "echo hi")
        (reply,) = replies(kernel, 1).values()
        assert reply.failure is not None
        assert "nobody answered within 0.4 s" in reply.failure.message
        assert host.records("question_answered")[0]["answer"] == "expired"
        assert host.records("call_decided")[0]["answer"] == "expired"
        assert host.expect(control.QuestionOver)


def test_what_a_person_allowed_the_notebook_holds_without_them(tmp_path):
    kept = {"notebook_digest": "d" * 64, "grants_path": str(tmp_path / "grants.json"), "workspace": str(tmp_path)}
    with open_host(policy_texts=ASK, interactive=True, **kept) as host, open_kernel(host) as kernel:
        kernel.greet()
        ask(kernel, "echo hi")
        answer(host, host.expect(control.Asked), "notebook")
        assert codes(kernel, 1) == ["ok"]
    with open_host(policy_texts=ASK, **kept) as host, open_kernel(host) as kernel:
        kernel.greet()
        assert kernel.call("terminal", command="echo hi").code == "ok"
        assert kernel.call("terminal", command="echo other").code == "denied"
        assert host.records("call_decided")[0]["answer"] == "notebook"


def test_always_writes_a_rule_and_a_rule_that_asks_on_purpose_is_told(tmp_path):
    policy = tmp_path / "policy.toml"
    unless = (("test", 'version = 1\n[rules]\nask_unless_allowed = ["terminal"]\nask = ["terminal(sleep *)"]\n'),)
    fields = {"user_policy_path": str(policy), "interactive": True}
    with open_host(policy_texts=unless, **fields) as host, open_kernel(host) as kernel:
        kernel.greet()
        ask(kernel, "touch made")
        answer(host, host.expect(control.Asked), "always")
        assert codes(kernel, 1) == ["ok"]
        assert kernel.call("terminal", command="touch made").code == "ok"
        ask(kernel, "sleep 0")
        answer(host, host.expect(control.Asked), "always")
        again = host.expect(control.Asked)
        assert "it would still be asked" in again.problem
        answer(host, again, "once")
        assert codes(kernel, 1) == ["ok"]
    assert "terminal(touch made)" in policy.read_text()
    assert "sleep" not in policy.read_text()
    with open_host(policy_texts=unless, policy_paths=(("user", str(policy)),)) as host, open_kernel(host) as kernel:
        kernel.greet()
        assert kernel.call("terminal", command="touch made").code == "ok"


def test_what_is_sent_after_the_answer_can_be_allowed_once_and_is_never_equal_to_another_call():
    rules = (("test", 'version = 1\n[rules]\nask = ["write_file(./**)"]\n'),)
    with open_host(policy_texts=rules, interactive=True) as host, open_kernel(host) as kernel:
        kernel.greet()
        written = Path(host.config.workspace) / "f"

        def upload(content: bytes, first: str) -> control.Asked:
            call_id = kernel.ask("write_file", path="f", upload="content")
            asked = host.expect(control.Asked)
            assert asked.shown["content"] != "upload", "that could be the content itself"
            answer(host, asked, first)
            if first != "once":
                asked = host.expect(control.Asked)
                assert "sent after the answer" in asked.problem
                answer(host, asked, "once")
            kernel.say(Chunk(id=call_id, stream="body", end=True), content)
            assert replies(kernel, 1)[call_id].failure is None
            assert written.read_bytes() == content
            return asked

        harmless = upload(b"print('hello')", "run")
        assert upload(b"import os; os.abort()", "once").digest != harmless.digest


def test_a_loop_is_proposed_as_the_rule_that_asks_because_its_next_call_differs(host, kernel):
    ask(kernel, "echo 0", line=3)
    asked = host.expect(control.Asked)
    assert asked.suggested == "terminal(echo *)"
    answer(host, asked, "run", pattern=control.Pattern(rule=asked.suggested, calls=3, seconds=60))
    for number in (1, 2):
        ask(kernel, f"echo {number}", line=3)
    assert codes(kernel, 3) == ["ok"] * 3
    ask(kernel, "echo 3", line=3)
    answer(host, host.expect(control.Asked), "no")
    assert codes(kernel, 1) == ["denied"]
