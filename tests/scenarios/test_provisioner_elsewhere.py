"""Kernels that don't run where their bridge does: in another virtual environment, or on another machine."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import jupyter_core.paths
import pytest
from jupyter_client.manager import KernelManager
from kernel_machine import Machine

from hermes_protocol.ticket import TICKET_VARIABLE, encode_ticket
from host_bridge.config import HostConfig, load_config
from host_bridge.errors import PolicyError, SessionError
from host_bridge.provisioning.kernelspecs import KERNEL_SIDE, OUR_PACKAGES, install
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.provisioning.remote import open_remote_session

READY_SECONDS = 60.0
CALL = "import hermes_runtime; print(hermes_runtime.read_file('greeting.txt'), end='')"
ROOT = Path(__file__).resolve().parents[2]


def copy(source: Path, target: Path) -> None:
    # Real files: what a link leads to is outside the environment, and so outside of what a confined kernel may read.
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "tests", "*.pyi"))


def closure(names: set[str]) -> set[str]:
    """Give the distributions that have to be installed with these."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        found.add(name)
        needed = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in required if "extra ==" not in line}
        waiting |= needed - found
    return found


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds what a kernel needs and nothing of the host."""
    root = tmp_path_factory.mktemp("other")
    venv.create(root, with_pip=False, symlinks=True)
    library = next((root / "lib").glob("python*/site-packages"))
    for name in closure(set(KERNEL_SIDE.values())):
        distribution = importlib.metadata.distribution(name)
        for top in {
            file.parts[0] for file in distribution.files or () if not str(file).startswith(("..", "__pycache__"))
        }:
            source = Path(str(distribution.locate_file(top)))
            if source.is_dir() and not (library / top).exists():
                copy(source, library / top)
            elif source.is_file():
                shutil.copy(source, library)
    for package in OUR_PACKAGES:
        copy(ROOT / package, library / package)
    return root / "bin" / "python"


def test_that_environment_has_nothing_of_the_host(other_python: Path) -> None:
    for module in ("host_bridge", "papermill", "nbclient", "httpx"):
        done = subprocess.run([other_python, "-c", f"import {module}"], capture_output=True, cwd="/", timeout=60)
        assert b"ModuleNotFoundError" in done.stderr


def test_a_kernel_in_another_environment_calls_the_bridge_in_this_one(
    machine: Machine, other_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jupyter_core.paths, "ENV_JUPYTER_PATH", [str(machine.root / "env" / "share" / "jupyter")])
    install(prefix=machine.root / "env", name="elsewhere", python=other_python)
    (machine.workspace / "greeting.txt").write_text("hello")
    manager = KernelManager(kernel_name="elsewhere")
    manager.start_kernel()
    try:
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=READY_SECONDS)
        code = f"{CALL}\nimport sys; print(sys.prefix)"
        pieces: list[str] = []

        def hear(message: dict[str, dict[str, str]]) -> None:
            pieces.append(message["content"].get("text", "") or message["content"].get("evalue", ""))

        client.execute_interactive(code, output_hook=hear, timeout=READY_SECONDS)
        client.stop_channels()
    finally:
        manager.shutdown_kernel()
    assert "".join(pieces) == f"hello{other_python.parent.parent}\n"
    machine.wait_until_clean()


# on another machine --------------------------------------------------------------------------------------------------------


def call_with_ticket(ticket: str) -> subprocess.CompletedProcess[str]:
    """Call a tool from a process that has a ticket and nothing else."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], TICKET_VARIABLE: ticket}
    command = [sys.executable, "-c", CALL]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)


def test_a_ticket_is_all_a_kernel_elsewhere_needs(machine: Machine) -> None:
    (machine.workspace / "greeting.txt").write_text("hello")
    with open_remote_session(load_config()) as remote:
        assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", remote.ticket.endpoint)
        ticket = encode_ticket(remote.ticket)
        done = call_with_ticket(ticket)
        assert (done.stdout, done.returncode) == ("hello", 0), done.stderr
        assert [call.outcome for call in remote.session.calls] == ["ok"]
    machine.wait_until_clean()
    refused = call_with_ticket(ticket)
    assert "BridgeUnavailableError" in refused.stderr


def test_listening_everywhere_needs_a_name_to_give_away(machine: Machine) -> None:
    with pytest.raises(SessionError, match="advertise"):
        open_remote_session(HostConfig(), listen="*")
    with open_remote_session(HostConfig(), listen="*", advertise="localhost") as remote:
        assert remote.ticket.endpoint.startswith("tcp://localhost:")
    machine.wait_until_clean()


def test_a_refused_remote_session_leaves_nothing(machine: Machine) -> None:
    with pytest.raises(PolicyError):
        open_remote_session(HostConfig(), LaunchOptions(profile="everything"))
    machine.wait_until_clean()
