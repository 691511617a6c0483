"""What a tape costs, and how quickly it is replayed.

(a) round trips of a small `read_file` in two sessions at once, one that records and one that doesn't, in alternating rounds;
(b) the same calls answered from the tape;
(c) a bulk read, recorded and not.

A session of ours without a tape is the peer: what is asked is what recording adds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import zmq

from hermes_protocol.ticket import TICKET_VARIABLE, Ticket, encode_ticket
from host_bridge.control import SessionConfig, TapeOrders
from host_bridge.provisioning.session import BridgeSession

AIM = 0.15  # of the call
_CLIENT = """
import sys, time, hermes_runtime as hermes
for line in sys.stdin:
    what, count = line.split()
    started = time.perf_counter()
    times = []
    for number in range(int(count)):
        before = time.perf_counter()
        content = hermes.read_file("small.txt") if what == "small" else hermes.read_bytes("large.bin")
        times.append(time.perf_counter() - before)
    print(*times, flush=True)
"""


@contextmanager
def client(folder: Path, name: str, tape: TapeOrders) -> Iterator[subprocess.Popen[str]]:
    """A process that makes calls, and the session that serves it."""
    server, kernel = ([key.decode() for key in zmq.curve_keypair()] for _ in range(2))
    config = SessionConfig(
        session_id=name,
        endpoint=f"ipc://{folder}/{name}",
        server_public_key=server[0],
        server_secret_key=server[1],
        workspace=str(folder / "workspace"),
        audit_path=str(folder / f"{name}.jsonl"),
        environment={"PATH": os.environ["PATH"]},
        tape=tape,
    )
    with BridgeSession() as bridge:
        bridge.start(config)
        bridge.kernel_starting(kernel[0])
        ticket = Ticket(
            session_id=name,
            endpoint=bridge.wait_ready(30),
            server_public_key=server[0],
            public_key=kernel[0],
            secret_key=kernel[1],
        )
        variables = {**os.environ, TICKET_VARIABLE: encode_ticket(ticket)}
        with subprocess.Popen(
            [sys.executable, "-c", _CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        ) as process:
            process.session_pid = bridge.pid  # type: ignore[attr-defined]
            yield process
            assert process.stdin is not None
            process.stdin.close()


def measure(process: subprocess.Popen[str], what: str, count: int) -> list[float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what} {count}\n")
    process.stdin.flush()
    return [float(text) for text in process.stdout.readline().split()]


def processor_seconds(client: subprocess.Popen[str]) -> float:
    """What both ends have used: says more than the clock where other work goes on."""
    ends = (client.pid, client.session_pid)  # type: ignore[attr-defined]
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--megabytes", type=int, default=64)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hbench-", dir="/tmp"))
    (folder / "workspace").mkdir()
    (folder / "workspace" / "small.txt").write_text("a small file\n" * 5)
    (folder / "workspace" / "large.bin").write_bytes(os.urandom(1 << 20) * options.megabytes)
    try:
        with ExitStack() as stack:
            bare = stack.enter_context(client(folder, "bare", TapeOrders()))
            recorded = stack.enter_context(client(folder, "recorded", TapeOrders(path=str(folder / "tape"))))
            compare(bare, recorded, options)
        total = options.rounds * options.calls
        with client(folder, "replay", TapeOrders(mode="replay", earlier=str(folder / "tape"))) as replayed:
            started = time.perf_counter()
            times = measure(replayed, "small", total)
            seconds = time.perf_counter() - started
            print(f"(b) replay: p50 {statistics.median(times) * 1e6:.0f} us, {total / seconds:,.0f} calls a second")
        print(f"    the tape: {(folder / 'tape').stat().st_size / 2**20:.1f} MiB")
    finally:
        shutil.rmtree(folder)


def compare(bare: subprocess.Popen[str], recorded: subprocess.Popen[str], options: argparse.Namespace) -> None:
    measure(bare, "small", options.calls)
    plain, taped, ratios, work = [], [], [], {bare: 0.0, recorded: 0.0}
    for number in range(options.rounds):
        first, second = (bare, recorded) if number % 2 else (recorded, bare)
        medians = {}
        for one in (first, second):
            before = processor_seconds(one)
            medians[one] = statistics.median(measure(one, "small", options.calls))
            work[one] += processor_seconds(one) - before
        plain.append(medians[bare])
        taped.append(medians[recorded])
        ratios.append(medians[recorded] / medians[bare] - 1)
    print(
        f"(a) small read_file, p50: {statistics.median(plain) * 1e6:.0f} us without, "
        f"{statistics.median(taped) * 1e6:.0f} us with a tape: {statistics.median(ratios):+.1%} (aim: under {AIM:.0%})"
    )
    each = {one: seconds / options.rounds / options.calls * 1e6 for one, seconds in work.items()}
    print(
        f"    processor time a call, kernel's side and session: {each[bare]:.0f} us without, {each[recorded]:.0f} us with: "
        f"{each[recorded] / each[bare] - 1:+.1%}"
    )
    size = options.megabytes
    without, with_tape = (min(measure(one, "large", 3)) for one in (bare, recorded))
    print(f"(c) read of {size} MiB: {size / without:.0f} MiB/s without, {size / with_tape:.0f} MiB/s with a tape")


if __name__ == "__main__":
    main()
