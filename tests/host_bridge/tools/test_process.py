from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from waiting import until

from host_bridge.errors import (
    BudgetError,
    CallCancelledError,
    CallError,
    CallTimeoutError,
    InvalidCallError,
    NotFoundError,
)
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.process import Process
from host_bridge.tools.terminal import Terminal

TERMINAL, PROCESS = Terminal(), Process()


def settle(tool: Any, arguments: Any, session: Any, context: Any) -> ToolOutput:
    call = tool.prepare(arguments, session)
    try:
        output: ToolOutput = call.run(context)
        return output
    finally:
        call.close()


@pytest.fixture
def start(session: Any, make_context: Any) -> Callable[..., str]:
    def start(command: str, **arguments: Any) -> str:
        arguments = {"command": command, "background": True, **arguments}
        output = settle(TERMINAL, msgspec.convert(arguments, type=TERMINAL.Arguments), session, make_context())
        session_id: str = output.value["session_id"]
        return session_id

    return start


@pytest.fixture
def process(session: Any, make_context: Any) -> Callable[..., Any]:
    def process(action: str, session_id: str | None = None, *, context: Any = None, **arguments: Any) -> Any:
        arguments = {"action": action, "session_id": session_id, **arguments}
        output = settle(PROCESS, msgspec.convert(arguments, type=PROCESS.Arguments), session, context or make_context())
        return (output.value, bytes(output.bulk["output"])) if action == "log" else output.value

    return process


def test_a_process_outlives_its_call_and_tells_how_it_ended(start: Any, process: Any) -> None:
    key = start("echo one; read line; echo got $line; exit 5")
    assert re.fullmatch(r"bg-[0-9a-f]{16}", key)
    state = process("poll", key)
    assert (state["state"], state["exit_code"]) == ("running", None)
    assert state["command"].startswith("echo one")
    process("submit", key, data="two words")
    state = process("wait", key, timeout=10)
    assert (state["state"], state["exit_code"], state["output_bytes"]) == ("exited", 5, 18)
    assert process("log", key)[1] == b"one\ngot two words\n"
    assert process("poll", key)["duration_seconds"] == state["duration_seconds"] > 0


def test_processes_are_listed_in_the_order_they_were_started(start: Any, process: Any) -> None:
    keys = [start("sleep 60") for _ in range(3)]
    assert [state["session_id"] for state in process("list")["processes"]] == keys
    assert len(set(keys)) == 3


def test_both_streams_are_one_log_in_order(start: Any, process: Any) -> None:
    key = start("for i in 1 2 3; do echo o$i; echo e$i >&2; done")
    process("wait", key)
    assert process("log", key)[1] == b"o1\ne1\no2\ne2\no3\ne3\n"


def test_the_log_can_be_followed_by_offset(start: Any, process: Any) -> None:
    key = start("printf 0123456789; read _; printf abc")
    until(lambda: process("poll", key)["output_bytes"] == 10)
    value, output = process("log", key, limit=4)
    assert (output, value["offset"], value["next_offset"]) == (b"0123", 0, 4)
    value, output = process("log", key, offset=4)
    assert (output, value["next_offset"]) == (b"456789", 10)
    value, output = process("log", key, offset=10)
    assert (output, value["next_offset"]) == (b"", 10)
    process("close", key)
    process("wait", key)
    assert process("log", key, offset=10)[1] == b"abc"
    assert process("log", key, offset=-5)[1] == b"89abc"
    value, output = process("log", key, offset=10**9)
    assert (output, value["next_offset"]) == (b"", 13)


def test_only_the_end_of_a_long_log_is_kept_and_the_gap_is_visible(start: Any, process: Any, session: Any) -> None:
    session.settings["process"] = {"log_bytes": 2048}
    key = start("head -c 1000000 /dev/zero; printf end")
    state = process("wait", key)
    assert state["output_bytes"] == 1_000_003
    value, output = process("log", key, offset=5)
    assert value["offset"] == 1_000_003 - 2048
    assert value["next_offset"] == 1_000_003
    assert output == b"\0" * 2045 + b"end"


def test_kill_ends_the_whole_group(start: Any, process: Any, session: Any) -> None:
    key = start("sleep 60 & setsid sleep 61 & echo $! $$ >pids; wait")
    pids = until(lambda: Path(session.workspace, "pids").exists() and Path(session.workspace, "pids").read_text())
    state = process("kill", key)
    assert (state["state"], state["exit_code"]) == ("exited", 143)
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.split())
    assert process("kill", key)["exit_code"] == 143


def test_kill_insists(start: Any, process: Any, session: Any) -> None:
    session.settings["terminal"] = {"grace_seconds": 0.2}
    key = start("trap '' TERM; echo ready; while :; do sleep 1; done")
    until(lambda: process("poll", key)["output_bytes"])
    assert process("kill", key)["exit_code"] == 137


def test_wait_returns_when_its_time_is_up(start: Any, process: Any) -> None:
    key = start("sleep 60")
    started = time.monotonic()
    assert process("wait", key, timeout=0.2)["state"] == "running"
    assert 0.2 <= time.monotonic() - started < 2


def test_wait_ends_with_its_call(start: Any, process: Any, make_context: Any) -> None:
    key = start("sleep 60")
    with pytest.raises(CallTimeoutError):
        process("wait", key, context=make_context(timeout=0.2))
    cancelled = make_context()
    cancelled.cancel()
    with pytest.raises(CallCancelledError):
        process("wait", key, context=cancelled)
    assert process("poll", key)["state"] == "running"


def test_write_and_close_feed_the_standard_input(start: Any, process: Any) -> None:
    key = start("cat")
    process("write", key, data="grün")
    process("write", key, data=" x\n")
    process("close", key)
    assert process("wait", key)["exit_code"] == 0
    assert process("log", key)[1].decode() == "grün x\n"
    with pytest.raises(CallError, match="input"):
        process("write", key, data="more")
    process("close", key)


def test_a_process_that_does_not_read_keeps_nobody_waiting(start: Any, process: Any) -> None:
    key = start("sleep 60")
    with pytest.raises(CallError, match=r"did not read.* of 1000000 bytes"):
        process("write", key, data="x" * 1_000_000, timeout=0.3)


def test_writing_to_a_process_that_ends_meanwhile_is_an_error(start: Any, process: Any) -> None:
    key = start("head -c 1 >/dev/null")
    with pytest.raises(CallError, match="input"):
        process("write", key, data="x" * 1_000_000)


def test_a_program_that_wants_a_terminal_gets_one(start: Any, process: Any) -> None:
    key = start('test -t 0 && test -t 1 && read line && echo "got $line"; cat; echo end', pty=True)
    process("submit", key, data="hello")
    until(lambda: b"got hello" in process("log", key)[1])
    process("close", key)
    assert process("wait", key)["exit_code"] == 0
    assert process("log", key)[1].endswith(b"end\r\n")


def test_watched_patterns_show_up_in_the_state(start: Any, process: Any) -> None:
    key = start(
        "echo starting; printf 'Listening on '; echo 8080; echo ERROR; echo ERROR", watch_patterns=["Listening", "ERR"]
    )
    process("wait", key)
    assert process("poll", key)["matches"] == [
        {"pattern": "Listening", "offset": 9, "line": "Listening on 8080"},
        {"pattern": "ERR", "offset": 27, "line": "ERROR"},
        {"pattern": "ERR", "offset": 33, "line": "ERROR"},
    ]


def test_matches_are_bounded(start: Any, process: Any) -> None:
    key = start("yes match | head -n 100000; head -c 1000000 /dev/zero", watch_patterns=["match"])
    assert len(process("wait", key)["matches"]) == 100


def test_completion_is_notified_once_it_was_told(start: Any, process: Any) -> None:
    key = start("read _", notify_on_complete=True)
    assert process("poll", key)["notified"] is False
    process("close", key)
    assert process("wait", key)["notified"] is True


def test_a_cancelled_call_starts_nothing_that_stays(session: Any, make_context: Any) -> None:
    context = make_context()
    call = TERMINAL.prepare(TERMINAL.Arguments("sleep 60", background=True), session)
    # The first look finds the call alive, the second finds it cancelled: it ended while the command was started.
    looks = iter([lambda: None, context.cancel])
    check, context.check = context.check, lambda: (next(looks)(), check())
    with pytest.raises(CallCancelledError):
        call.run(context)
    call.close()
    (process,) = session.resources["processes"].all()
    until(lambda: process.is_over)
    assert process.state()["exit_code"] == 143


def test_only_so_many_run_at_once(start: Any, process: Any, session: Any) -> None:
    session.settings["process"] = {"max_processes": 2, "max_finished": 1}
    first, _second = start("sleep 60"), start("sleep 60")
    with pytest.raises(BudgetError, match="2 processes"):
        start("sleep 60")
    process("kill", first)
    start("sleep 60")


def test_the_oldest_that_ended_are_forgotten(start: Any, process: Any, session: Any) -> None:
    session.settings["process"] = {"max_finished": 2}
    keys = []
    for _ in range(5):
        keys.append(start("true"))
        process("wait", keys[-1])
    last = start("sleep 60")
    assert [state["session_id"] for state in process("list")["processes"]] == [*keys[-2:], last]
    with pytest.raises(NotFoundError, match="list"):
        process("poll", keys[0])


def test_a_list_of_long_commands_fits_into_an_envelope(start: Any, process: Any) -> None:
    for _ in range(16):
        start(f"sleep 60 # {'x' * 130_000}")
    assert len(str(process("list"))) < 50_000


def test_the_session_ends_them_all(start: Any, process: Any, session: Any) -> None:
    session.settings["terminal"] = {"grace_seconds": 0.3}
    for _ in range(3):
        start("trap '' TERM; echo ready; sleep 60; sleep 60")
    until(lambda: all(state["output_bytes"] for state in process("list")["processes"]))
    pids = [state["pid"] for state in process("list")["processes"]]
    started = time.monotonic()
    session.close()
    assert time.monotonic() - started < 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_process_of_another_session_does_not_exist(start: Any, session: Any, make_context: Any) -> None:
    key = start("sleep 60")
    other = type(session)(workspace=session.workspace)
    context = make_context()
    context.session = other
    with pytest.raises(NotFoundError):
        settle(PROCESS, PROCESS.Arguments("poll", key), other, context)
    other.close()


@pytest.mark.parametrize("action", ["poll", "log", "wait", "kill", "write", "submit", "close"])
def test_actions_need_a_process(process: Any, action: str) -> None:
    with pytest.raises(InvalidCallError, match="session_id"):
        process(action, data="x")
    with pytest.raises(NotFoundError):
        process(action, "bg-0000000000000000", data="x")


def test_writing_needs_data(start: Any, process: Any) -> None:
    key = start("cat")
    for action in ("write", "submit"):
        with pytest.raises(InvalidCallError, match="data"):
            process(action, key)


def test_only_what_waits_for_nothing_is_quick(session: Any) -> None:
    quick = {
        action
        for action in ("list", "poll", "log", "wait", "kill", "write", "submit", "close")
        if PROCESS.prepare(PROCESS.Arguments(action, "x", "y", limit=1000), session).quick
    }
    assert quick == {"list", "poll", "log"}


def test_ids_do_not_follow_from_each_other(start: Any) -> None:
    keys = [int(start("true")[3:], 16) for _ in range(4)]
    assert len({b - a for a, b in itertools.pairwise(keys)}) == 3
