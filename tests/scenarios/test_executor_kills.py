"""Whatever is killed, and whenever: what is saved is a valid notebook that tells the truth."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, save
from waiting import until

pytestmark = pytest.mark.slow

TELL_PID = "import os\nopen('pid', 'w').write(str(os.getpid()))"
WORK = "import time\nfor i in range(20):\n    print('x' * 1000, flush=True)\n    time.sleep(0.01)"
PROGRAM = """
    import json, sys
    from host_bridge.executor import NotebookExecutor
    result = NotebookExecutor().execute(sys.argv[1], sys.argv[2], kernel_name=sys.argv[3], grace_seconds=float(sys.argv[4]))
    print(json.dumps(result))
"""
GRACE_SECONDS = 60.0  # for the cell that ignores its interrupt; no other uses it up


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "python3")


def wait_for(path: Path, seconds: float = 60) -> str:
    text: str = until(lambda: path.exists() and path.read_text(), seconds, otherwise=f"{path} did not appear")
    return text


@pytest.mark.parametrize("moment", range(10))
def test_a_kernel_killed_at_any_moment(runner: Runner, machine: Machine, moment: int) -> None:
    def kill() -> None:
        pid = int(wait_for(runner.folder / "pid"))
        time.sleep(random.Random(moment).uniform(0, 2.0))  # the moment is what this is about
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    killer = threading.Thread(target=kill)
    killer.start()
    result = runner.run(TELL_PID, *[WORK] * 8)
    killer.join()
    states = runner.states
    if result["state"] == "succeeded":
        assert set(states) == {"succeeded"}
        return
    assert result["state"] == "kernel_died"
    died = states.index("kernel_died")
    assert result["failed_cell"]["index"] == died
    assert states[:died] == ["succeeded"] * died
    assert set(states[died + 1 :]) <= {"not_run"}
    assert runner.papermill == ["completed"] * died + ["failed"] + ["pending"] * (len(states) - died - 1)
    machine.wait_until_clean()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_executor(runner: Runner) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(kernel: str = "python3") -> subprocess.Popen[str]:
        files = [str(runner.folder / "in.ipynb"), str(runner.output)]
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *files, kernel, str(GRACE_SECONDS)]
        process = subprocess.Popen(
            command, cwd=runner.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        with process:  # wait for it and close its pipes
            pass


@pytest.mark.parametrize("moment", range(6))
def test_an_executor_killed_at_any_moment_leaves_a_valid_notebook(
    runner: Runner, start_executor: Start, moment: int
) -> None:
    save(runner.folder / "in.ipynb", TELL_PID, *[WORK] * 8)
    process = start_executor()
    wait_for(runner.folder / "pid")
    time.sleep(random.Random(moment).uniform(0, 2.0))
    process.kill()
    process.communicate()
    for left in runner.folder.glob(".*.saving"):
        left.unlink()  # the next run removes it; see the test of saving
    states = runner.states
    assert "failed" not in runner.papermill
    assert runner.run_metadata["status"] in ("running", "succeeded")
    assert states == sorted(states, key=["succeeded", "running", "pending"].index), "in order, and the last one saved"


def test_a_kernel_of_ours_ends_with_a_killed_executor(runner: Runner, machine: Machine, start_executor: Start) -> None:
    save(runner.folder / "in.ipynb", TELL_PID, "import time; time.sleep(600)")
    process = start_executor("hermes")
    wait_for(runner.folder / "pid")
    process.kill()
    process.communicate()
    machine.wait_until_clean(files=False)
    assert runner.run_metadata["status"] == "running"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("kernel", ["python3", "hermes"])
def test_a_signal_cancels_keeps_what_is_there_and_ends_everything(
    runner: Runner, machine: Machine, start_executor: Start, number: int, kernel: str
) -> None:
    save(runner.folder / "in.ipynb", "1", "import time\nprint('begun', flush=True)\ntime.sleep(600)", "2")
    process = start_executor(kernel)
    until(lambda: runner.has_printed("begun\n"), 60)
    process.send_signal(number)
    result = json.loads(process.communicate(timeout=30)[0])
    assert (result["state"], result["signal"]) == ("cancelled", number)
    assert runner.states == ["succeeded", "cancelled", "not_run"]
    assert runner.text(1).startswith("begun\n")
    machine.wait_until_clean()


def test_a_second_signal_does_not_wait_for_a_stubborn_cell(
    runner: Runner, machine: Machine, start_executor: Start
) -> None:
    stubborn = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(600)"
    )
    save(runner.folder / "in.ipynb", stubborn)
    process = start_executor()
    until(lambda: runner.has_printed("begun\n"), 60)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert json.loads(process.communicate(timeout=GRACE_SECONDS / 2)[0])["state"] == "cancelled"
    machine.wait_until_clean()


def test_a_full_disk_is_no_success(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    from host_bridge.errors import OutputError
    from host_bridge.executor import saving

    def full(self: object, pieces: object, *, last: bool) -> None:
        raise OutputError("can't save: No space left on device")

    monkeypatch.setattr(saving.LocalFile, "write", full)
    save(runner.folder / "in.ipynb", "1")
    result = runner.executor.execute(runner.folder / "in.ipynb", runner.output, kernel_name="python3")
    assert result["status"] == "error"
    assert "No space left" in result["error"]
    assert result["saved"] is False
    assert result["cells_executed"] == 1


def test_a_full_disk_does_not_hide_what_failed_before(runner: Runner) -> None:
    save(runner.folder / "in.ipynb", "1 / 0")
    result = runner.executor.execute(runner.folder / "in.ipynb", "/dev/full", kernel_name="python3")
    assert (result["state"], result["failed_cell"]["ename"], result["saved"]) == ("failed", "ZeroDivisionError", False)
    assert any("No space left" in warning for warning in result["warnings"])
