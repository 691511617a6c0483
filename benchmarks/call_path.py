"""What a tool call costs, against bare pyzmq in the same run.

(a) round trip: a small `read_file` through SDK, bridge, policy, audit and file system, against a ping-pong;
(b) throughput: calls per second with 64 in flight, against the same with bare messages;
(c) bulk: a large `read_bytes`, against bare chunks, with the reader's peak memory.

The peer runs twice, without encryption and with CURVE, which every session of ours uses. Rounds alternate between the
contestants, so a machine whose speed drifts drifts for both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq

from hermes_protocol.ticket import TICKET_VARIABLE, Ticket, encode_ticket
from host_bridge.control import SessionConfig
from host_bridge.provisioning.session import BridgeSession

IN_FLIGHT = 64
PAYLOAD = b"x" * 120  # about what a small request and its reply take


@contextmanager
def bare_client(folder: Path, file: Path, *, curve: bool) -> Iterator[zmq.Socket[bytes]]:
    """A DEALER connected to the bare peer's process."""
    endpoint = f"ipc://{folder}/{'curve' if curve else 'plain'}"
    server, client = zmq.curve_keypair(), zmq.curve_keypair()
    keys = [key.decode() for key in server] if curve else []
    peer = Path(__file__).with_name("bare_peer.py")
    with subprocess.Popen([sys.executable, str(peer), endpoint, str(file), *keys]) as process, zmq.Context() as context:
        dealer = context.socket(zmq.DEALER)
        if curve:
            dealer.curve_serverkey = server[0]
            dealer.curve_publickey, dealer.curve_secretkey = client
        dealer.connect(endpoint)
        try:
            yield dealer
        finally:
            dealer.send(b"end")
            process.wait(10)
            dealer.close(linger=0)


@contextmanager
def session(folder: Path) -> Iterator[None]:
    """A bridge session as the provisioner starts it, and the SDK's way to it."""
    server, kernel = ([key.decode() for key in zmq.curve_keypair()] for _ in range(2))
    config = SessionConfig(
        session_id="benchmark",
        endpoint=f"ipc://{folder}/bridge",
        server_public_key=server[0],
        server_secret_key=server[1],
        workspace=str(folder / "workspace"),
        audit_path=str(folder / "audit.jsonl"),
        environment={"PATH": os.environ["PATH"]},
    )
    with BridgeSession() as bridge:
        bridge.start(config)
        bridge.kernel_starting(kernel[0])
        ticket = Ticket(
            session_id="benchmark",
            endpoint=bridge.wait_ready(30),
            server_public_key=server[0],
            public_key=kernel[0],
            secret_key=kernel[1],
        )
        os.environ[TICKET_VARIABLE] = encode_ticket(ticket)
        yield


def ping(dealer: zmq.Socket[bytes]) -> None:
    dealer.send_multipart([PAYLOAD])
    dealer.recv_multipart()


def time_each(act: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return times


def bare_throughput(dealer: zmq.Socket[bytes], count: int) -> float:
    started = time.perf_counter()
    for _ in range(IN_FLIGHT):
        dealer.send_multipart([PAYLOAD])
    for _ in range(count - IN_FLIGHT):
        dealer.recv_multipart()
        dealer.send_multipart([PAYLOAD])
    for _ in range(IN_FLIGHT):
        dealer.recv_multipart()
    return count / (time.perf_counter() - started)


def our_throughput(count: int) -> float:
    import hermes_runtime as hermes

    async def worker(calls: int) -> None:
        for _ in range(calls):
            await hermes.aio.read_file("small.txt")

    async def together() -> None:
        await asyncio.gather(*(worker(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))

    started = time.perf_counter()
    asyncio.run(together())
    return count // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - started)


def bare_bulk(dealer: zmq.Socket[bytes], size: int) -> float:
    parts = []
    started = time.perf_counter()
    dealer.send(b"get")
    while len(piece := dealer.recv(copy=False)):
        parts.append(piece)
        dealer.send(b"")
    seconds = time.perf_counter() - started
    assert sum(len(part) for part in parts) == size
    return size / seconds


def our_bulk(size: int) -> float:
    import hermes_runtime as hermes

    started = time.perf_counter()
    content = hermes.read_bytes("large.bin")
    seconds = time.perf_counter() - started
    assert len(content) == size
    return size / seconds


def bulk_peak_bytes(size: int) -> int:
    """Peak memory of one read beyond the result, in a process of its own (the peak never falls)."""
    import hermes_runtime as hermes

    hermes.read_file("small.txt")
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        content = hermes.read_bytes("large.bin")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        Path("peak").write_text(str(peak * 1024 - len(content)))
        os._exit(0)
    os.waitpid(child, 0)
    return int(Path("peak").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="alternations between the contestants")
    parser.add_argument("--calls", type=int, default=400, help="round trips in each round")
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the bulk read")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hbench-", dir="/tmp"))
    (folder / "workspace").mkdir()
    (folder / "workspace" / "small.txt").write_text("a small file\n" * 5)
    large = folder / "workspace" / "large.bin"
    large.write_bytes(os.urandom(1 << 20) * options.megabytes)
    os.chdir(folder)
    try:
        with ExitStack() as stack:
            plain = stack.enter_context(bare_client(folder, large, curve=False))
            curve = stack.enter_context(bare_client(folder, large, curve=True))
            stack.enter_context(session(folder))
            run(plain, curve, options.rounds, options.calls, options.megabytes << 20)
    finally:
        shutil.rmtree(folder)


def run(plain: zmq.Socket[bytes], curve: zmq.Socket[bytes], rounds: int, calls: int, size: int) -> None:
    import hermes_runtime as hermes

    def call() -> object:
        return hermes.read_file("small.txt")

    contestants: dict[str, Callable[[], object]] = {
        "plain": lambda: ping(plain),
        "curve": lambda: ping(curve),
        "ours": call,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for act in contestants.values():
        time_each(act, calls)
    for _ in range(rounds):
        for name, act in contestants.items():
            times[name] += time_each(act, calls)
    p50 = {name: statistics.median(values) * 1e6 for name, values in times.items()}
    p99 = {name: statistics.quantiles(values, n=100)[98] * 1e6 for name, values in times.items()}
    print("| figure | bare pyzmq | bare pyzmq, CURVE | ours | ours / bare | ours / CURVE |")
    print("|---|---|---|---|---|---|")
    row("(a) small read_file, p50, us", p50["plain"], p50["curve"], p50["ours"])
    row("(a) small read_file, p99, us", p99["plain"], p99["curve"], p99["ours"])
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(max(3, rounds // 3)):
        rates["plain"].append(bare_throughput(plain, calls * 10))
        rates["curve"].append(bare_throughput(curve, calls * 10))
        rates["ours"].append(our_throughput(calls * 10))
    row("(b) calls/s, 64 in flight", *(statistics.median(rates[name]) for name in contestants))
    bulk: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(3):
        bulk["plain"].append(bare_bulk(plain, size))
        bulk["curve"].append(bare_bulk(curve, size))
        bulk["ours"].append(our_bulk(size))
    row(f"(c) {size >> 20} MiB read, MiB/s", *(statistics.median(bulk[name]) / 2**20 for name in contestants))
    print(f"\n(c) peak memory of the reader beyond the result: {bulk_peak_bytes(size) / 2**20:.0f} MiB")


def row(name: str, plain: float, curve: float, ours: float) -> None:
    print(
        f"| {name} | {plain:,.0f} | {curve:,.0f} | {ours:,.0f} | {ours / plain:.2f} | {ours / curve:.2f} |", flush=True
    )


if __name__ == "__main__":
    main()
