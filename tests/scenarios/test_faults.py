"""What a notebook does when its calls go wrong, found out by the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner

pytestmark = pytest.mark.slow

HIDES = """
try:
    alerts = hermes.read_file("alerts.txt").splitlines()
except Exception:
    alerts = []
hermes.glue("alerts", len(alerts))
"""
RETRIES = """
for attempt in range(3):
    try:
        hosts = hermes.read_file("hosts.txt")
        break
    except Exception:
        pass
print(hosts)
"""


def test_faults_tell_what_copes_what_crashes_and_what_is_wrong_in_silence(machine: Machine) -> None:
    runner = Runner(machine.workspace, "hermes")
    for name in ("alerts", "hosts", "limits"):
        (machine.workspace / f"{name}.txt").write_text("one\ntwo\n")
    assert runner.run(HIDES, RETRIES, "hermes.read_file('limits.txt')")["status"] == "success"
    command = [Path(sys.executable).parent / "hermes-runtime", "faults", "in.ipynb", "--tape", "out.tape", "--json"]
    done = subprocess.run(
        [*command, "--kind", "provider"],
        cwd=machine.workspace,
        env={**os.environ, **machine.variables},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 1, done.stderr
    verdicts = {found["cell_index"]: found["verdict"] for found in json.loads(done.stdout)}
    assert verdicts == {0: "wrong", 1: "copes", 2: "crashes"}
    told = done.stderr.splitlines()
    assert told[0].startswith("3 faults, each with a kernel of its own")
    assert [(line.split()[0], line.split()[-1]) for line in told[1:]] == [
        ("[1/3]", "wrong"),
        ("[2/3]", "copes"),
        ("[3/3]", "crashes"),
    ]

    with subprocess.Popen(
        command, cwd=machine.workspace, env={**os.environ, **machine.variables}, stderr=subprocess.PIPE, text=True
    ) as again:
        assert again.stderr is not None
        again.stderr.readline()
        again.send_signal(signal.SIGINT)
        assert again.wait(60) == 130  # all of it, not the one replay that went on
    machine.wait_until_clean()
