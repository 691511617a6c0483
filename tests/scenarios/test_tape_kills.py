"""Whatever is killed, and whenever: the run can be gone on with, and each side effect happened once or is said to be unknown.

`HERMES_TEST_KILLS=50` tries so many moments; by default it is a handful.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, save
from waiting import until

from host_bridge.executor.earlier import describe_unknown, unknown_calls
from host_bridge.rundirs.records import living_records
from host_bridge.runs import index
from host_bridge.tape.reader import TapeReader

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("HERMES_TEST_KILLS", "3"))
CALLS, CELLS = 30, 6
RULES = '[rules]\nallow = [{ rule = "terminal", allow_after_untrusted = true }]\n'
VICTIMS = ("kernel", "bridge", "executor")
WAIT_SECONDS = 60.0
PROGRAM = """
    import sys
    from host_bridge.executor import NotebookExecutor
    NotebookExecutor().execute(sys.argv[1], sys.argv[2], policy_rules=sys.argv[3])
"""


def cells() -> list[str]:
    """Thirty calls, each of which adds its number to a file."""
    each = CALLS // CELLS
    return [
        f"for n in range({cell * each}, {(cell + 1) * each}):\n    hermes.terminal(f'echo {{n}} >> log').check()"
        for cell in range(CELLS)
    ]


def done(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def kill_one(machine: Machine, executor: subprocess.Popen[bytes], chance: random.Random, victim: str) -> None:
    """Wait for a number of calls, and a little more, and kill."""
    log = machine.workspace / "log"
    count = chance.randrange(CALLS)
    until(lambda: len(done(log)) >= count or executor.poll() is not None, WAIT_SECONDS)
    time.sleep(chance.uniform(0, 0.03))  # the moment is what this is about
    record = next((record for _, record in living_records() if record.host.pid == executor.pid), None)
    process = {
        "executor": executor.pid,
        "kernel": record.kernel.pid if record and record.kernel else None,
        "bridge": record.bridge.pid if record and record.bridge else None,
    }[victim]
    if process is not None and executor.poll() is None:
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_run_killed_at_any_moment_goes_on_and_does_everything_once(machine: Machine, moment: int) -> None:
    chance, victim = random.Random(moment), VICTIMS[moment % len(VICTIMS)]
    log = machine.workspace / "log"
    notebook = save(machine.workspace / "in.ipynb", *cells())
    output = machine.workspace / "out.ipynb"
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(notebook), str(output), RULES]
    with subprocess.Popen(command, cwd=machine.workspace) as executor:
        kill_one(machine, executor, chance, victim)
        executor.wait(WAIT_SECONDS)
    runner = Runner(machine.workspace, "hermes")
    entry = index.find("last")
    if output.exists():
        check_truth(runner, log, entry.shown_state)
    if entry.shown_state == "succeeded":
        assert sorted(done(log)) == list(range(CALLS))
        return
    finish(runner, notebook, log, entry.run_id)
    assert sorted(done(log)) == list(range(CALLS))
    assert runner.run_metadata["status"] == "succeeded"
    assert set(runner.states) == {"succeeded"}


def check_truth(runner: Runner, log: Path, state: str) -> None:
    """What is saved is a valid notebook, and no cell is said to have succeeded whose calls weren't all made."""
    each = CALLS // CELLS
    states = runner.states
    made = set(done(log))
    for cell, said in enumerate(states):
        if said == "succeeded":
            assert set(range(cell * each, (cell + 1) * each)) <= made
    if state != "crashed":
        assert runner.run_metadata["status"] == state


def finish(runner: Runner, notebook: Path, log: Path, run_id: str) -> None:
    """Go on with a run, as a person would who looks at the log when a call is unknown."""
    for _ in range(CALLS):
        result = runner.executor.execute(notebook, runner.output, policy_rules=RULES, resume=run_id)
        if result["status"] == "success":
            return
        with TapeReader(index.find(result["run_id"]).tape) as tape:
            unknown = unknown_calls(tape.calls())
        assert unknown, result["error"] or result["failed_cell"]
        assert all(describe_unknown(call) in result["warnings"] for call in unknown)
        (call,) = unknown
        number = int(call.row.arguments.partition("echo ")[2].partition(" ")[0])
        answer = "skip" if number in done(log) else "redo"
        resumed = runner.executor.execute(
            notebook, runner.output, policy_rules=RULES, resume=result["run_id"], on_unknown=answer
        )
        assert resumed["status"] == "success", resumed["failed_cell"]
        return
