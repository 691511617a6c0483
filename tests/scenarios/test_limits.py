"""Cells that use up the machine: each hits a limit of its kernel, nobody else notices, and the kernel starts again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from kernel_machine import Machine
from notebook_runs import Runner

from host_bridge.errors import ConfigurationError
from host_bridge.limits.limiter import choose
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.provisioning.provisioner import HermesProvisioner
from host_bridge.provisioning.sweep import sweep

READY_SECONDS = 60.0
RESPONSIVE_SECONDS = 1.0  # a thread that sleeps 10 ms is back by then, however busy the kernel keeps the machine
PROCESSES = 64
LIMITS = f"""
[limits]
memory_bytes = {300 * 2**20}
processes = {PROCESSES}
file_bytes = {64 * 2**20}
[sandbox]
temporary_bytes = {32 * 2**20}
"""

FILL = """
import os
count = 0
try:
    with open({path!r}, "wb") as file:
        while True:
            count += os.write(file.fileno(), b"x" * 2**20)
except OSError as error:
    print(count // 2**20, error.strerror)
"""
FORKS = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError as error:
    print(count, error.strerror)
"""
THREADS = """
import threading
threading.stack_size(65536)
end, count = threading.Event(), 0
try:
    while True:
        threading.Thread(target=end.wait).start()
        count += 1
except RuntimeError as error:
    print(count)
end.set()
"""
MEMORY_FILES = """
import os
files = [os.memfd_create("x") for _ in range(20)]
for file in files:
    for _ in range(30):
        os.write(file, b"x" * 2**20)
"""
CHILDREN = """
import subprocess, sys
code = "x = bytearray(80 * 2**20); import time; time.sleep(60)"
children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
print([child.wait() for child in children])
"""
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


class Kernel:
    """A started kernel and a client of it."""

    def __init__(self, workspace: Path) -> None:
        self.manager = KernelManager(kernel_name="hermes")
        self.manager.start_kernel(cwd=str(workspace))
        self.client = self._connect()

    @property
    def provisioner(self) -> HermesProvisioner:
        assert isinstance(self.manager.provisioner, HermesProvisioner)
        return self.manager.provisioner

    def _connect(self) -> BlockingKernelClient:
        client: BlockingKernelClient = self.manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=READY_SECONDS)
        return client

    def run(self, code: str) -> str:
        """Execute code and give its output, or the error's name."""
        pieces: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            pieces.append(content.get("text", content.get("ename", "")))

        self.client.execute_interactive(code, output_hook=hear, timeout=READY_SECONDS, stop_on_error=False)
        return "".join(pieces).strip()

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.client = self._connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def start(machine: Machine) -> Iterator[Callable[[], Kernel]]:
    machine.configure(LIMITS)
    started: list[Kernel] = []

    def begin() -> Kernel:
        started.append(Kernel(machine.workspace))
        return started[-1]

    yield begin
    for kernel in started:
        kernel.close()
    machine.wait_until_clean()


@pytest.fixture
def grouped() -> None:
    mechanism = choose().mechanism
    if mechanism is None or not {"memory", "processes"} <= mechanism.kinds:
        pytest.skip("nothing here limits a group of processes")


def wait_while_responsive(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition, and see that this process gets its turns meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        begun = time.monotonic()
        if condition():
            return True
        time.sleep(0.01)
        assert time.monotonic() - begun < RESPONSIVE_SECONDS
    return False


@pytest.mark.parametrize("code", ["x = [0] * 2**30", "x = []\nwhile True: x.append(bytes(2**28))"])
def test_a_list_too_large_is_an_error_in_its_cell(start: Callable[[], Kernel], code: str) -> None:
    kernel = start()

    assert kernel.run(code) == "MemoryError"
    assert kernel.run("x = None; print(6 * 7)") == "42"


@pytest.mark.parametrize(
    ("path", "size", "error"),
    [
        ("/tmp/fill", 32, "No space left on device"),
        ("/dev/shm/fill", 32, "No space left on device"),
        ("fill", 64, "File too large"),
    ],
)
def test_what_fills_a_file_system_stops_at_its_size(
    start: Callable[[], Kernel], path: str, size: int, error: str
) -> None:
    kernel = start()

    written, _, said = kernel.run(FILL.format(path=path)).partition(" ")

    assert size - 1 <= int(written) <= size  # other files may be there
    assert said == error
    assert kernel.run("print(6 * 7)") == "42"


@pytest.mark.usefixtures("grouped")
def test_processes_and_threads_have_a_common_limit(start: Callable[[], Kernel]) -> None:
    kernel = start()

    threads = int(kernel.run(THREADS))
    forks, _, error = kernel.run(FORKS).partition(" ")

    assert 20 < threads < PROCESSES
    assert 20 < int(forks) < PROCESSES
    assert error == "Resource temporarily unavailable"


@pytest.mark.usefixtures("grouped")
def test_a_fork_bomb_leaves_the_host_responsive_and_ends_with_its_kernel(
    machine: Machine, start: Callable[[], Kernel]
) -> None:
    kernel = start()
    kernel.client.execute(BOMB)

    assert not wait_while_responsive(lambda: not kernel.manager.is_alive(), 2.0)
    kernel.restart()

    assert kernel.run("print(6 * 7)") == "42"


@pytest.mark.usefixtures("grouped")
@pytest.mark.parametrize("code", [MEMORY_FILES, CHILDREN])
def test_memory_that_no_process_limit_sees_is_limited(start: Callable[[], Kernel], code: str) -> None:
    kernel = start()
    kernel.client.execute(code)

    assert wait_while_responsive(lambda: kernel.provisioner.memory_kills > 0, READY_SECONDS)
    kernel.restart()

    assert kernel.run("print(6 * 7)") == "42"


@pytest.mark.usefixtures("grouped")
@pytest.mark.parametrize("backend", ["auto", "none"])
def test_a_daemon_ends_with_its_kernel(machine: Machine, backend: str) -> None:
    machine.configure(f"[sandbox]\nbackend = '{backend}'\n")
    kernel = Kernel(machine.workspace)
    try:
        kernel.run("import subprocess; subprocess.run('setsid setsid sleep 600 >/dev/null 2>&1 &', shell=True)")
    finally:
        kernel.close()

    machine.wait_until_clean()


@pytest.mark.usefixtures("grouped")
def test_the_groups_of_a_host_that_crashed_are_swept(machine: Machine) -> None:
    script = (
        "from jupyter_client.manager import KernelManager\n"
        "manager = KernelManager(kernel_name='hermes')\nmanager.start_kernel()\n"
        "print(*manager.provisioner._kernel.limiter.folders, flush=True)\ninput()"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=machine.workspace
    )
    assert host.stdout is not None
    groups = [Path(folder) for folder in host.stdout.readline().split()]
    assert groups
    assert all(folder.is_dir() for folder in groups)

    host.kill()
    host.communicate()
    sweep()

    assert not any(folder.exists() for folder in groups)
    machine.wait_until_clean(files=False)


@pytest.mark.usefixtures("grouped")
def test_a_run_says_its_limits_and_that_its_kernel_died_of_one(machine: Machine) -> None:
    machine.configure(LIMITS)
    runner = Runner(machine.workspace, "hermes")

    result = runner.run("print('on')", MEMORY_FILES)

    assert result["state"] == "kernel_died"
    assert "memory was full" in result["failed_cell"]["evalue"]
    assert "300 MiB" in result["kernel_limits"]
    assert runner.run_metadata["kernel_limits"] == result["kernel_limits"]
    [audit] = machine.audit.glob("*.jsonl")
    assert result["kernel_limits"] in audit.read_text().splitlines()[0]


def test_a_cell_sees_its_limits(start: Callable[[], Kernel]) -> None:
    kernel = start()

    seen = kernel.run("import hermes_runtime; print(hermes_runtime.status().kernel_limits)")

    assert "300 MiB" in seen


def test_limits_an_application_sets_are_checked(machine: Machine) -> None:
    manager = KernelManager(kernel_name="hermes")

    with pytest.raises(ConfigurationError, match="memory_byte"):
        manager.start_kernel(hermes=LaunchOptions(limits={"memory_byte": 1}), cwd=str(machine.workspace))
    manager.cleanup_resources()
    machine.wait_until_clean()
