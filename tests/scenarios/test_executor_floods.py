"""A kernel that puts out more than anybody can read costs neither the host's memory nor the run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, save

pytestmark = pytest.mark.slow

PROGRAM = """
    import json, re, sys
    from pathlib import Path
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.limits import OutputLimits
    limits = OutputLimits(**json.loads(sys.argv[3]))
    result = NotebookExecutor().execute(sys.argv[1], sys.argv[2], kernel_name="python3", limits=limits)
    # Not ru_maxrss: that begins with what the process had before it became this program.
    result["peak_mib"] = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps(result))
"""
MIB = 2**20


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "python3")


def run(runner: Runner, *cells: str, **limits: int) -> dict[str, object]:
    save(runner.folder / "in.ipynb", *cells)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(runner.folder / "in.ipynb"), str(runner.output)]
    done = subprocess.run(
        [*command, json.dumps(limits)], capture_output=True, text=True, cwd=runner.folder, timeout=110
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    runner.check()
    return result


def left_out_bytes(runner: Runner, index: int) -> int:
    found = re.search(r"([\d,]+) bytes\s+in", runner.text(index))
    assert found, runner.text(index)[-500:]
    return int(found[1].replace(",", ""))


def test_200_mib_of_prints_are_cut_with_exact_counts_and_without_growing_the_executor(runner: Runner) -> None:
    source = "for _ in range(200 * 1024):\n    print('x' * 1023)"
    result = run(runner, source, "print('still here')", stream_bytes=16 * MIB)
    assert result["status"] == "success"
    assert left_out_bytes(runner, 0) == 184 * MIB
    assert runner.text(1) == "still here\n"
    assert result["peak_mib"] < 400, "papermill was seen at 896"


def test_200_mib_in_a_single_print(runner: Runner) -> None:
    result = run(runner, "print('x' * (200 * 2**20), end='')", "print('still here')", stream_bytes=MIB, rich_bytes=MIB)
    assert result["status"] == "success"
    assert runner.text(0).startswith("x" * 1000)
    assert left_out_bytes(runner, 0) >= 198 * MIB
    assert result["peak_mib"] < 600


def test_a_great_many_small_prints_are_kept(runner: Runner) -> None:
    result = run(runner, "for i in range(300_000):\n    print(i)")
    assert result["status"] == "success"
    assert runner.text(0).splitlines()[-1] == "299999"
    assert len(runner.check().cells[0].outputs) == 1
    assert result["peak_mib"] < 400


def test_a_100_mb_image_is_left_out_and_said(runner: Runner) -> None:
    source = "from IPython.display import display\ndisplay({'image/png': 'A' * 100_000_000}, raw=True)"
    result = run(runner, source, "print('still here')")
    assert result["status"] == "success"
    assert left_out_bytes(runner, 0) >= 100_000_000
    assert runner.text(1) == "still here\n"
    assert result["peak_mib"] < 500


def test_a_flood_of_displays_is_cut(runner: Runner) -> None:
    source = (
        "from IPython.display import display\nfor i in range(4_000):\n    display({'text/plain': str(i)}, raw=True)"
    )
    result = run(runner, source, outputs=1000)
    assert result["status"] == "success"
    assert len(runner.check().cells[0].outputs) == 1001
    assert "3,000 pieces" in runner.text(0)


def test_a_flood_of_comms_does_not_hang_the_run(runner: Runner) -> None:
    source = textwrap.dedent(
        """
        from comm import create_comm
        for i in range(3000):
            comm = create_comm(target_name="jupyter.widget", data={"state": {"value": "x" * 1000}})
            comm.send({"state": {"value": i}})
        print("done")
        """
    )
    result = run(runner, source, widget_bytes=MIB)
    assert result["status"] == "success"
    assert runner.text(0) == "done\n"
    assert "widget messages" in str(result["warnings"])


def test_a_flood_can_not_outrun_its_deadline(runner: Runner) -> None:
    save(runner.folder / "in.ipynb", "while True:\n    print('x' * 10_000)")
    result = runner.executor.execute(
        runner.folder / "in.ipynb", runner.output, kernel_name="python3", cell_timeout=3, grace_seconds=3
    )
    assert result["state"] == "timed_out"
    took = (
        runner.check().cells[0].metadata.papermill.duration
    )  # the cell's own: a busy machine is slow to start a kernel
    assert took < 40
