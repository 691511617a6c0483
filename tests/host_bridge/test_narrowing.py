"""How a session keeps to what its cells narrow themselves to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_kernel import BareKernel, Host, open_host, open_kernel

from hermes_protocol.messages import StatusReply, StatusRequest
from host_bridge import control

RULES = (("test", 'version = 1\n[rules]\nallow = ["terminal", "process", "read_file", "search_files(./**)"]\n'),)


@pytest.fixture
def host() -> Iterator[Host]:
    with open_host(profile="read-only", policy_texts=RULES) as host:
        host.expect(control.Ready)
        workspace = Path(host.config.workspace)
        (workspace / "data").mkdir()
        for name in ("data/a.txt", "other.txt"):
            (workspace / name).write_text("needle\n")
        yield host


@pytest.fixture
def kernel(host: Host) -> Iterator[BareKernel]:
    with open_kernel(host) as kernel:
        kernel.greet()
        yield kernel


def status(kernel: BareKernel, *narrow: tuple[str, ...]) -> StatusReply:
    kernel.say(StatusRequest(id=kernel.connection.next_id(), narrow=narrow))
    reply: StatusReply = kernel.hear(StatusReply)
    return reply


def test_a_call_passes_every_level_or_is_denied_and_recorded(host: Host, kernel: BareKernel) -> None:
    levels = (("read_file",), ("read_file(data/**)", "terminal(echo *)"))
    assert kernel.call("read_file", path="data/a.txt", narrow=levels).content == b"needle\n"
    answer = kernel.call("read_file", path="other.txt", narrow=levels)
    assert (answer.code, answer.reply.failure.rule_id) == ("denied", "narrow:default")
    record = host.records()[-1]
    assert (record["effect"], record["rule_id"]) == ("deny", "narrow:default")
    assert kernel.call("terminal", command="echo hi", narrow=levels).code == "denied"
    assert kernel.call("read_file", path="other.txt").code == "ok"


def test_a_narrowing_gives_nothing(host: Host, kernel: BareKernel) -> None:
    for rules in (("write_file",), ("*(./**)",)):
        assert (
            kernel.call("write_file", path="new.txt", bulk=("content",), contents=(b"x",), narrow=(rules,)).code
            == "denied"
        )
    assert kernel.call("read_file", path="/etc/shadow", narrow=(("read_file(/etc/shadow)",),)).code != "not_found"
    assert not (Path(host.config.workspace) / "new.txt").exists()


def test_what_turns_up_while_a_call_runs_is_narrowed_too(kernel: BareKernel) -> None:
    found = kernel.call("search_files", pattern="needle", narrow=(("search_files(.)", "search_files(data/**)"),))
    assert [match["path"] for match in found.reply.result["matches"]] == ["data/a.txt"]


@pytest.mark.parametrize("rules", [("read_fil",), ("read_file(",), ("*",), ("terminal(git *) ",)])
def test_rules_that_cannot_be_meant_deny_the_call_and_a_question_about_them_says_why(
    kernel: BareKernel, rules: tuple[str, ...]
) -> None:
    assert kernel.call("read_file", path="other.txt", narrow=(rules,)).code == "invalid_request"
    reply = status(kernel, rules)
    assert reply.failure is not None
    assert reply.failure.code == "invalid_request"
    assert "narrow[0]" in reply.failure.message
    assert status(kernel, ("read_file",)).failure is None


def test_a_process_is_looked_after_only_where_it_could_have_been_started(kernel: BareKernel) -> None:
    shell = kernel.call("terminal", command="sh", background=True).reply.result["session_id"]
    echo = kernel.call("terminal", command="sleep 60", background=True).reply.result["session_id"]
    narrow = (("terminal(sleep *)",),)
    answer = kernel.call("process", action="write", session_id=shell, data="id\n", narrow=narrow)
    assert (answer.code, answer.reply.failure.rule_id) == ("denied", "narrow:default")
    assert "`sh`" in answer.reply.failure.message
    assert kernel.call("process", action="poll", session_id=echo, narrow=narrow).code == "ok"
    assert kernel.call("process", action="list", narrow=narrow).code == "ok"
    # Who names `process` says itself what may be done with all of them.
    assert kernel.call("process", action="poll", session_id=shell, narrow=(("process(poll)",),)).code == "ok"
    assert kernel.call("process", action="kill", session_id=shell, narrow=(("process(poll)",),)).code == "denied"
    assert kernel.call("process", action="poll", session_id=echo, narrow=(("read_file",),)).code == "denied"
    assert kernel.call("process", action="kill", session_id=shell).code == "ok"


# the tags of cells -----------------------------------------------------------------------------------------------------


def test_a_cells_tags_hold_for_all_its_calls_and_for_no_other_cell(host: Host, kernel: BareKernel) -> None:
    host.send(control.CellStarted(index=0, narrow=("read_file(data/**)", "process")))
    assert kernel.call("read_file", path="data/a.txt").code == "ok"
    assert kernel.call("read_file", path="other.txt").code == "denied"
    assert kernel.call("read_file", path="other.txt", narrow=(("read_file",),)).code == "denied"
    assert kernel.call("process", action="list").code == "ok"
    assert status(kernel, ("read_file",)).narrow == (("read_file(data/**)", "process"), ("read_file",))
    host.send(control.CellSettled(index=0))
    host.send(control.CellStarted(index=1))
    assert kernel.call("read_file", path="other.txt").code == "ok"
    assert status(kernel).narrow == ()


def test_tags_that_cannot_be_meant_end_the_session_rather_than_let_the_cell_run_free(host: Host) -> None:
    with open_kernel(host) as kernel:
        kernel.greet()
        host.send(control.CellStarted(index=0, narrow=("read_fil",)))
        assert "there is no tool 'read_fil'" in host.expect(control.Ended).reason


def test_a_narrowed_call_of_a_settled_cell_is_late_like_any_other() -> None:
    with open_host(policy_texts=RULES, marks_cells=True) as host:
        host.expect(control.Ready)
        (Path(host.config.workspace) / "a.txt").write_text("a")
        with open_kernel(host) as kernel:
            kernel.greet()
            host.send(control.CellStarted(index=0))
            assert kernel.call("read_file", path="a.txt", narrow=(("read_file",),)).code == "ok"
            host.send(control.CellSettled(index=0))
            late = kernel.call("read_file", path="a.txt", narrow=(("read_file",),))
            assert (late.code, late.reply.failure.rule_id) == ("denied", "session:cell")


# versions --------------------------------------------------------------------------------------------------------------


def test_an_older_kernel_is_served_and_told_only_what_it_understands(host: Host) -> None:
    with open_kernel(host) as kernel:
        assert kernel.greet(versions=(1,)).version == 1
        host.send(control.CellStarted(index=0, narrow=("read_file(data/**)",)))
        assert kernel.call("read_file", path="data/a.txt").code == "ok"
        assert kernel.call("read_file", path="other.txt").code == "denied"  # its cells' tags hold all the same
        told = status(kernel)
        assert told == StatusReply(id=told.id, budgets=told.budgets)


def test_a_kernel_that_speaks_no_common_version_is_refused(host: Host) -> None:
    with open_kernel(host) as kernel:
        assert kernel.greet(versions=(2, 9)).version == 2
    with open_kernel(host) as stranger, pytest.raises(AssertionError, match="version_mismatch"):
        stranger.greet(versions=(3,))
