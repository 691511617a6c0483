"""Cells that put out more than anybody reads: what a notebook keeps, what it says, and what it costs who runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, save

LIMIT = 1_000_000
CAPPED = f"[limits]\noutput_bytes = {LIMIT}\n"
UNCAPPED = "[limits]\noutput_bytes = 0\n"  # as if the kernel were somebody's who leaves its limits out

PRINTS = "for _ in range(200): print('x' * (2**20 - 1))"
SMALL_PRINTS = "for number in range(80_000): print('line', number)"
IMAGE = "from IPython.display import display; import os; display({'image/png': os.urandom(75 * 2**20)}, raw=True)"

# Runs in a process of its own, whose memory nothing else has used.
MEASURE = """
import json, re, sys
from pathlib import Path
from host_bridge.executor import NotebookExecutor
source, output = map(Path, sys.argv[1:])
result = NotebookExecutor().execute(source, output, timeout=300)
# Not ru_maxrss: that begins with what the process had before it became this program.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"state": result["state"], "peak": int(peak[1]) * 1024}))
"""


def measure(machine: Machine, code: str) -> dict[str, Any]:
    """Run a notebook of one cell in another process. Gives its state, the process's peak memory, and the cell's outputs."""
    source = save(
        machine.workspace / "in.ipynb", code, kernelspec={"name": "hermes", "display_name": "", "language": ""}
    )
    output = machine.workspace / "out.ipynb"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, source, output],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    outputs = json.loads(output.read_text())["cells"][0]["outputs"]
    return {**json.loads(done.stdout.splitlines()[-1]), "outputs": outputs, "bytes": output.stat().st_size}


def note(outputs: list[dict[str, Any]]) -> str:
    [found] = ["".join(one["data"]["text/plain"]) for one in outputs if one.get("metadata", {}).get("hermes")]
    return found


@pytest.fixture
def capped(machine: Machine) -> Runner:
    machine.configure(CAPPED)
    return Runner(machine.workspace, "hermes")


def test_prints_are_cut_at_the_limit_with_an_exact_count(capped: Runner) -> None:
    result = capped.run("for _ in range(300): print('x' * 9_999)", "print('next')")

    assert result["state"] == "succeeded"
    text = capped.text(0)
    assert text[: LIMIT + 1] == ("x" * 9_999 + "\n") * 100 + "\n"
    assert "2,000,000 bytes of this cell's output in 400 pieces were left out" in text
    assert capped.text(1) == "next\n"


def test_both_streams_and_a_subprocess_are_counted_together(capped: Runner) -> None:
    capped.run("import sys\nprint('x' * 600_000)\nprint('x' * 600_000, file=sys.stderr)", "!yes | head -c 1500000")

    assert f"{600_001 * 2 - LIMIT:,} bytes" in capped.text(0)
    assert "were left out" in capped.text(1)


def test_displays_and_values_are_left_out_whole(capped: Runner) -> None:
    capped.run(
        "from IPython.display import display\n"
        "display({'text/plain': 'y' * 2_000_000}, raw=True)\n"
        "display({'text/plain': 'kept'}, raw=True)\n'z' * 3_000_000"
    )

    outputs = capped.check().cells[0].outputs
    assert [one.data["text/plain"] for one in outputs[:-1]] == ["kept"]
    assert "5,000,002 bytes of this cell's output in 2 pieces were left out" in note(outputs)


def test_an_animation_is_shown_to_its_end(capped: Runner) -> None:
    capped.run(
        "from IPython.display import clear_output, display\nhandle = display('x' * 900_000, display_id=True)\n"
        "for frame in range(20): handle.update(str(frame) * 400_000)",
        "for frame in range(20):\n    clear_output(wait=True)\n    print(str(frame) * 400_000)",
    )

    assert capped.text(0) == repr("19" * 400_000)
    assert capped.text(1) == "19" * 400_000 + "\n"


def test_an_error_of_megabytes_says_what_it_is(capped: Runner) -> None:
    result = capped.run("raise ValueError('begin' + 'x' * 50_000_000 + 'end')")

    failed = result["failed_cell"]
    assert (failed["ename"], failed["evalue"][:5], failed["evalue"][-3:]) == ("ValueError", "begin", "end")
    assert len(json.dumps(result)) < 2**20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configuration", "code", "most"),
    [
        ("", PRINTS, 450),
        ("", SMALL_PRINTS, 250),
        ("", IMAGE, 250),
        (UNCAPPED, PRINTS, 650),
        (UNCAPPED, IMAGE, 350),
    ],
)
def test_a_flood_of_output_does_not_make_the_executor_large(
    machine: Machine, configuration: str, code: str, most: int
) -> None:
    machine.configure(configuration)

    measured = measure(machine, code)

    assert measured["state"] == "succeeded"
    assert measured["peak"] < most * 2**20
    assert measured["bytes"] < 70 * 2**20
    if code is not SMALL_PRINTS:
        assert "left out" in note(measured["outputs"])
