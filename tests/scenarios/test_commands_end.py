"""Commands end with whoever asked for them, whichever of the processes in between is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest
from jupyter_client.manager import KernelManager
from kernel_machine import Machine
from waiting import until

from host_bridge.provisioning.options import LaunchOptions
from host_bridge.provisioning.provisioner import HermesProvisioner

# One that keeps to its group, one that leaves it, one in the foreground; all deaf to polite requests.
START = """
import hermes_runtime as hermes, threading, time
line = "trap '' HUP TERM; echo $$ >>pids; while :; do sleep 1; done"
hermes.terminal(line, background=True)
hermes.terminal(f'setsid -f sh -c "{line}"; sleep 600'.replace("$", "\\\\$"), background=True)
threading.Thread(target=hermes.terminal, args=(line, 600), daemon=True).start()
while len(hermes.read_file("pids").split() if hermes.list_files(pattern="pids") else []) < 3:
    time.sleep(0.05)
"""


@pytest.fixture
def kernel(machine: Machine) -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="hermes")
    manager.start_kernel(hermes=LaunchOptions(profile="full"))
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    reply = client.execute_interactive(START, timeout=60)
    assert reply["content"]["status"] == "ok", reply["content"]
    client.stop_channels()
    yield manager
    if manager.has_kernel:
        manager.shutdown_kernel(now=True)


def kill_session(manager: KernelManager) -> None:
    assert isinstance(manager.provisioner, HermesProvisioner)
    session = manager.provisioner.session
    assert session is not None
    assert session.pid is not None
    os.kill(session.pid, signal.SIGKILL)


def kill_kernel(manager: KernelManager) -> None:
    assert isinstance(manager.provisioner, HermesProvisioner)
    assert manager.provisioner.pid is not None
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    manager.shutdown_kernel(now=True)


def shut_down(manager: KernelManager) -> None:
    manager.shutdown_kernel()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("end", [shut_down, kill_session, kill_kernel])
def test_no_command_survives(machine: Machine, kernel: KernelManager, end: Callable[[KernelManager], None]) -> None:
    pids = [int(pid) for pid in (machine.workspace / "pids").read_text().split()]
    assert all(is_alive(pid) for pid in pids)
    end(kernel)
    until(lambda: not any(map(is_alive, pids)), otherwise="the commands did not end")
