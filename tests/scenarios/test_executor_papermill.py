"""`papermill --engine hermes` tells the truth too, and keeps what papermill can do."""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import papermill.execute
import pytest
from kernel_machine import Machine
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from notebook_runs import Runner, code, save
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io
from waiting import until

from host_bridge.errors import HostBridgeError
from host_bridge.executor import NotebookExecutor
from host_bridge.tape.reader import TapeReader

PYTHON3 = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "python3")


def execute(runner: Runner, *cells: Any, **options: Any) -> nbformat.NotebookNode:
    path = save(runner.folder / "in.ipynb", *cells, **options.pop("metadata", PYTHON3))
    options.setdefault("kernel_name", "python3")
    return papermill.execute_notebook(path, runner.output, engine_name="hermes", progress_bar=False, **options)


def test_a_run_is_as_papermills_own_and_more(runner: Runner) -> None:
    notebook = execute(runner, code("a = 1", "parameters"), "print(a)", parameters={"a": 5})
    assert notebook.cells[2].outputs[0].text == "5\n"
    assert runner.states == ["succeeded"] * 3
    assert runner.check().metadata.papermill.parameters == {"a": 5}
    assert runner.check().metadata.papermill.input_path.endswith("in.ipynb")


def test_a_cell_tagged_raises_exception_does_not_fail_it_at_the_end(runner: Runner) -> None:
    execute(runner, code("1 / 0", "raises-exception"), "print('end')")
    assert runner.states == ["succeeded", "succeeded"]


def test_the_first_error_is_the_one_that_is_raised(runner: Runner) -> None:
    with pytest.raises(PapermillExecutionError) as caught:
        execute(
            runner,
            code("1 / 0", "raises-exception"),
            "raise ValueError('real')",
            "raise KeyError('later')",
            allow_errors=True,
        )
    assert (caught.value.ename, caught.value.cell_index) == ("ValueError", 1)
    notebook = runner.check()
    assert "exception" in notebook.cells[0].source.lower(), "papermill's note to the reader"
    assert notebook.cells[notebook.metadata.hermes.run.failed_cell].source == "raise ValueError('real')"


def test_the_notes_of_an_earlier_failure_go_when_it_is_run_again(runner: Runner) -> None:
    with pytest.raises(PapermillExecutionError):
        execute(runner, "import os\nassert os.path.exists('fixed')")
    (runner.folder / "fixed").touch()
    papermill.execute_notebook(
        runner.output, runner.output, engine_name="hermes", kernel_name="python3", progress_bar=False, cwd=runner.folder
    )
    assert runner.states == ["succeeded"]


def test_sys_exit_0_is_a_success_in_the_file_too(runner: Runner) -> None:
    execute(runner, "import sys; sys.exit(0)", "1")
    assert runner.papermill == ["completed", "pending"]


def test_a_dead_kernel_is_raised_as_nbclient_does_and_nothing_has_completed(runner: Runner) -> None:
    with pytest.raises(DeadKernelError, match="SIGKILL"):
        execute(runner, "1", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "2")
    assert runner.papermill == ["completed", "failed", "pending"]


def test_a_timeout_is_raised_as_nbclient_does_and_nothing_has_completed(runner: Runner) -> None:
    with pytest.raises(CellTimeoutError):
        execute(runner, "1", "import time; time.sleep(60)", "2", execution_timeout=1)
    assert runner.states == ["succeeded", "timed_out", "not_run"]
    assert runner.papermill == ["completed", "failed", "pending"]


def test_parameter_names_that_are_code_are_refused(runner: Runner) -> None:
    with pytest.raises(HostBridgeError, match="identifier"):
        execute(runner, "1", parameters={"x=1; open('pwned', 'w'); y": 2})
    assert not (runner.folder / "pwned").exists()


def test_parameters_keep_their_types(runner: Runner) -> None:
    given = {"points": (1, 2), "labels": {"a"}, "since": datetime.date(2026, 1, 2)}
    execute(
        runner,
        code("points = ()\nlabels = set()\nsince = None", "parameters"),
        "print(points, labels, repr(since))",
        parameters=given,
    )
    assert runner.text(2) == "(1, 2) {'a'} datetime.date(2026, 1, 2)\n"


def test_a_parameter_declared_secret_is_not_in_the_notebook(runner: Runner) -> None:
    cells = [code('token: "Secret" = ""\ndays = 7', "parameters"), "print(len(token), token, days)"]
    execute(runner, *cells, parameters={"token": "s3cr3t-v4lue", "days": 8})
    assert runner.text(2) == "12 [secret token] 8\n"
    assert "s3cr3t" not in runner.output.read_text()
    assert runner.check().metadata.papermill.parameters == {"days": 8}


def test_what_an_earlier_run_injected_stays_as_it_is(runner: Runner) -> None:
    injected = code("# Parameters\nsince = __import__('datetime').date(2026, 1, 2)\n", "injected-parameters")
    execute(runner, code("since = None", "parameters"), injected, "print(since.year)")
    assert runner.text(2) == "2026\n"


def test_a_notebook_from_outside_does_not_choose_its_kernel(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    execute(runner, "import sys; print('hermes_runtime' in sys.modules)", kernel_name=None)
    assert runner.text(0) == "True\n"
    assert "'python3'" in caplog.text


def test_other_engines_are_judged_as_before(runner: Runner) -> None:
    execute(runner, "1")
    path = save(runner.folder / "in.ipynb", code("1 / 0", "raises-exception"), **PYTHON3)
    with pytest.raises(PapermillExecutionError):
        papermill.execute_notebook(path, runner.output, progress_bar=False)


def test_options_of_nbclient_are_taken(runner: Runner) -> None:
    execute(runner, "1", iopub_timeout=8, shutdown_kernel="immediate", timeout=60, autosave_cell_every=0)
    assert runner.states == ["succeeded"]


def test_nbclients_hooks_are_called_when_they_say(runner: Runner) -> None:
    heard: list[tuple[str, object]] = []

    def note(name: str) -> Any:
        def hook(**arguments: Any) -> None:
            cell = arguments.get("cell")
            heard.append((name, None if cell is None else len(cell.get("outputs", []))))

        return hook

    async def executed(cell: Any, cell_index: int, execute_reply: Any) -> None:
        heard.append(("executed", execute_reply["content"]["status"]))

    names = [
        "on_notebook_start",
        "on_cell_start",
        "on_cell_execute",
        "on_cell_complete",
        "on_cell_error",
        "on_notebook_complete",
    ]
    hooks = {name: note(name) for name in names}
    execute(runner, "print(1)", **hooks, on_cell_executed=executed)
    assert heard == [
        ("on_notebook_start", None),
        ("on_cell_start", 0),
        ("on_cell_execute", 0),
        ("on_cell_complete", 1),
        ("executed", "ok"),
        ("on_notebook_complete", None),
    ]


def test_nbclients_rules_for_errors_and_time_hold(runner: Runner) -> None:
    execute(
        runner,
        "1 / 0",
        code("raise KeyError", "not-today"),
        allow_error_names=["ZeroDivisionError"],
        skip_cells_with_tag="not-today",
    )
    assert runner.states == ["succeeded", "not_run"]
    with pytest.raises(CellTimeoutError):
        execute(runner, "import time; time.sleep(60)", timeout_func=lambda cell: 1)


def test_prepare_only_injects_and_runs_nothing(runner: Runner) -> None:
    execute(runner, code("a = 1", "parameters"), "print(a)", parameters={"a": 2}, prepare_only=True)
    notebook = runner.check()
    assert notebook.cells[1].source == "# Parameters\na = 2\n"
    assert notebook.cells[2].outputs == []


def test_the_last_write_is_atomic_too(runner: Runner) -> None:
    notebook = execute(runner, "1")
    before = runner.output.read_bytes()
    notebook.cells[0].outputs = [object()]
    with pytest.raises(Exception, match="object"):
        papermill.execute.write_ipynb(notebook, str(runner.output))
    assert runner.output.read_bytes() == before


class Shelf:
    """A remote store."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def read(self, path: str) -> str:
        return self.files[path]

    def write(self, text: str, path: str) -> None:
        self.files[path] = text

    def pretty_path(self, path: str) -> str:
        return path

    def listdir(self, path: str) -> list[str]:
        return list(self.files)


def test_remote_paths_go_through_papermills_handlers(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    monkeypatch.setattr(papermill_io, "_handlers", [("shelf://", shelf), *papermill_io._handlers])
    shelf.files["shelf://in.ipynb"] = save(runner.folder / "in.ipynb", "print(7)").read_text()
    papermill.execute_notebook(
        "shelf://in.ipynb", "shelf://out.ipynb", engine_name="hermes", kernel_name="python3", progress_bar=False
    )
    assert nbformat.reads(shelf.files["shelf://out.ipynb"], as_version=4).cells[0].outputs[0].text == "7\n"
    result = NotebookExecutor().execute("shelf://in.ipynb", "shelf://out2.ipynb", kernel_name="python3")
    assert result["status"] == "success"
    assert nbformat.reads(shelf.files["shelf://out2.ipynb"], as_version=4).cells[0].outputs[0].text == "7\n"


# the same through NotebookExecutor


def test_report_mode_cwd_and_the_log(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="papermill")
    (runner.folder / "elsewhere").mkdir()
    out = io.StringIO()
    before = Path.cwd()
    result = runner.run(
        "import os; print(os.getcwd())",
        report_mode=True,
        cwd=runner.folder / "elsewhere",
        log_output=True,
        stdout_file=out,
    )
    assert result["status"] == "success"
    assert out.getvalue() == f"{runner.folder / 'elsewhere'}\n"
    assert str(runner.folder / "elsewhere") in caplog.text
    assert runner.check().cells[0].metadata.jupyter.source_hidden is True
    assert Path.cwd() == before


def test_prepare_only_writes_the_notebook_with_its_parameters(runner: Runner) -> None:
    result = runner.run(code("a: int = 1", "parameters"), "print(a)", parameters={"a": 2}, prepare_only=True)
    assert (result["status"], result["state"], result["cells_executed"]) == ("success", "not_run", 0)
    assert "a = 2" in runner.check().cells[1].source


def test_paths_are_taken_literally(runner: Runner) -> None:
    runner.output = runner.folder / "{pm.run_uuid} {x}.ipynb"
    assert runner.run("1")["status"] == "success"
    assert runner.output.exists()


def test_the_output_may_be_the_input(runner: Runner) -> None:
    runner.output = runner.folder / "in.ipynb"
    assert runner.run("print(1)")["status"] == "success"
    assert runner.text(0) == "1\n"


def test_progress_is_told_cell_by_cell(runner: Runner) -> None:
    heard: list[tuple[int, str]] = []
    runner.run("1", "#md text", "1 / 0", "2", progress=lambda at: heard.append((at.index, str(at.state))))
    assert heard == [(0, "running"), (0, "succeeded"), (1, "running"), (1, "succeeded"), (2, "running"), (2, "failed")]


def test_the_progress_bar_does_not_claim_what_did_not_happen(
    runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.run("1", "1 / 0", "2", "3", progress=True)
    assert "2/4" in capsys.readouterr().err
    runner.run("1", progress=True)
    assert "1/1" in capsys.readouterr().err


def test_it_can_be_awaited_and_cancelled(runner: Runner) -> None:
    async def both() -> None:
        path = save(runner.folder / "in.ipynb", "print(1)")
        executor = NotebookExecutor()
        result = await executor.execute_async(path, runner.output, kernel_name="python3")
        assert result["status"] == "success"
        save(path, "import time; print('begun', flush=True); time.sleep(600)")
        task = asyncio.create_task(executor.execute_async(path, runner.output, kernel_name="python3"))
        while not runner.has_printed("begun\n"):
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(both())
    assert runner.states == ["cancelled"]


def test_it_works_inside_a_running_event_loop(runner: Runner) -> None:
    async def run() -> dict[str, Any]:
        return runner.run("print(1)")

    assert asyncio.run(run())["status"] == "success"


# the command line


def papermill_command(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "papermill",
        *map(str, arguments),
        "--engine",
        "hermes",
        "-k",
        "python3",
        "--no-progress-bar",
    ]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(("number", "code_expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_signal_on_papermill_keeps_the_running_cells_outputs(
    runner: Runner, machine: Machine, number: int, code_expected: int
) -> None:
    save(runner.folder / "in.ipynb", "1", "import time; print('begun', flush=True); time.sleep(600)", "2")
    process = papermill_command("in.ipynb", "out.ipynb", cwd=runner.folder)
    until(lambda: runner.has_printed("begun\n") or process.poll() is not None, 60)
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode in (code_expected, -number)
    assert runner.states == ["succeeded", "cancelled", "not_run"]
    assert runner.text(1).startswith("begun\n")
    machine.wait_until_clean()


def test_help_notebook_works(runner: Runner) -> None:
    save(runner.folder / "in.ipynb", code("days: int = 7  # how far back", "parameters"), **PYTHON3)
    process = papermill_command("in.ipynb", "--help-notebook", cwd=runner.folder)
    assert "how far back" in process.communicate(timeout=60)[0]


def test_papermill_loads_the_engine_without_what_a_run_needs(machine: Machine) -> None:
    program = "import papermill.engines, sys, json; print(json.dumps([m for m in sys.modules if m.startswith('host_bridge')]))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert loaded == ["host_bridge", "host_bridge.executor", "host_bridge.executor.engine"]


def test_papermills_own_runs_are_recorded_too(machine: Machine) -> None:
    notebook = save(machine.workspace / "in.ipynb", "hermes.list_files()")
    output = machine.workspace / "out.ipynb"
    papermill.execute_notebook(
        str(notebook), str(output), engine_name="hermes", kernel_name="hermes", progress_bar=False
    )
    with TapeReader(str(machine.workspace / "out.tape")) as tape:
        assert [call.row.tool for call in tape.calls()] == ["list_files"]
        assert tape.root() == nbformat.read(output, 4).metadata.hermes.run.tape.root
