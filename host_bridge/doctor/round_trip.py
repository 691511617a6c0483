"""A real call through everything: a kernel is started, a cell in it reads a file through the bridge, the log is verified.

A second cell of that kernel then tries to get out (`host_bridge.doctor.escapes`).
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host_bridge.doctor import escapes
from host_bridge.doctor.finding import Finding, failure, ok
from host_bridge.doctor.kernels import KERNEL_NAME
from host_bridge.errors import HostBridgeError

_SECONDS = 60.0  # a cold kernel on a loaded machine takes a few
_CALLS = 50
_TEXT = "the file the doctor reads\n"
_CELL = f"""
import json, statistics, time
import hermes_runtime as hermes
times = []
for _ in range({_CALLS}):
    begin = time.perf_counter()
    text = hermes.read_file("probe.txt")
    times.append(time.perf_counter() - begin)
print(json.dumps({{"text": text, "first": times[0], "median": statistics.median(times)}}))
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Told:
    """What a kernel said.

    Attributes:
        answer: Of the cell that calls.
        escapes: Printed by the cell that tries to get out.
        start_seconds: Until it was ready.
        confinement: Of its session.
        limits: The same.
    """

    answer: dict[str, Any]
    escapes: str
    start_seconds: float
    confinement: str
    limits: str


def examine() -> Iterator[Finding]:
    """Make the round trip, and try to get out."""
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        (workspace / "probe.txt").write_text(_TEXT)
        yield from _round_trip(workspace, Path(folder, "audit.jsonl"))


def _round_trip(workspace: Path, log: Path) -> Iterator[Finding]:
    from jupyter_client.kernelspec import NoSuchKernel  # a KeyError, for what another examination tells already

    begin = time.monotonic()
    try:
        with escapes.bait() as bait:
            told = _ask_kernel(workspace, log, bait.cell)
            taken = bait.taken()
        records = _verify(log)
    except (HostBridgeError, NoSuchKernel, OSError, RuntimeError, TimeoutError) as error:
        remedy = "mend what fails above; if nothing does, run `hermes-runtime --debug doctor`"
        yield failure("round trip", f"a kernel could not make a tool call: {error}", remedy)
        return
    yield _describe(told, records, time.monotonic() - begin)
    yield from escapes.judge(told.escapes, taken, told.confinement)


def _describe(told: _Told, records: int, seconds: float) -> Finding:
    answer, confinement = told.answer, told.confinement
    if answer["text"] != _TEXT:
        return failure("round trip", f"read_file gave {answer['text']!r}", "report this as a defect")
    facts = {
        "kernel_start_seconds": round(told.start_seconds, 3),
        "first_call_milliseconds": round(answer["first"] * 1e3, 3),
        "median_call_milliseconds": round(answer["median"] * 1e3, 3),
        "audit_records": records,
        "confinement": confinement,
        "kernel_limits": told.limits,
        "seconds": round(seconds, 3),
    }
    times = f"median {answer['median'] * 1e3:.2f} ms, first {answer['first'] * 1e3:.1f} ms"
    text = (
        f"kernel ready in {told.start_seconds:.2f} s (confinement: {confinement}); {_CALLS} × read_file, {times}; "
        f"{records} audit records verified"
    )
    return ok("round trip", text, **facts)


def _ask_kernel(workspace: Path, log: Path, escape: str) -> _Told:
    """Run the two cells in a kernel of their own."""
    from jupyter_client.manager import KernelManager

    from host_bridge.provisioning.options import LaunchOptions

    options = LaunchOptions(workspace=str(workspace), principal="doctor", profile="read-only", audit_path=str(log))
    manager = KernelManager(kernel_name=KERNEL_NAME)
    begin = time.monotonic()
    manager.start_kernel(hermes=options, cwd=str(workspace))
    try:
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=_SECONDS)
            started = time.monotonic() - begin
            provisioner: Any = manager.provisioner
            config = provisioner.session.config
            answer = json.loads(_execute(client, _CELL))
            return _Told(answer, _execute(client, escape), started, config.confinement, config.kernel_limits)
        finally:
            client.stop_channels()
    finally:
        manager.shutdown_kernel(now=False)


def _execute(client: Any, code: str) -> str:
    printed: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=_SECONDS, output_hook=collect, allow_stdin=False)
    content = reply["content"]
    if content["status"] != "ok":
        raise RuntimeError(f"{content.get('ename', 'aborted')}: {content.get('evalue', '')}")
    return "".join(printed)


def _verify(log: Path) -> int:
    from host_bridge.audit.log import verify

    return verify(log).records
