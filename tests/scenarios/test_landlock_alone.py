"""Kernels where bubblewrap doesn't work: confined by Landlock and seccomp alone, with the bridge dialling in."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from kernel_machine import Machine

from host_bridge.provisioning.provisioner import HermesProvisioner
from host_bridge.sandbox.probing import probe

SECONDS = 60.0

pytestmark = pytest.mark.skipif(not probe("landlock").works, reason="this system's Landlock is too old")


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, workspace: Path) -> None:
        self.manager = KernelManager(kernel_name="hermes")
        self.manager.start_kernel(cwd=str(workspace))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    @property
    def provisioner(self) -> HermesProvisioner:
        assert isinstance(self.manager.provisioner, HermesProvisioner)
        return self.manager.provisioner

    def run(self, code: str) -> str:
        """Give what a cell printed or its value, or its error with its notes."""
        pieces: list[str] = []

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "error":
                pieces.append(f"{content['ename']}: {content['evalue']}\n{content['traceback'][-1]}")
            else:
                pieces.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        self.client.execute_interactive(code, timeout=SECONDS, output_hook=take)
        return "".join(pieces)

    def interrupt_soon(self) -> threading.Timer:
        pgid = self.provisioner.pgid
        assert pgid is not None
        timer = threading.Timer(0.5, os.killpg, (pgid, signal.SIGINT))
        timer.start()
        return timer

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)


@pytest.fixture
def start(machine: Machine) -> Iterator[Callable[[], Kernel]]:
    machine.configure('[sandbox]\nbackend = "landlock"\n')
    for folder in (".git", "data"):
        (machine.workspace / folder).mkdir()
    (machine.workspace / ".git" / "config").write_text("own")
    (machine.workspace / "greeting.txt").write_text("hello")
    started: list[Kernel] = []

    def start() -> Kernel:
        started.append(Kernel(machine.workspace))
        return started[-1]

    yield start
    for kernel in started:
        kernel.close()


def test_tools_work_and_the_truth_is_told(start: Callable[[], Kernel], machine: Machine) -> None:
    kernel = start()
    assert kernel.run("hermes.read_file('greeting.txt')") == "'hello'"
    assert kernel.run("hermes.terminal('echo out', stream=False).stdout") == "'out\\n'"
    assert kernel.run("hermes.write_file('new.txt', 'made by the host').created") == "True"
    assert (machine.workspace / "new.txt").read_text() == "made by the host"
    assert kernel.run("hermes.status().confinement") == "'landlock'"
    status = kernel.run("print(open('/proc/self/status').read())")
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    kernel.close()
    machine.wait_until_clean()


def test_nothing_in_it_connects_to_anything(start: Callable[[], Kernel], machine: Machine) -> None:
    kernel = start()
    path = machine.workspace / "data" / "listener"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        udp.bind(("127.0.0.1", 0))
        local.bind(str(path))
        local.listen()
        datagrams.bind(f"{path}-datagrams")
        attempts = (
            f"socket.create_connection(('127.0.0.1', {tcp.getsockname()[1]}), 2)",
            f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp.getsockname()[1]}))",
            "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
            f"socket.socket(socket.AF_UNIX).connect({str(path)!r})",
            f"socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', {f'{path}-datagrams'!r})",
            "socket.socket(socket.AF_UNIX).connect('\\0abstract')",
            "socket.getaddrinfo('example.org', 80)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        )
        kernel.run("import socket")
        for attempt in attempts:
            assert "rror: [Errno" in kernel.run(attempt), attempt
        assert "nothing in it may connect" in kernel.run(attempts[0])
        for listener in (tcp, udp, local, datagrams):
            listener.settimeout(0.1)
            with pytest.raises(TimeoutError):
                listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()


def test_files_outside_are_out_of_reach_and_islands_stay(start: Callable[[], Kernel], machine: Machine) -> None:
    kernel = start()
    (directory,) = machine.run_directories()
    (machine.workspace / "link").symlink_to("/etc/shadow")
    for attempt in (
        "open('/etc/shadow')",
        "open('link')",
        f"open({str(machine.root / 'beside')!r}, 'w')",
        f"open({str(directory / 'owner.json')!r})",
        f"__import__('os').listdir({str(machine.jupyter_runtime)!r})",
        "open('/proc/1/environ')",
        "open('.git/config', 'w')",
        "__import__('os').mkdir('.git/hooks')",
        "__import__('os').rename('.git', 'data/git')",
        "open('.envrc', 'w')",
        "open('hermes.toml', 'w')",
        f"__import__('os').symlink('/run/docker.sock', {str(directory / 's' / 'x')!r})",
        f"open({str(directory / 's' / 'x')!r}, 'w')",
        "__import__('os').kill(__import__('os').getppid(), 0)",
    ):
        assert kernel.run(attempt).startswith("PermissionError"), attempt
    assert kernel.run("open('data/new', 'w').write('kept')") == "4"
    assert kernel.run("open('greeting.txt', 'a').write('!')") == "1"
    assert "folders of the workspace that were" in kernel.run("open('new', 'w')")
    assert sorted(path.name for path in machine.workspace.iterdir()) == [".git", "data", "greeting.txt", "link"]
    assert (machine.workspace / ".git" / "config").read_text() == "own"


def test_a_link_in_place_of_the_bridge_s_socket_can_not_be_made(start: Callable[[], Kernel], machine: Machine) -> None:
    kernel = start()
    (directory,) = machine.run_directories()
    bridge = str(directory / "s" / "bridge")
    with socket.socket(socket.AF_UNIX) as victim:
        path = str(machine.root / "victim")
        victim.bind(path)
        victim.listen()
        kernel.run(f"import os; os.unlink({bridge!r})")  # its own socket, which it may remove
        assert kernel.run(f"os.symlink({path!r}, {bridge!r})").startswith("PermissionError")
        assert "[Errno 18]" in kernel.run(f"os.link({path!r}, {bridge!r})")  # as between two file systems
        assert kernel.run(f"os.rename({path!r}, {bridge!r})").startswith("PermissionError")
        victim.settimeout(0.3)
        with pytest.raises(TimeoutError):
            victim.accept()


def test_restart_interrupt_and_shell_commands(start: Callable[[], Kernel], machine: Machine) -> None:
    kernel = start()
    assert kernel.run("!echo out; echo err >&2; exit 3") == "out\nerr\n"
    assert kernel.run("_exit_code") == "3"
    assert kernel.run("def f(word):\n    !echo {word}\nf('local')") == "local\n"
    for code in ("import time; time.sleep(60)", "hermes.terminal('sleep 60')", "!sleep 60"):
        timer = kernel.interrupt_soon()
        started = time.monotonic()
        answer = kernel.run(code)
        timer.join()
        assert time.monotonic() - started < 20
        assert code.startswith("!") or answer.startswith("KeyboardInterrupt")
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=SECONDS)
    started = time.monotonic()
    assert kernel.run("hermes.terminal('echo again', stream=False).stdout") == "'again\\n'"
    assert time.monotonic() - started < 5
    kernel.close()
    machine.wait_until_clean()


def test_what_works_and_what_is_said_about_the_rest(start: Callable[[], Kernel]) -> None:
    kernel = start()
    kernel.run("import multiprocessing, os, subprocess, threading; fork = multiprocessing.get_context('fork')")
    assert (
        kernel.run("a, b = fork.Pipe(); p = fork.Process(target=b.send, args=('sent',)); p.start(); a.recv()")
        == "'sent'"
    )
    assert kernel.run("p.join(); subprocess.run(['echo', 'x'], capture_output=True).stdout") == "b'x\\n'"
    assert "locks, queues and pools of multiprocessing" in kernel.run("multiprocessing.Lock()")
    in_child = (
        "def call(end):\n    try:\n        end.send(hermes.terminal('true'))\n"
        "    except hermes.BridgeUnavailableError as error:\n        end.send(str(error))\n"
        "p = fork.Process(target=call, args=(b,)); p.start(); print(a.recv()); p.join()"
    )
    assert "forked from the kernel's" in kernel.run(in_child)
    assert kernel.run("hermes.terminal('echo still', stream=False).stdout") == "'still\\n'"


def test_it_dies_with_its_host_and_takes_along_what_it_started(start: Callable[[], Kernel], machine: Machine) -> None:
    kernel = start()
    kernel.run("import subprocess; child = subprocess.Popen(['sleep', '600'])")
    assert len(machine.processes()) >= 3
    lifeline = kernel.provisioner._lifeline
    assert lifeline is not None
    lifeline.cut()  # as the end of the host's process does it
    process = kernel.provisioner.process
    assert process.wait(SECONDS) == -signal.SIGKILL
    with contextlib.suppress(RuntimeError):
        kernel.close()
    machine.wait_until_clean()
