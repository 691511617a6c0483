"""What confining a kernel costs: ours confined, against ours unconfined and against plain ipykernel, in the same rounds.

(a) ready: from the request to start until the kernel's first answer, bridge session included where there is one;
(b) memory: what the kernel, and the sandbox around it, take of the machine once it is ready (proportional set size);
(c) call: a small `read_file` from a cell, which the sandbox lets through to the bridge;
(d) files: opening and closing a file of the workspace, and looking one up, which Landlock and seccomp each have a look at.

Rounds alternate between the contestants, and differences are taken within a round, so a machine whose speed drifts drifts for
all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host_bridge.executor.kernel import RunningKernel
from host_bridge.provisioning.options import LaunchOptions

WAIT_SECONDS = 60.0
CONTESTANTS = ("confined", "plain", "ipykernel")
AIM_SECONDS = 0.035
"""What a prototype was measured to add to a kernel's start."""

FILES = """
import json, os, time
def microseconds(action, times=20_000):
    begun = time.perf_counter()
    for _ in range(times): action()
    return (time.perf_counter() - begun) / times * 1e6
result = {"open": microseconds(lambda: os.close(os.open("small.txt", os.O_RDONLY))),
          "stat": microseconds(lambda: os.stat("small.txt")),
          "read": (lambda f: microseconds(lambda: os.pread(f, 16, 0)))(os.open("small.txt", os.O_RDONLY))}
"""
CALLS = """
import statistics, hermes_runtime
def call():
    begun = time.perf_counter(); hermes_runtime.read_file("small.txt"); return (time.perf_counter() - begun) * 1e6
for _ in range(50): call()
result["call"] = statistics.median(call() for _ in range(1000))
"""
TELL = "print(json.dumps(result))"


class Contest:
    """One contestant's kernel."""

    def __init__(self, contestant: str, workspace: Path) -> None:
        self.has_bridge = contestant != "ipykernel"
        launch = LaunchOptions(confinement="bubblewrap" if contestant == "confined" else "none")
        begun = time.perf_counter()
        name = "hermes" if self.has_bridge else "python3"
        self.kernel = RunningKernel.start(name, cwd=str(workspace), launch=launch)
        self.client = self.kernel.client
        request = self.client.kernel_info()
        self._reply(request)
        self.ready_seconds = time.perf_counter() - begun

    def _reply(self, request: str) -> dict[str, Any]:
        while (reply := self.client.get_shell_msg(timeout=WAIT_SECONDS))["parent_header"].get("msg_id") != request:
            pass
        content: dict[str, Any] = reply["content"]
        return content

    def run(self, code: str) -> str:
        request = self.client.execute(code)
        printed = ""
        while True:
            message = self.client.get_iopub_msg(timeout=WAIT_SECONDS)
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            if message["msg_type"] == "error":
                raise SystemExit(f"the benchmark's cell failed: {content['ename']}: {content['evalue']}")
            printed += content.get("text", "")
            if content.get("execution_state") == "idle":
                self._reply(request)
                return printed

    def memory_bytes(self) -> int:
        """Give the proportional set size of the kernel's process and of those that are there for it alone."""
        process = self.kernel._manager.provisioner.process
        return sum(_proportional_set_size(pid) for pid in _with_descendants(process.pid))

    def inner_costs(self) -> dict[str, float]:
        costs: dict[str, float] = json.loads(self.run(FILES + (CALLS if self.has_bridge else "") + TELL))
        return costs

    def end(self) -> None:
        self.kernel.end()


def _with_descendants(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _with_descendants(int(child))


def _proportional_set_size(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


def measure(rounds: int, workspace: Path) -> dict[str, dict[str, list[float]]]:
    times: dict[str, dict[str, list[float]]] = {contestant: {} for contestant in CONTESTANTS}
    for number in range(rounds + 1):
        order = CONTESTANTS if number % 2 else CONTESTANTS[::-1]
        for contestant in order:
            contest = Contest(contestant, workspace)
            try:
                found = {
                    "ready": contest.ready_seconds,
                    "memory": float(contest.memory_bytes()),
                    **contest.inner_costs(),
                }
            finally:
                contest.end()
            if number:  # the first round warms the machine's caches
                for name, value in found.items():
                    times[contestant].setdefault(name, []).append(value)
    return times


def report(times: dict[str, dict[str, list[float]]]) -> None:
    shown = {"ready": ("ready", 1e3, "ms"), "memory": ("memory", 2**-20, "MiB"), "call": ("read_file p50", 1, "us")}
    shown |= {name: (f"{name} a file", 1, "us") for name in ("open", "stat", "read")}
    print("| | confined | plain | ipykernel | confined - plain | confined / plain |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (title, factor, unit) in shown.items():
        confined, plain = times["confined"][name], times["plain"][name]
        values = [times[contestant].get(name) for contestant in CONTESTANTS]
        cells = [f"{statistics.median(value) * factor:.2f} {unit}" if value else "" for value in values]
        difference = statistics.median(a - b for a, b in zip(confined, plain, strict=True)) * factor
        ratio = statistics.median(a / b for a, b in zip(confined, plain, strict=True))
        print(f"| {title} | {' | '.join(cells)} | {difference:+.2f} {unit} | {ratio:.2f} |")
    added = statistics.median(a - b for a, b in zip(times["confined"]["ready"], times["plain"]["ready"], strict=True))
    print(f"\nready: {added * 1e3:+.0f} ms confined; aimed for at most {AIM_SECONDS * 1e3:+.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="hermes-bench-", dir="/var/tmp") as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        (workspace / "small.txt").write_text("x" * 100)
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        os.environ["XDG_CONFIG_HOME"] = f"{folder}/config"
        config = Path(folder, "config", "hermes-runtime", "config.toml")
        config.parent.mkdir(parents=True)
        config.write_text("[budgets]\ncalls = 1000000\n")
        print(f"{rounds} rounds, medians; differences and ratios within rounds\n")
        report(measure(rounds, workspace))


if __name__ == "__main__":
    main()
