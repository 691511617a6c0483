"""Notebooks in our own kernel: their tool calls, their secrets, and what the host says about them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, code

from host_bridge.control import Asked
from host_bridge.errors import PolicyError

SECRET = "s3cr3t-t0ken-0123456789"
GLUE = """
from IPython.display import publish_display_data
def glue(name, data):
    payload = {"name": name, "data": data, "encoder": "json", "version": 1}
    publish_display_data({"application/scrapbook.scrap.json+json": payload},
                         {"scrapbook": {"name": name, "data": True, "display": False}})
"""


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "hermes")


def audit(machine: Machine) -> str:
    return "".join(path.read_text() for path in machine.audit.rglob("*") if path.is_file())


def test_tool_calls_run_and_are_counted(runner: Runner, machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    result = runner.run("print(hermes.read_file('greeting.txt'))", "hermes.list_files()")
    assert result["status"] == "success"
    assert runner.text(0) == "hello\n"
    assert result["tool_calls"]["total"] == 2
    assert result["tool_calls"]["by_tool"] == {"list_files": 1, "read_file": 1}
    assert result["tool_calls"]["by_outcome"] == {"ok": 2}
    run = runner.run_metadata
    assert run["tool_calls"]["total"] == 2
    assert (run["principal"], run["profile"]) == ("default", "workspace")
    assert run["confinement"] == result["confinement"] != ""
    assert run["session_id"] == result["session_id"] != ""
    machine.wait_until_clean()


def test_the_audit_says_which_run_and_which_cell(runner: Runner, machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    result = runner.run("1", "hermes.read_file('greeting.txt')", principal="auditor")
    records = [json.loads(line) for line in audit(machine).splitlines()]
    (decided,) = [record for record in records if record.get("tool") == "read_file" and "effect" in record]
    assert decided["run_id"] == result["run_id"]
    assert decided["cell_index"] == 1
    assert decided["principal"] == "auditor"
    assert decided["notebook"] == str(runner.folder / "in.ipynb")


def test_a_denial_is_told_from_a_failure(runner: Runner) -> None:
    result = runner.run("hermes.read_file('/etc/shadow')", "1")
    assert result["state"] == "denied"
    assert result["failed_cell"]["ename"] == "ToolDeniedError"
    assert runner.states == ["denied", "not_run"]
    assert runner.papermill == ["failed", "pending"]


def test_a_denial_the_notebook_handles_is_no_failure(runner: Runner) -> None:
    result = runner.run("try:\n    hermes.read_file('/etc/shadow')\nexcept PermissionError:\n    print('as expected')")
    assert result["status"] == "success"
    assert result["tool_calls"]["by_outcome"] == {"denied": 1}


def test_rules_and_budgets_reach_the_session(runner: Runner, machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    result = runner.run("hermes.read_file('greeting.txt')\n" * 2, budgets={"calls": 1})
    assert result["failed_cell"]["ename"] == "BudgetExceededError"
    assert result["state"] == "denied"
    result = runner.run("hermes.read_file('greeting.txt')", policy_rules='version = 1\n[rules]\ndeny = ["read_file"]')
    assert result["state"] == "denied"


def test_a_policy_that_does_not_load_stops_the_run_before_it_begins(runner: Runner, machine: Machine) -> None:
    with pytest.raises(PolicyError):
        runner.run("1", policy_rules="no such key = 1")
    assert not runner.output.exists()
    machine.wait_until_clean()


def test_a_notebook_can_only_narrow(runner: Runner, machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    metadata = {"hermes": {"permissions": {"allow": ["list_files"]}}}
    result = runner.run("hermes.read_file('greeting.txt')", metadata=metadata)
    assert result["state"] == "denied"
    assert runner.check().metadata.hermes.permissions == {"allow": ["list_files"]}, "it is kept in the output"


def test_the_call_of_a_cell_that_timed_out_is_cancelled_with_everything_it_started(
    runner: Runner, machine: Machine
) -> None:
    started = time.monotonic()
    result = runner.run(
        "try:\n    hermes.terminal('sleep 600; true')\nexcept BaseException:\n    import time; time.sleep(600)",
        cell_timeout=2,
        grace_seconds=3,
        policy_rules='version = 1\n[rules]\nallow = ["terminal"]',
        profile="full",
    )
    assert result["state"] == "timed_out"
    assert time.monotonic() - started < 60
    machine.wait_until_clean()


def test_a_call_made_after_its_cell_is_refused(runner: Runner, machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    late = """
import threading, time
seen = []
def work():
    while not go.wait(0.01): pass
    try: seen.append(hermes.read_file('greeting.txt'))
    except Exception as error: seen.append(type(error).__name__)
go = threading.Event()
thread = threading.Thread(target=work); thread.start()
"""
    result = runner.run(late, "go.set(); thread.join(); print(seen)")
    assert result["status"] == "success"
    # The thread belongs to no cell that is over: it runs in the second, which is live.
    assert runner.text(1).strip() in ("['hello']", "['ToolDeniedError']")


def test_a_person_is_asked_and_the_run_does_not_pay_for_the_waiting(runner: Runner, machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    asked: list[Asked] = []

    def answer_slowly(question: Asked) -> str:
        asked.append(question)
        threading.Event().wait(4)
        return "once"

    result = runner.run(
        "print(hermes.read_file('greeting.txt'))",
        cell_timeout=2.5,
        prompter=answer_slowly,
        policy_rules='version = 1\n[rules]\nask = ["read_file"]',
    )
    assert result["state"] == "succeeded", result
    assert len(asked) == 1
    assert runner.text(0) == "hello\n"


def test_scraps_come_back(runner: Runner) -> None:
    result = runner.run(GLUE, "glue('health_score', 0.94)\nglue('alerts', [1, 2])")
    assert result["scraps"] == {"health_score": 0.94, "alerts": [1, 2]}
    assert runner.executor.collect_outputs(runner.output) == result["scraps"]


def test_an_interrupt_reaches_a_top_level_await(runner: Runner) -> None:
    result = runner.run("import asyncio\nawait asyncio.sleep(600)", cell_timeout=1, grace_seconds=30)
    assert result["state"] == "timed_out"
    assert "killed" not in result["failed_cell"]["evalue"]
    assert result["duration_seconds"] < 25


def test_a_kernel_of_ours_that_is_killed_has_died(runner: Runner, machine: Machine) -> None:
    # A sudden end loses what ZeroMQ hasn't sent yet, so the words get a moment.
    death = "import os, signal, time\nprint('last words', flush=True)\ntime.sleep(0.5)\nos.kill(os.getpid(), signal.SIGKILL)"
    result = runner.run("1", death, "2")
    assert result["state"] == "kernel_died"
    assert "SIGKILL" in result["failed_cell"]["evalue"]
    assert runner.states == ["succeeded", "kernel_died", "not_run"]
    assert runner.text(1).startswith("last words\n")
    machine.wait_until_clean()


def test_a_cell_of_ours_that_ignores_interrupts_is_killed(runner: Runner, machine: Machine) -> None:
    stubborn = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(0.05)"
    result = runner.run(stubborn, cell_timeout=1, grace_seconds=0.5)
    assert result["state"] == "timed_out"
    assert "killed" in result["failed_cell"]["evalue"]
    machine.wait_until_clean()


# parameters


def test_parameters_keep_their_types(runner: Runner) -> None:
    import datetime

    declared = "since: date = None\npoints: tuple[int, ...] = ()\nlabels: set[str] = set()\nlimit: float = 1.0"
    result = runner.run(
        "from datetime import date",
        code(declared, "parameters"),
        "print(type(since).__name__, points, labels, repr(limit))",
        parameters={"since": datetime.date(2026, 1, 2), "points": (1, 2), "labels": {"a"}, "limit": 2},
    )
    assert result["status"] == "success", result
    assert runner.text(3) == "date (1, 2) {'a'} 2.0\n"


def test_parameters_come_from_a_yaml_file_too(runner: Runner) -> None:
    path = runner.folder / "parameters.yaml"
    path.write_text("days: 30\n")
    runner.run(code("days: int = 7", "parameters"), "print(days)", parameters=path)
    assert runner.text(2) == "30\n"


def test_a_secret_is_nowhere_but_in_the_kernel(
    runner: Runner, machine: Machine, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    (machine.workspace / "greeting.txt").write_text("hello")
    result = runner.run(
        code('token: "Secret" = ""\ndays = 7', "parameters"),
        "print(len(token), token)\ntoken",
        "from IPython.display import HTML\nHTML(f'<a href=\"?t={token}\">x</a>')",
        "hermes.terminal(f'echo {token}')",
        f"x = '{SECRET}'  # written into the notebook by its author\nprint(x == token)",
        "raise ValueError(token)",
        parameters={"token": SECRET, "days": 8},
        log_output=True,
        policy_rules='version = 1\n[rules]\nallow = ["terminal"]',
    )
    assert runner.text(2).startswith(f"{len(SECRET)} [secret token]")
    assert runner.text(5) == "True\n", "what runs is what was written"
    assert result["failed_cell"]["evalue"] == "[secret token]"
    everything = {
        "notebook": runner.output.read_text(),
        "result": json.dumps(result),
        "audit": audit(machine),
        "log": caplog.text,
        "terminal": "".join(capfd.readouterr()),
    }
    assert [name for name, text in everything.items() if SECRET in text] == []
    assert runner.check().metadata.papermill.parameters == {"days": 8}
    assert "secret" in runner.check().cells[1].source, "a reader sees that there was one"


def test_a_secret_may_be_needed_by_the_very_first_cell(runner: Runner) -> None:
    result = runner.run(
        "print(len(token))", parameters={"token": "x"}, metadata={"hermes": {"secret_parameters": ["token"]}}
    )
    assert result["status"] == "success", result


def test_the_kernel_runs_in_the_folder_it_is_given(runner: Runner, tmp_path: Path) -> None:
    runner.run("import os; print(os.getcwd())", cwd=tmp_path)
    assert runner.text(0) == f"{tmp_path}\n"
