"""The README's commands, help and tables are what one gets."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from host_bridge.cli.boundary import MEANINGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


MAIN_JOB, TESTS = commands()[:2]


def test_the_two_commands_start_from_nothing() -> None:
    for command in (MAIN_JOB, TESTS):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert TESTS.replace("python3", "$(PYTHON)", 1) in makefile
    assert "make check" in (ROOT / ".ci/run").read_text()
    assert re.search(r"^check:.*\btest$", makefile, re.MULTILINE), "pytest's summary has to be the last thing printed"


def test_the_main_job_runs_as_it_stands(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "notebooks", clone / "notebooks")
    command = MAIN_JOB.split(" && ")[-1].replace(".venv/bin", str(BIN))
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    done = subprocess.run(
        command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("succeeded in ")
    assert done.stdout.endswith("\nsaved fleet.ipynb\n")
    executed = json.loads((clone / "fleet.ipynb").read_text())
    assert executed["metadata"]["hermes"]["run"]["status"] == "succeeded"


def test_what_the_main_job_is_shown_to_print_is_what_it_prints() -> None:
    shown = next(block for block in blocks("text") if block.startswith("succeeded in "))
    source = json.loads((ROOT / "notebooks/fleet_health_check.ipynb").read_text())
    glued = re.findall(r'hermes\.glue\("(\w+)"', "".join("".join(cell["source"]) for cell in source["cells"]))

    assert [line.split()[0] for line in shown.splitlines()[1:-1]] == glued
    assert shown.splitlines()[-1] == "saved fleet.ipynb"


def test_the_help_is_the_real_one() -> None:
    shown = re.search(r"<!-- help:run -->\n```text\n(.*?)```", README, re.DOTALL)
    real = subprocess.run(
        [BIN / "hermes-runtime", "run", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=True,
    ).stdout

    assert shown is not None
    assert shown[1] == real


def test_the_exit_codes_are_the_real_ones() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)

    assert [(int(code), meaning) for code, meaning in rows] == [
        (code.value, meaning) for code, meaning in MEANINGS.items()
    ]


@pytest.mark.parametrize("command", [line for line in commands()[2:] if line.startswith("hermes-runtime")])
def test_the_other_commands_are_understood(command: str) -> None:
    """Their options exist: `--help` is eager, so nothing runs, but an unknown command or option is an error before it."""
    words = command.removeprefix("hermes-runtime ")

    done = subprocess.run(
        f"{BIN}/hermes-runtime {words} --help", shell=True, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_limits_are_told() -> None:
    assert "A confined kernel shares the host's Linux" in README
    assert (ROOT / "docs/images/notebook.png").stat().st_size < 300_000


def test_the_architecture_names_the_layers_that_are_kept() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    shown = re.search(r"^    (cli > .*?)\n\n", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE | re.DOTALL)

    assert shown is not None
    assert [f"host_bridge.{name.strip()}" for name in shown[1].split(">")] == layers


@pytest.mark.parametrize("page", PAGES)
def test_the_rooms_that_pages_name_exist(page: str) -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", (ROOT / page).read_text())
    ours = {
        name for name in named if name.startswith(("hermes_", "host_bridge/", "docs/", "tests/", "notebooks/", "cli/"))
    }

    assert [
        name for name in sorted(ours) if not ((ROOT / name).exists() or (ROOT / "host_bridge" / name).exists())
    ] == []
