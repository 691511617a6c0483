from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from waiting import until

from host_bridge.tools.orphans import OWNER_VARIABLE, end_left_behind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SESSION = """
import sys
from types import SimpleNamespace
from host_bridge.tools.children import Children
from host_bridge.tools.launching import Launch
session = SimpleNamespace(environment={"PATH": "/usr/bin:/bin"}, resources={})
script = "setsid -f sleep 120; (trap '' HUP TERM; sleep 121) & sleep 122"
child = Children.of(session).start(Launch(argv=("sh", "-c", script), executable="/bin/sh", folder="/"))
print(child.pid, flush=True)
sys.stdin.read()
"""


def started_by(owner: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(OWNER_VARIABLE) == str(owner) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_what_a_killed_session_left_can_be_ended_by_its_host() -> None:
    with subprocess.Popen([sys.executable, "-c", SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        assert int(session.stdout.readline())
        until(lambda: len(started_by(session.pid)) >= 4)
        left = started_by(session.pid)
        session.kill()
        session.wait()
        assert started_by(session.pid), "there was nothing to end"
        assert end_left_behind(session.pid) >= 3
        psutil.wait_procs(left, timeout=5)
        assert not started_by(session.pid)


def test_nothing_of_others_is_ended() -> None:
    assert end_left_behind(2**22 + 1) == 0
