from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from host_bridge.provisioning.lifeline import Lifeline
from host_bridge.rundirs.processes import ProcessIdentity, identify, wait_for_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signal-driven pipes are Linux's")

# Holds the interpreter's lock in C for hours and ignores what can be ignored, with a child in its group.
STUBBORN = """
import re, signal, subprocess
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO):
    signal.signal(number, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid, flush=True)
re.match("(a+)+$", "a" * 60 + "b")
"""

HOST = f"""
import subprocess, sys
from host_bridge.provisioning.lifeline import Lifeline
line = Lifeline()
kernel = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], pass_fds=(line.descriptor,), start_new_session=True)
line.attach(kernel.pid)
print(kernel.pid, flush=True)
input()
"""


def stubborn(line: Lifeline) -> tuple[subprocess.Popen[bytes], ProcessIdentity]:
    kernel = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], pass_fds=(line.descriptor,), start_new_session=True, stdout=subprocess.PIPE
    )
    line.attach(kernel.pid)
    assert kernel.stdout is not None
    child = identify(int(kernel.stdout.readline()))
    kernel.stdout.close()
    assert child is not None
    return kernel, child


def test_cutting_it_kills_a_kernel_that_can_do_nothing_with_its_group() -> None:
    line = Lifeline()
    kernel, child = stubborn(line)
    line.cut()
    line.cut()
    assert kernel.wait(5) == -signal.SIGKILL
    assert wait_for_end(child, 5)


def test_a_killed_host_takes_its_kernel_along() -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert host.stdout is not None
    processes = [identify(int(host.stdout.readline())) for _ in range(2)]
    host.kill()
    host.communicate(timeout=5)
    for process in processes:
        assert process is not None
        assert wait_for_end(process, 5)


def test_an_unused_line_gives_its_descriptors_back() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    Lifeline().cut()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
