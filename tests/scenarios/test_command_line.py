"""The command line as a user has it: processes, kernels, signals, a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.cli import main

PROGRAM = str(Path(sys.executable).parent / "hermes-runtime")
SECONDS = 90.0


def write(path: Path, *sources: str, parameters: str = "") -> Path:
    cells = [new_code_cell(source) for source in sources]
    if parameters:
        cells.insert(0, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "hermes", "display_name": "Hermes"}})
    nbformat.write(notebook, path)
    return path


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **options,
    )


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported it all: for commands that start nothing and only say something."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize(
    ("source", "options", "code", "state"),
    [
        ("hermes.glue('answer', 42)", (), 0, "succeeded"),
        ("1 / 0", (), 1, "failed"),
        ("hermes.read_file('/etc/shadow')", (), 3, "denied"),
        ("import time; time.sleep(60)", ("--cell-timeout", "1"), 4, "timed_out"),
        ("1", ("--timeout", "0.3"), 4, "timed_out"),  # while the kernel starts
        ("import os; os._exit(7)", (), 5, "kernel_died"),
    ],
)
def test_the_exit_code_and_the_result_say_how_it_ended(
    machine: Machine, source: str, options: tuple[str, ...], code: int, state: str
) -> None:
    write(machine.workspace / "in.ipynb", source)

    done = run("run", "in.ipynb", "out.ipynb", "--json", "--no-progress", *options)

    result = json.loads(done.stdout)
    assert (done.returncode, result["state"], done.stderr) == (code, state, "")
    assert result["status"] == ("success" if code == 0 else "error")
    assert result["scraps"] == ({"answer": 42} if code == 0 else {})
    assert nbformat.read(machine.workspace / "out.ipynb", as_version=4).metadata.hermes.run.status == state
    nbformat.validate(nbformat.read(machine.workspace / "out.ipynb", as_version=4))


def test_a_person_gets_lines_and_a_summary_that_cannot_act_on_the_terminal(machine: Machine) -> None:
    write(machine.workspace / "in.ipynb", "x = 1", "raise ValueError('\\x1b[2J' + 'why')")

    done = run("run", "in.ipynb", "out.ipynb")

    assert [line.split("s  ")[1] for line in done.stderr.splitlines()] == [
        "x = 1",
        "raise ValueError('\\x1b[2J' + 'why')  failed",
    ]
    assert done.stdout.startswith("failed in ")
    assert "ValueError: \\u{1b}[2Jwhy" in done.stdout
    assert "saved out.ipynb" in done.stdout
    assert "not confined" not in done.stdout


def test_a_run_warns_that_its_kernel_was_not_confined(machine: Machine) -> None:
    machine.configure("[sandbox]\nbackend = 'none'\n")
    write(machine.workspace / "in.ipynb", "1")

    done = run("run", "in.ipynb", "out.ipynb")

    assert done.returncode == 0
    assert "warning: the kernel was not confined" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_run_and_what_was_done_is_saved(machine: Machine, number: int, code: int) -> None:
    os.mkfifo(machine.workspace / "begun")
    write(machine.workspace / "in.ipynb", "1", "import time; open('begun', 'w').close(); time.sleep(60)", "3")
    process = subprocess.Popen(
        [PROGRAM, "run", "in.ipynb", "out.ipynb", "--json", "--no-progress"], stdout=subprocess.PIPE, text=True
    )
    (machine.workspace / "begun").read_text()  # returns when the second cell has begun

    process.send_signal(number)
    out, _ = process.communicate(timeout=SECONDS)

    assert (process.returncode, json.loads(out)["state"]) == (code, "cancelled")
    saved = nbformat.read(machine.workspace / "out.ipynb", as_version=4)
    assert [cell.metadata.hermes.state for cell in saved.cells] == ["succeeded", "cancelled", "not_run"]
    machine.wait_until_clean()


def test_a_check_that_is_ended_says_so_and_leaves_nothing(machine: Machine) -> None:
    os.mkfifo(machine.workspace / "begun")
    write(machine.workspace / "in.ipynb", "1", "import time; open('begun', 'w').close(); time.sleep(60)")
    process = subprocess.Popen(
        [PROGRAM, "validate", "--nbval", "lax", "in.ipynb", "--junit", "junit.xml"], stderr=subprocess.PIPE, text=True
    )
    (machine.workspace / "begun").read_text()  # returns when the second cell has begun

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)

    assert process.returncode == 143
    assert err == (
        "hermes-runtime: cancelled: the executor got SIGTERM; the notebook was not checked to its end, and nothing was "
        "written\n"
    )
    assert {path.name for path in machine.workspace.iterdir()} == {"begun", "in.ipynb"}
    assert list(machine.temporary.iterdir()) == []
    machine.wait_until_clean()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere.ipynb", "out.ipynb"], 2, "nowhere.ipynb"),
        (["in.ipynb"], 2, "Missing argument 'OUTPUT'"),
        (["in.ipynb", "out.ipynb", "-p", "dayz", "1"], 2, "did you mean 'days'?"),
        (["in.ipynb", "out.ipynb", "-p", "days", "soon"], 2, "'days' takes int"),
        (["in.ipynb", "out.ipynb", "--policy", "nowhere.toml"], 2, "no such policy file"),
        (["in.ipynb", "out.ipynb", "--allow", "read_file(("], 2, "is no rule"),
        (["in.ipynb", "out.ipynb", "--allow", "termnal(ls)"], 2, "there is no tool 'termnal' (did you mean terminal?)"),
        (["in.ipynb", "out.ipynb", "--profile", "fulll"], 2, "did you mean full?"),
        (["in.ipynb", "out.ipynb", "--cwd", "nowhere"], 2, "nowhere"),
        (["in.ipynb", "in.ipynb/runs/out.ipynb"], 2, "in.ipynb' is not a folder; choose another output"),
        (["in.ipynb", "out.ipynb", "--timeout", "nan"], 2, "nan is no number of seconds"),
        (["in.ipynb", "out.ipynb", "--cell-timeout", "inf"], 2, "inf is no number of seconds"),
        (["in.ipynb", "out.ipynb", "-k", "nowhere"], 2, "there is no kernel 'nowhere' (installed: hermes, "),
    ],
)
def test_bad_input_is_told_in_a_line_and_nothing_runs(
    machine: Machine, arguments: list[str], code: int, told: str
) -> None:
    write(machine.workspace / "in.ipynb", "open('ran', 'w')", parameters="days: int = 7")

    done = ask("run", *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (machine.workspace / "ran").exists()
    assert json.loads(ask("runs", "list", "--json").stdout) == []  # nor is there a run that came to nothing


def test_a_run_that_could_not_be_saved_does_not_say_it_was(machine: Machine) -> None:
    write(machine.workspace / "in.ipynb", "print('done')")

    done = run("run", "in.ipynb", "/dev/full")

    assert done.returncode == 1
    assert done.stdout.count("No space left on device") == 1
    assert done.stdout.splitlines()[-1] == "NOT SAVED; this run's end is not in /dev/full"


def test_the_notebook_can_go_to_standard_output_and_the_summary_then_does_not(machine: Machine) -> None:
    write(machine.workspace / "in.ipynb", "print('hello')")

    done = run("run", "in.ipynb", "-", "--no-progress")
    both = ask("run", "in.ipynb", "-", "--json")

    assert (done.returncode, done.stderr.startswith("succeeded in ")) == (0, True)
    assert nbformat.reads(done.stdout, as_version=4).cells[0].outputs[0].text == "hello\n"
    assert (both.returncode, json.loads(both.stdout)["error"]["type"]) == (2, "UsageError")


def test_a_secret_is_in_no_output_log_or_process_list(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "open-sesame-4711")
    write(
        machine.workspace / "in.ipynb",
        "print(token)",
        "hermes.terminal('echo ' + token)",
        "hermes.glue('length', len(token))",
        parameters='token: "Secret" = ""',
    )

    done = run("run", "in.ipynb", "out.ipynb", "--secret", "token", "THE_TOKEN", "--json", "--log-output")

    assert json.loads(done.stdout)["scraps"] == {"length": 16}
    assert "open-sesame-4711" not in done.stdout + done.stderr
    assert "open-sesame-4711" not in (machine.workspace / "out.ipynb").read_text()
    assert all("open-sesame-4711" not in log.read_text() for log in machine.audit.iterdir())


def test_without_a_terminal_ask_is_a_denial_that_names_the_rule(machine: Machine) -> None:
    (machine.workspace / "rules.toml").write_text('version = 1\n[rules]\nask = ["terminal(touch *)"]\n')
    write(machine.workspace / "in.ipynb", "hermes.terminal('touch made').check()")

    done = run("run", "in.ipynb", "out.ipynb", "--policy", "rules.toml")

    assert done.returncode == 3
    assert "terminal(touch *)" in done.stdout
    assert "[rule: run:rules.ask[0]]" in done.stdout
    assert "or with --park" in done.stdout
    assert not (machine.workspace / "made").exists()


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 3), ("\x03", 130)])
def test_at_a_terminal_a_person_is_asked(machine: Machine, typed: str, code: int) -> None:
    (machine.workspace / "rules.toml").write_text('version = 1\n[rules]\nask = ["terminal(touch *)"]\n')
    write(machine.workspace / "in.ipynb", "hermes.terminal('touch made').check()")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", PROGRAM, "run", "in.ipynb", "out.ipynb", "--policy", "rules.toml"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = b""
    while b"no > " not in seen:
        seen += os.read(ours, 4096)

    os.write(ours, typed.encode())
    out, _ = process.communicate(timeout=SECONDS)
    os.close(ours)

    assert (process.returncode, (machine.workspace / "made").exists()) == (code, code == 0), out
    assert b"touch made" in seen
    assert b"run:rules.ask[0]" in seen


def test_scraps_are_collected_from_a_notebook_and_a_folder(machine: Machine) -> None:
    write(machine.workspace / "in.ipynb", "hermes.glue('number', 1)")
    (machine.workspace / "runs").mkdir()
    assert run("run", "in.ipynb", "runs/1.ipynb").returncode == 0
    shutil.copy("runs/1.ipynb", "runs/2.ipynb")

    assert json.loads(ask("collect", "runs/1.ipynb", "--json").stdout) == {"number": 1}
    assert json.loads(ask("collect", "runs", "--json").stdout) == {"1.ipynb": {"number": 1}, "2.ipynb": {"number": 1}}
    assert ask("collect", "nowhere.ipynb").returncode == 2


def test_parameters_only_prepared_are_written_and_not_run(machine: Machine) -> None:
    write(machine.workspace / "in.ipynb", "open('ran', 'w')", parameters="days: int = 7  # how far back")

    helped = ask("run", "in.ipynb", "--help-notebook")
    inspected = json.loads(ask("inspect", "in.ipynb", "--json").stdout)
    done = ask("run", "in.ipynb", "out.ipynb", "-p", "days", "3", "--prepare-only")

    assert helped.stdout.split() == ["days", "int", "7", "how", "far", "back"]
    assert inspected["days"]["type"] == "int"
    assert (done.returncode, done.stdout) == (0, "prepared, not run\nsaved out.ipynb\n")
    assert "days = 3" in (machine.workspace / "out.ipynb").read_text()
    assert not (machine.workspace / "ran").exists()


def test_notebooks_are_compared_and_validated(machine: Machine) -> None:
    write(machine.workspace / "a.ipynb", "x = 1")
    notebook = nbformat.read(machine.workspace / "a.ipynb", as_version=4)
    notebook.cells[0].source = "x = 2"
    nbformat.write(notebook, machine.workspace / "b.ipynb")
    (machine.workspace / "broken.ipynb").write_text("{}")

    same, different = ask("diff", "a.ipynb", "a.ipynb"), ask("diff", "a.ipynb", "b.ipynb", "--json")

    assert (same.returncode, same.stdout) == (0, "no difference\n")
    assert (different.returncode, json.loads(different.stdout)["cells_changed"]) == (1, {"0": ["source"]})
    assert ask("validate", "a.ipynb").returncode == 0
    assert ask("validate", "broken.ipynb").returncode == 1


def test_the_audit_log_tells_what_was_done_and_notices_a_change(machine: Machine) -> None:
    write(machine.workspace / "in.ipynb", "hermes.terminal('echo hi')", "hermes.read_file('/etc/shadow')")
    run("run", "in.ipynb", "out.ipynb")

    listed = json.loads(ask("audit", "list", "--json").stdout)
    shown, denied = ask("audit", "show"), ask("audit", "show", "--denied")
    assert [(one["calls"], one["denied"]) for one in listed] == [(2, 1)]
    assert "echo hi" in shown.stdout
    assert "echo hi" not in denied.stdout
    assert "/etc/shadow" in denied.stdout
    assert ask("audit", "verify").returncode == 0
    assert "its head was kept up to record" in ask("audit", "verify").stdout
    assert ask("audit", "verify", "--all").returncode == 0

    run_id = listed[0]["run_id"]
    chosen = json.loads(ask("audit", "show", "--run", run_id, "--denied", "--json").stdout)
    assert [(one["type"], one["fields"]["tool"]) for one in chosen] == [("call_decided", "read_file")]
    assert "echo hi" in ask("audit", "show", "--since", "1h", "--tool", "terminal").stdout
    assert "/etc/shadow" not in ask("audit", "show", "--since", "1h", "--tool", "terminal").stdout
    assert "echo hi" not in ask("audit", "show", "--since", "2999-01-01").stdout
    assert "echo hi" not in ask("audit", "show", "--run", "another").stdout
    assert ask("audit", "show", "--since", "yesterday").returncode == 2

    log = Path(listed[0]["path"])
    whole = log.read_text()
    log.write_text("".join(whole.splitlines(keepends=True)[:-2]))
    assert "the end is missing: at least 2 records" in ask("audit", "verify").stdout
    log.write_text(whole)
    log.write_text(log.read_text().replace("echo hi", "echo ho"))
    assert ask("audit", "verify", str(log)).returncode == 1
    assert ask("audit", "show", "no-such-session").returncode == 2
    assert "kept: it is not as it was written" in ask("audit", "prune", "--older-than", "0s").stdout
    log.unlink()
    assert "MISSING" in ask("audit", "verify", "--all").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["terminal", "echo hi"], 0, "ALLOW"),
        (["terminal", "rm -rf x"], 3, "hermes-runtime policy allow 'terminal(rm -rf x)'"),
        (["terminal", "rm -rf x", "--allow", "terminal(rm -rf x)"], 0, "ALLOW"),
        (["terminal", "echo hi", "--deny", "terminal(echo *)"], 3, "DENY"),
        (["read_file", "/etc/shadow"], 3, "DENY"),
        (["read_file", "/etc/os-release", "--profile", "read-only"], 3, "DENY"),
        (["web_extract", "https://docs.python.org/3/"], 3, "ASK"),
        (["write_file", ".bashrc"], 3, "never allowed"),
        (["patch", "a.txt", "old_string=a", "new_string=b"], 0, "ALLOW"),
        (["no_such_tool"], 1, "there is no tool"),
        (["terminal"], 2, "needs a SUBJECT"),
    ],
)
def test_the_policy_explains_what_would_be_decided(
    machine: Machine, arguments: list[str], code: int, told: str
) -> None:
    (machine.workspace / "a.txt").write_text("a\n")

    done = ask("policy", "explain", *arguments)

    assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_policy_files_are_checked(machine: Machine) -> None:
    (machine.workspace / "good.toml").write_text('version = 1\n[rules]\nallow = ["terminal(make test)"]\n')
    (machine.workspace / "bad.toml").write_text('version = 1\n[rules]\nalow = ["terminal(make test)"]\n')

    good, bad = ask("policy", "check", "good.toml"), ask("policy", "check", "bad.toml", "--json")

    assert (good.returncode, good.stdout) == (0, "good.toml: 1 rule\n")
    assert (bad.returncode, json.loads(bad.stdout)["error"]["key"]) == (2, "rules.alow")


def test_a_supervisor_is_served_seen_and_ended(machine: Machine) -> None:
    socket = machine.runtime / "b" / "s"
    assert ask("bridge", "status", "--socket", str(socket)).returncode == 1
    process = subprocess.Popen([PROGRAM, "bridge", "serve", "--socket", str(socket)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "listening" in process.stderr.readline()

    status = ask("bridge", "status", "--socket", str(socket), "--json")
    assert json.loads(status.stdout) == {"socket": str(socket), "running": True, "pid": process.pid}

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert ask("bridge", "status", "--socket", str(socket)).returncode == 1


def test_a_ticket_opens_a_session_for_a_kernel_elsewhere(machine: Machine) -> None:
    ticket = machine.workspace / "ticket.json"
    process = subprocess.Popen(
        [PROGRAM, "bridge", "ticket", "--output", str(ticket)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "listens at tcp://127.0.0.1:" in process.stderr.readline()
    assert ticket.stat().st_mode & 0o777 == 0o600

    code = "import hermes_runtime as hermes; print(hermes.terminal('echo from elsewhere', stream=False).stdout)"
    environment = {**os.environ, "HERMES_RUNTIME_SESSION": ticket.read_text()}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)

    assert answer.stdout.strip() == "from elsewhere"
    assert process.returncode == 0
    machine.wait_until_clean()


def test_a_kernel_is_installed_listed_and_removed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = machine.root / "prefix"
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share/jupyter"))

    installed = run("kernel", "install", "--prefix", str(prefix), "--name", "hermes-2", "--json")
    listed = json.loads(ask("kernel", "list", "--json").stdout)
    removed = ask("kernel", "remove", "--name", "hermes-2")

    assert json.loads(installed.stdout)["path"] == str(prefix / "share/jupyter/kernels/hermes-2")
    assert "hermes-2" in listed
    assert removed.returncode == 0
    assert "hermes-2" not in json.loads(ask("kernel", "list", "--json").stdout)
    assert ask("kernel", "remove", "--name", "hermes-2").returncode == 2


def test_the_doctor_makes_a_real_round_trip(machine: Machine) -> None:
    done = run("doctor", "--json")

    report = json.loads(done.stdout)
    found = {finding["subject"]: finding for finding in report["findings"]}
    assert (done.returncode, report["works"]) == (0, True), found
    assert found["round trip"]["facts"]["audit_records"] > 100
    assert found["round trip"]["facts"]["confinement"] == found["confinement"]["facts"]["backend"]
    machine.wait_until_clean()


def test_the_doctor_fails_where_the_main_job_would(machine: Machine) -> None:
    machine.configure("[session]\nprofile = 'fulll'\n")

    done = run("doctor")

    assert done.returncode == 1
    assert "to mend before notebooks run here" in done.stdout
    assert any(line.startswith("FAIL  policy") for line in done.stdout.splitlines())
