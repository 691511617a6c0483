"""What a notebook says after a run is what happened in it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, code, save

from host_bridge.errors import KernelChoiceError, KernelStartError, NotebookError, OutputError
from host_bridge.executor import NotebookExecutor
from host_bridge.executor.parameters import ParameterError


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "python3")


def test_a_notebook_that_succeeds(runner: Runner) -> None:
    result = runner.run("#md Title", "x = 20", "print(x + 1)\nx * 2", "")
    assert result["status"] == "success"
    assert result["state"] == "succeeded"
    assert result["failed_cell"] is None
    assert result["cells_executed"] == 2
    assert result["scraps"] == {}
    assert 0 < result["duration_seconds"] < 60
    assert runner.states == [None, "succeeded", "succeeded", "succeeded"]
    assert runner.papermill == ["completed"] * 4
    assert runner.text(2) == "21\n40"
    assert [cell.get("execution_count") for cell in runner.check().cells] == [None, 1, 2, None]
    run = runner.run_metadata
    assert (run["status"], run["id"], run["kernel"]) == ("succeeded", result["run_id"], "python3")
    papermill = runner.check().metadata.papermill
    assert papermill.exception is None
    assert papermill.duration > 0
    assert papermill.output_path == str(runner.output)


def test_a_failing_cell_ends_the_run_and_is_reported(runner: Runner) -> None:
    result = runner.run("print('before')", "1 / 0", "print('never')", "#md end")
    failed = result["failed_cell"]
    assert result["status"] == "error"
    assert (failed["index"], failed["source"], failed["ename"]) == (1, "1 / 0", "ZeroDivisionError")
    assert failed["evalue"] == "division by zero"
    assert any("division by zero" in line for line in failed["traceback"])
    assert result["cells_executed"] == 2
    assert runner.states == ["succeeded", "failed", "not_run", None]
    assert runner.papermill == ["completed", "failed", "pending", "pending"]
    assert runner.check().metadata.papermill.exception is True
    assert runner.check().cells[failed["index"]].source == failed["source"]


def test_a_cell_tagged_raises_exception_does_not_fail_the_run(runner: Runner) -> None:
    result = runner.run(code("1 / 0", "raises-exception"), "print('went on')")
    assert result["status"] == "success"
    assert runner.text(0) == "ZeroDivisionError: division by zero"
    assert runner.states == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    "source", ["import sys; sys.exit(0)", "import sys; sys.exit()", "raise SystemExit(None)", "exit()"]
)
def test_sys_exit_0_ends_the_notebook_successfully(runner: Runner, source: str) -> None:
    result = runner.run("a = 1", source, "print('never')")
    assert result["status"] == "success"
    assert result["ended_early_at"] == 1
    assert runner.states == ["succeeded", "succeeded", "not_run"]
    assert runner.papermill == ["completed", "completed", "pending"]


def test_sys_exit_with_a_code_fails_the_run(runner: Runner) -> None:
    result = runner.run("import sys; sys.exit(3)", "1")
    assert result["failed_cell"]["ename"] == "SystemExit"
    assert runner.states == ["failed", "not_run"]


def test_with_errors_allowed_the_first_failure_is_the_one_reported(runner: Runner) -> None:
    result = runner.run("raise ValueError('first')", "raise KeyError('second')", "print('end')", allow_errors=True)
    assert result["status"] == "error"
    assert result["failed_cell"]["evalue"] == "first"
    assert runner.states == ["failed", "failed", "succeeded"]


def test_a_skipped_cell_is_not_said_to_have_run(runner: Runner) -> None:
    result = runner.run(code("raise SystemExit(1)", "skip-execution"), "1")
    assert result["status"] == "success"
    assert result["cells_executed"] == 1
    assert runner.states == ["not_run", "succeeded"]
    assert runner.papermill == ["pending", "completed"]


def test_input_fails_at_once(runner: Runner) -> None:
    result = runner.run("input('name? ')", timeout=30)
    assert result["failed_cell"]["ename"] == "StdinNotImplementedError"


# death


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_dead_kernel_is_noticed_at_once_and_nothing_is_said_to_have_completed(runner: Runner, number: int) -> None:
    result = runner.run(
        "a = 1",
        f"import os, time\nprint('last words', flush=True)\ntime.sleep(0.3)\nos.kill(os.getpid(), {int(number)})",
        "b = 1",
    )
    assert result["state"] == "kernel_died"
    assert result["failed_cell"]["ename"] == "DeadKernelError"
    assert signal.Signals(number).name in result["failed_cell"]["evalue"]
    assert runner.states == ["succeeded", "kernel_died", "not_run"]
    assert runner.papermill == ["completed", "failed", "pending"]
    assert runner.text(1).startswith("last words\nDeadKernelError")
    assert result["duration_seconds"] < 20


def test_a_kernel_that_exits_by_itself_has_died(runner: Runner) -> None:
    result = runner.run("import os; os._exit(7)")
    assert result["state"] == "kernel_died"
    assert "code 7" in result["failed_cell"]["evalue"]


# time


def test_a_cell_over_its_time_is_interrupted_and_its_outputs_are_kept(runner: Runner) -> None:
    result = runner.run(
        "1", "import time\nprint('begun', flush=True)\ntime.sleep(600)", "2", cell_timeout=1, grace_seconds=20
    )
    assert result["state"] == "timed_out"
    failed = result["failed_cell"]
    assert failed["ename"] == "CellTimeoutError"
    assert "within its 1 s" in failed["evalue"]
    assert failed["hang"] == "busy"
    assert any("time.sleep" in line for line in failed["traceback"]), "where it hung is known"
    assert runner.text(1).startswith("begun\n")
    assert runner.states == ["succeeded", "timed_out", "not_run"]
    assert runner.papermill == ["completed", "failed", "pending"]


def test_the_whole_run_has_its_time(runner: Runner) -> None:
    started = time.monotonic()
    result = runner.run(*["import time; time.sleep(1.5)"] * 20, timeout=6, cell_timeout=5)
    assert result["state"] == "timed_out"
    assert time.monotonic() - started < 30
    assert runner.states[-1] == "not_run"
    assert runner.run_metadata["status"] == "timed_out"


def test_a_cell_that_ignores_interrupts_is_killed(runner: Runner) -> None:
    result = runner.run(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(0.05)",
        cell_timeout=1,
        grace_seconds=0.5,
    )
    assert result["state"] == "timed_out"
    assert "killed" in result["failed_cell"]["evalue"]
    assert result["duration_seconds"] < 20


def test_a_frozen_kernel_is_told_from_a_busy_one(runner: Runner) -> None:
    result = runner.run("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", cell_timeout=1, grace_seconds=60)
    assert result["failed_cell"]["hang"] == "frozen"
    assert result["duration_seconds"] < 30, "nothing frozen ends in a grace period"


def test_a_cell_held_in_native_code_is_told_from_a_busy_one(runner: Runner) -> None:
    # PyDLL calls keep the interpreter lock, as a misbehaving extension would.
    source = "import ctypes\nctypes.PyDLL(None).sleep(600)"
    result = runner.run(source, cell_timeout=1, grace_seconds=1)
    assert result["failed_cell"]["hang"] == "native"
    assert result["state"] == "timed_out"


def test_a_chatty_cell_is_not_taken_for_a_silent_one(runner: Runner) -> None:
    source = "from IPython.display import display\nfor i in range(3000):\n    display({'text/plain': str(i)}, raw=True)"
    result = runner.run(source, timeout=90)
    assert result["status"] == "success"
    assert len(runner.check().cells[0].outputs) == 3000


def test_a_run_whose_time_is_over_before_the_kernel_is_there_has_timed_out(runner: Runner) -> None:
    result = runner.run("1", timeout=0.05)
    assert result["state"] == "timed_out"
    assert runner.states == ["not_run"]


# cancelling


def test_a_run_that_is_cancelled_from_another_thread_returns_what_it_has(runner: Runner) -> None:
    def cancel(progress: object) -> None:
        if getattr(progress, "index", None) == 1:
            threading.Timer(0.5, runner.executor.cancel).start()

    source = "import time\nprint('begun', flush=True)\ntime.sleep(600)"
    result = runner.run("1", source, "2", progress=cancel)
    assert result["state"] == "cancelled"
    assert result["failed_cell"]["ename"] == "RunCancelledError"
    assert runner.text(1).startswith("begun\n")
    assert runner.states == ["succeeded", "cancelled", "not_run"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_executor_cancels_and_keeps_outputs(runner: Runner, number: int) -> None:
    def send(progress: object) -> None:
        if getattr(progress, "state", None) == "running":
            threading.Timer(1.0, os.kill, (os.getpid(), number)).start()

    result = runner.run("import time\nprint('begun', flush=True)\ntime.sleep(600)", progress=send)
    assert (result["state"], result["signal"]) == ("cancelled", number)
    assert runner.text(0).startswith("begun\n")
    assert runner.papermill == ["failed"]


# saving


def test_a_silent_long_cell_is_saved_as_running_and_a_chatty_one_with_what_it_printed(runner: Runner) -> None:
    seen: list[str] = []
    go_on = runner.folder / "go on"

    def watch() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and "printed" not in seen:
            time.sleep(0.02)
            if runner.output.exists() and runner.states:
                if "running" in runner.states and "running" not in seen:
                    seen.append("running")
                if "half" in runner.text(0):
                    seen.append("printed")
        go_on.touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    source = (
        "import os, time\ntime.sleep(1)\nprint('half', flush=True)\n"
        f"while not os.path.exists({str(go_on)!r}):\n    time.sleep(0.05)"
    )
    result = runner.run(source)
    watcher.join()
    assert seen == ["running", "printed"]
    assert result["status"] == "success"


# before it begins


def test_bad_input_is_refused_before_anything_is_written(runner: Runner, machine: Machine) -> None:
    executor, folder = NotebookExecutor(), runner.folder
    good = save(folder / "good.ipynb", code("days: int = 7", "parameters"))
    (folder / "bad.ipynb").write_text("{}")
    with pytest.raises(NotebookError):
        executor.execute(folder / "missing.ipynb", runner.output)
    with pytest.raises(NotebookError):
        executor.execute(folder / "bad.ipynb", runner.output)
    with pytest.raises(OutputError):
        executor.execute(good, good / "out.ipynb")  # a file is no folder
    with pytest.raises(KernelChoiceError, match="no-such-kernel"):
        executor.execute(good, runner.output, kernel_name="no-such-kernel")
    with pytest.raises(ParameterError, match="did you mean"):
        executor.execute(good, runner.output, {"day": 3}, kernel_name="python3")
    with pytest.raises(ParameterError, match="int"):
        executor.execute(good, runner.output, {"days": "three"}, kernel_name="python3")
    with pytest.raises(ParameterError):
        executor.execute(good, runner.output, {"x=1; import os; y": 2}, allow_unknown_parameters=True)
    with pytest.raises(TypeError, match="no_such_option"):
        executor.execute(good, runner.output, no_such_option=1)
    with pytest.raises(ValueError, match="timeout"):
        executor.execute(good, runner.output, timeout=0)
    for endless in ({"timeout": float("nan")}, {"timeout": float("inf")}, {"cell_timeout": float("nan")}):
        with pytest.raises(ValueError, match="None"):
            executor.execute(good, runner.output, **endless)
    assert not runner.output.exists()
    machine.wait_until_clean()


def test_a_kernel_that_does_not_come_up_is_said(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels" / "broken"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(
        '{"argv": ["python", "-c", "raise SystemExit(9)"], "display_name": "broken", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(KernelStartError, match="code 9"):
        runner.run("1", kernel_name="broken")
    assert runner.states == ["not_run"]
    assert runner.run_metadata["status"] == "failed"


def test_nothing_is_left_of_a_run(runner: Runner, machine: Machine) -> None:
    runner.run("import subprocess; subprocess.Popen(['sleep', '600'])", "1 / 0")
    machine.wait_until_clean()


def test_runs_in_threads_do_not_disturb_one_another(runner: Runner) -> None:
    folder = Path.cwd()
    results = {}

    def work(number: int) -> None:
        path = save(runner.folder / f"in{number}.ipynb", f"print({number})")
        output = runner.folder / f"out{number}.ipynb"
        results[number] = NotebookExecutor().execute(path, output, kernel_name="python3", cwd="/")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number]["status"] for number in range(3)] == ["success"] * 3
    assert Path.cwd() == folder
