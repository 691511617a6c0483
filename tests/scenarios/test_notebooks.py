"""The notebooks do their jobs: on this machine, on a bare one, under nbval, and stripped as they are committed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel_machine import Machine

from host_bridge.executor import NotebookExecutor

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
HEALTH_CHECK = NOTEBOOKS / "fleet_health_check.ipynb"


def printed(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))


def execute(
    machine: Machine, notebook: Path, parameters: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    return NotebookExecutor().execute(notebook, machine.workspace / "out.ipynb", parameters, **options)


def test_the_health_check_gives_a_score_alerts_and_a_table(machine: Machine) -> None:
    result = execute(
        machine, HEALTH_CHECK, {"agent_id": "web-1", "run_id": "r-7", "since": "2026-11-01", "until": "2026-11-02"}
    )

    assert (result["state"], result["error"]) == ("succeeded", "")
    scraps = result["scraps"]
    assert 0 <= scraps["health_score"] <= 1
    assert scraps["alert_count"] >= 0
    assert {"load", "memory"} <= {row["name"] for row in scraps["resources"]}
    assert (scraps["agent_id"], scraps["run_id"]) == ("web-1", "r-7")
    outputs = [
        o
        for cell in nbformat.read(machine.workspace / "out.ipynb", as_version=4).cells
        for o in cell.get("outputs", ())
    ]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
    assert result["tool_calls"]["by_outcome"] == {"ok": result["tool_calls"]["total"]}


def test_limits_make_alerts(machine: Machine) -> None:
    strict = execute(machine, HEALTH_CHECK, {"memory_limit": 0.0001})

    assert strict["scraps"]["alert_count"] >= 1
    assert strict["scraps"]["health_score"] < 1
    assert "memory: " in printed(machine.workspace / "out.ipynb")


def test_what_a_machine_lacks_is_said_and_fails_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without systemd, a journal, `ps`, `df`, `nproc` and `uname`: nothing but a shell."""
    bare = machine.root / "bin"
    bare.mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    (bare / "bash").symlink_to(bash)
    monkeypatch.setenv("PATH", str(bare))

    result = execute(machine, HEALTH_CHECK)

    told = printed(machine.workspace / "out.ipynb")
    assert (result["state"], result["failed_cell"]) == ("succeeded", None)
    assert "services aren't judged" in told
    assert "processes aren't listed" in told
    assert "log errors aren't judged" in told


def test_a_log_file_is_read_where_the_policy_for_it_is_given(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tail` is replaced, so that what is read doesn't depend on this machine's log."""
    tools = machine.root / "bin"
    tools.mkdir()
    (tools / "tail").write_text(
        "#!/bin/sh\n"
        "echo '2026-11-02T10:00:00 web kernel: I/O error on sda'\n"
        "echo 'Nov  2 11:00:00 web app: ERROR again'\n"
        "echo '2026-11-02T12:00:00 web app: all is well'\n"
        "echo '2026-11-09T12:00:00 web app: error of another day'\n"
    )
    (tools / "journalctl").write_text("#!/bin/sh\necho 'No journal files were found.' >&2\n")
    for script in tools.iterdir():
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    parameters = {"log_file": "/var/log/syslog", "since": "2026-11-01", "until": "2026-11-03", "log_error_limit": 1}

    without = execute(machine, HEALTH_CHECK, parameters)
    result = execute(machine, HEALTH_CHECK, parameters, policy_files=[NOTEBOOKS / "fleet_health_check.policy.toml"])

    assert (without["state"], without["failed_cell"]["ename"]) == ("denied", "ToolDeniedError")
    assert result["state"] == "succeeded"
    told = printed(machine.workspace / "out.ipynb")
    assert "2 errors in /var/log/syslog from 2026-11-01 to 2026-11-03" in told
    assert "over the limit of 1" in told


def test_a_date_range_backwards_is_an_error_that_says_so(machine: Machine) -> None:
    result = execute(machine, HEALTH_CHECK, {"since": "2026-11-02", "until": "2026-11-01"})

    assert (result["state"], result["failed_cell"]["ename"]) == ("failed", "ValueError")
    assert "ends (2026-11-01) before it begins (2026-11-02)" in result["failed_cell"]["evalue"]


def test_the_quickstart_ends_in_a_structured_result(machine: Machine) -> None:
    result = execute(machine, NOTEBOOKS / "quickstart.ipynb", {"name": "Ada", "words": 2})

    assert result["state"] == "succeeded"
    assert result["scraps"] == {"greeting": "hello, Ada", "word_count": 13, "most_frequent": {"the": 4, "tool": 2}}
    assert (machine.workspace / "hermes-quickstart.txt").exists()
    told = printed(machine.workspace / "out.ipynb")
    assert "[rule: default]" in told, "what nobody allowed"
    assert "[rule: notebook:default]" in told, "what the notebook didn't declare"


def test_the_quickstarts_calls_run_at_the_same_time(machine: Machine) -> None:
    execute(machine, NOTEBOOKS / "quickstart.ipynb")

    seconds = next(line for line in printed(machine.workspace / "out.ipynb").splitlines() if line.endswith(" s"))
    assert float(seconds.split()[0]) < 2.5, "three sleeps of a second, one after the other"


@pytest.mark.parametrize("name", NAMES)
def test_the_marked_cells_put_out_what_they_are_committed_with(machine: Machine, name: str) -> None:
    shutil.copy(NOTEBOOKS / name, machine.workspace)

    found = NotebookExecutor().validate(machine.workspace / name, nbval="lax")

    assert found.problems == []
    assert {cell.outcome for cell in found.cells} == {"passed"}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stripped_but_where_they_are_compared(name: str) -> None:
    notebook = json.loads((NOTEBOOKS / name).read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    compared = [cell for cell in cells if "# NBVAL_CHECK_OUTPUT\n" in cell["source"]]

    assert compared
    assert [cell for cell in cells if bool(cell["outputs"]) != (cell in compared)] == []
    assert all(cell["metadata"].get("keep_output") for cell in compared), "or nbstripout takes them"
    assert notebook["metadata"]["kernelspec"]["name"] == "hermes"
    assert "papermill" not in notebook["metadata"]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_declared_and_permissions_too(name: str) -> None:
    notebook = json.loads((NOTEBOOKS / name).read_text())
    parameters = NotebookExecutor().inspect_parameters(NOTEBOOKS / name)

    assert all(parameter.type and parameter.help for parameter in parameters.values())
    assert notebook["metadata"]["hermes"]["permissions"]["allow"]
