"""A kernel that breaks the protocol breaks its own run, and only as far as it has to."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner

from host_bridge.executor import conversation

SETTLED = "reply\nidle"


@pytest.fixture
def runner(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Runner:
    folder = machine.root / "share" / "kernels" / "rogue"
    folder.mkdir(parents=True)
    program = str(Path(__file__).parent.parent / "rogue_kernel.py")
    spec = {"argv": [sys.executable, program, "{connection_file}"], "display_name": "Rogue", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(machine.root / "share"))
    return Runner(machine.workspace, "rogue")


@pytest.fixture
def quick_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SECOND_HALF_SECONDS", 0.5)


def test_idle_may_come_before_the_reply(runner: Runner) -> None:
    result = runner.run("print a\nidle\nsleep 0.2\nreply", f"print b\n{SETTLED}")
    assert result["state"] == "succeeded"
    assert (runner.text(0), runner.text(1)) == ("a", "b")


def test_a_reply_without_idle_is_enough_after_a_while(runner: Runner, quick_bounds: None) -> None:
    result = runner.run("print a\nreply", SETTLED)
    assert result["state"] == "succeeded"
    assert runner.text(0) == "a"


def test_outputs_that_keep_coming_after_the_reply_are_all_kept(runner: Runner, quick_bounds: None) -> None:
    steps = "\n".join(f"sleep 0.2\nprint {number}" for number in range(10))
    result = runner.run(f"reply\n{steps}\nidle")
    assert result["state"] == "succeeded"
    assert runner.text(0) == "0123456789"


def test_a_lost_reply_is_no_success(runner: Runner, quick_bounds: None) -> None:
    result = runner.run("print a\nidle", SETTLED)
    assert result["state"] == "failed"
    assert "without saying how" in result["failed_cell"]["evalue"]
    assert runner.states == ["failed", "not_run"]


def test_an_aborted_request_is_sent_again(runner: Runner) -> None:
    result = runner.run("once reply aborted\nonce idle\nprint ran\nreply\nidle")
    assert result["state"] == "succeeded"
    assert "ran" in runner.text(0)


def test_a_request_that_is_always_aborted_has_not_run(runner: Runner) -> None:
    result = runner.run("reply aborted\nidle", SETTLED)
    assert result["status"] == "error"
    assert result["state"] == "failed"
    assert runner.states == ["not_run", "not_run"]
    assert "completed" not in runner.papermill


def test_a_failure_is_a_failure_without_an_error_output_too(runner: Runner) -> None:
    result = runner.run("reply error\nidle")
    failed = result["failed_cell"]
    assert (failed["ename"], failed["evalue"], failed["traceback"]) == ("Rogue", "on purpose", ["a line"])


def test_a_kernel_that_says_nothing_after_the_last_cell_does_not_hang_the_run(runner: Runner) -> None:
    started = time.monotonic()
    result = runner.run(f"{SETTLED}\nsleep 600", timeout=None)
    assert result["state"] == "succeeded"
    assert time.monotonic() - started < 30


def test_garbage_between_messages_is_counted_and_ignored(runner: Runner) -> None:
    garbage = [
        "raw [b'']",
        "raw [b'<IDS|MSG>']",
        "raw [b'x', b'<IDS|MSG>', b'sig', b'{}', b'{}', b'{}', b'{}']",
        f"raw {[bytes([255]) * 100] * 50}",
    ]
    result = runner.run("\n".join([*garbage, "print still here", SETTLED]))
    assert result["state"] == "succeeded"
    assert runner.text(0) == "still here"
    assert "4 unreadable messages" in result["warnings"][0]


@pytest.mark.parametrize(
    "output",
    [
        "display_data {'data': {'text/plain': 7}, 'metadata': {}}",
        "display_data {'data': 'no', 'metadata': {}}",
        "display_data {}",
        "stream {'name': 'stdlog', 'text': 'x'}",
        "error {'ename': 1, 'evalue': 2, 'traceback': 3}",
        "execute_result {'data': {}, 'metadata': {}, 'execution_count': 'seven'}",
        "execute_input {'execution_count': 'seven'}",
        "update_display_data {'data': {}, 'metadata': {}, 'transient': {'display_id': ['list']}}",
        "comm_open {'comm_id': {}, 'data': 3}",
        "comm_msg {}",
        "clear_output {'wait': 'perhaps'}",
        "no_such_type {'a': 1}",
    ],
)
def test_nonsense_leaves_a_valid_notebook(runner: Runner, output: str) -> None:
    result = runner.run(f"output {output}\nprint ok\n{SETTLED}")
    assert result["state"] == "succeeded"
    assert runner.text(0).endswith("ok")


def test_a_deaf_kernel_is_frozen_and_killed_without_grace(runner: Runner) -> None:
    result = runner.run("deaf\nsleep 600", cell_timeout=0.5, grace_seconds=60)
    assert result["failed_cell"]["hang"] == "frozen"
    assert result["duration_seconds"] < 30


def test_a_kernel_that_ends_between_cells_has_died(runner: Runner) -> None:
    result = runner.run(f"{SETTLED}\nsleep 0.5\ndie 3", SETTLED)  # a sudden end loses what ZeroMQ hasn't sent yet
    assert result["state"] == "kernel_died"
    assert runner.states == ["succeeded", "kernel_died"]


def test_a_kernel_that_ends_after_the_last_cell_has_done_its_work(runner: Runner) -> None:
    assert runner.run(f"{SETTLED}\nsleep 0.5\ndie 3")["state"] == "succeeded"
