"""Runs that wait for a person who is elsewhere: answered from another process, and after their own was killed."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from kernel_machine import Machine
from notebook_runs import save

from host_bridge.control import Answer
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.question import Question

PROGRAM = str(Path(sys.executable).with_name("hermes-runtime"))
SECONDS = 60
RULES = 'version = 1\n[rules]\nallow = ["terminal(mkdir *)"]\nask = ["terminal(touch *)"]\n'
ONCE = "import pathlib; log = pathlib.Path('log'); log.write_text((log.read_text() if log.exists() else '') + 'first ')"
TWICE_FAILS = "hermes.terminal('mkdir one').check()"
CALL = "hermes.terminal('touch made').check(); log.write_text(log.read_text() + 'made ')"


def start(machine: Machine, *options: str, cells: tuple[str, ...] = (ONCE, CALL)) -> subprocess.Popen[str]:
    """Start a run that nobody sits at, of a notebook whose second cell makes a call that has to be asked about."""
    (machine.workspace / "rules.toml").write_text(RULES)
    save(machine.workspace / "in.ipynb", *cells)
    arguments = ["run", "in.ipynb", "out.ipynb", "--policy", "rules.toml", "--no-progress", *options]
    return subprocess.Popen(
        [PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def approvals(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "approvals", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def wait_for_question(process: subprocess.Popen[str]) -> Question:
    deadline = time.monotonic() + SECONDS
    while not (found := Inbox().questions()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing was asked"
        time.sleep(0.02)
    return found[-1]


def test_a_parked_run_goes_on_when_somebody_answers_from_elsewhere(machine: Machine) -> None:
    process = start(machine, "--park", "--cell-timeout", "2", "--json")
    question = wait_for_question(process)
    listed, shown = approvals("list", "--json"), approvals("show", question.id[:5])
    # Longer than the cell may take: its time stands still while it waits.
    assert not select.select([process.stdout], [], [], 2.5)[0]

    answered = approvals("answer", question.id[:5], "yes")
    out, said = process.communicate(timeout=SECONDS)

    assert (process.returncode, json.loads(out)["state"]) == (0, "succeeded"), said
    assert (answered.returncode, answered.stdout) == (
        0,
        f"question {question.id}: answered 'once' by {os.environ.get('USER', 'root')} (command line); the run has the answer\n",
    )
    [data] = json.loads(listed.stdout)
    assert (data["id"], data["state"], data["cell_index"], data["rule_id"]) == (
        question.id,
        "pending",
        1,
        "run:rules.ask[0]",
    )
    assert "  | touch made" in shown.stdout
    assert f"approvals answer {question.id} yes|no" in said
    assert (machine.workspace / "made").exists()
    again = approvals("answer", question.id, "no")
    assert again.returncode == 1
    assert "was answered 'once' at" in again.stderr
    machine.wait_until_clean()


def test_a_run_whose_executor_was_killed_is_made_again_with_the_answer(machine: Machine) -> None:
    process = start(machine, "--park", cells=(ONCE, TWICE_FAILS, CALL))
    question = wait_for_question(process)
    process.kill()
    process.communicate(timeout=SECONDS)
    machine.wait_until_clean(files=False)
    log = machine.workspace / "log"
    assert (log.read_text(), "orphaned" in approvals("list").stdout) == ("first ", True)

    done = approvals("answer", question.id, "yes", "--json")
    later = approvals("resume", question.id)

    result = json.loads(done.stdout)
    assert (done.returncode, result["state"]) == (0, "succeeded"), done.stderr
    assert (log.read_text(), (machine.workspace / "made").exists()) == ("first first made ", True)
    assert result["tool_calls"]["by_outcome"] == {"ok": 2}
    assert "calls that were made are answered from its tape" in done.stderr
    saved = nbformat.read(machine.workspace / "out.ipynb", as_version=4)
    assert [cell.metadata.hermes.state for cell in saved.cells] == ["succeeded"] * 3
    settled = Inbox().get(question.id).outcome
    assert settled is not None
    assert settled.taken_by == result["run_id"] != question.asked.run_id
    assert (later.returncode, "is not orphaned" in later.stderr) == (1, True)
    assert len(Inbox().questions()) == 1, "nothing was asked anew"


def test_a_service_that_is_restarted_leaves_its_question_and_is_taken_up_again(machine: Machine) -> None:
    process = start(machine, "--park", "--json")
    question = wait_for_question(process)

    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=SECONDS)

    assert (process.returncode, json.loads(out)["state"]) == (143, "cancelled")
    assert Inbox().standing(Inbox().get(question.id)) == "orphaned"
    assert "the question stays" in said
    machine.wait_until_clean()
    again = approvals("answer", question.id, "yes")
    assert again.returncode == 0, again.stderr
    assert (machine.workspace / "made").exists()


@pytest.mark.parametrize("answer", ["once", "stop"])
def test_papermill_waits_too_where_that_is_configured(machine: Machine, answer: str) -> None:
    machine.configure('[approvals]\nheadless = "park"\n')
    (machine.workspace / "hermes.toml").write_text('version = 1\n[rules]\nask = ["list_files"]\n')
    save(machine.workspace / "in.ipynb", "try:\n    hermes.list_files('.')\nexcept PermissionError:\n    pass")
    process = subprocess.Popen(
        [str(Path(PROGRAM).with_name("papermill")), "--engine", "hermes", "-k", "hermes", "in.ipynb", "out.ipynb"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    question = wait_for_question(process)

    Inbox().answer(question.id, Answer(answer=answer, by="ada"))
    _, said = process.communicate(timeout=SECONDS)

    assert (process.returncode == 0) == (answer == "once"), said
    assert f"approvals answer {question.id} yes|no" in said
    assert (question.parked, question.asked.tool) == (True, "list_files")
    assert question.asked.source_line == "hermes.list_files('.')"
    status = nbformat.read(machine.workspace / "out.ipynb", as_version=4).metadata.hermes.run.status
    assert status == ("succeeded" if answer == "once" else "cancelled")


def test_a_question_at_a_terminal_can_be_answered_over_http(machine: Machine) -> None:
    (machine.workspace / "rules.toml").write_text(RULES)
    save(machine.workspace / "in.ipynb", "hermes.terminal('touch made').check()")
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
    while b"touch made" not in seen:
        seen += os.read(ours, 4096)

    question = wait_for_question(process)
    served = subprocess.Popen([PROGRAM, "approvals", "serve"], stdout=subprocess.PIPE, text=True)
    assert served.stdout is not None
    address = served.stdout.readline().strip()
    request = urllib.request.Request(
        address.replace("/api/questions", f"/api/questions/{question.id}/answer"),
        data=b'{"answer": "once"}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        answered = json.load(response)
    served.terminate()
    served.communicate(timeout=SECONDS)
    while b"no answer is needed any more" not in seen:
        seen += os.read(ours, 4096)
    process.communicate(timeout=SECONDS)
    os.close(ours)

    assert (process.returncode, answered["state"]) == (0, "answered")
    assert (machine.workspace / "made").exists()
