"""Sessions that record on a tape or answer from one, spoken to on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bare_kernel import BareKernel, Host, open_host, open_kernel

from hermes_protocol.messages import CallSite, ToolRequest
from host_bridge import control
from host_bridge.tape.reader import Recorded, TapeReader

ALLOW = (("test", 'version = 1\n[rules]\nallow = ["terminal", "read_file", "write_file(./**)", "process"]\n'),)


@contextmanager
def session(orders: control.TapeOrders, **fields) -> Iterator[tuple[Host, BareKernel]]:
    """A session that has said `Ready`, with cell 2 running."""
    with open_host(**{"policy_texts": ALLOW, "marks_cells": True, **fields}, tape=orders) as host:
        host.expect(control.Ready)
        host.send(control.CellStarted(index=2, cell_id="two", source_digest="d2"))
        with open_kernel(host) as kernel:
            kernel.greet()
            yield host, kernel


def ask(kernel: BareKernel, tool: str, line: int = 1, **arguments) -> int:
    call_id = kernel.connection.next_id()
    site = CallSite(cell="message", line=line)
    kernel.say(
        ToolRequest(id=call_id, tool=tool, arguments=arguments, timeout_seconds=15, window_bytes=1 << 20, site=site)
    )
    return call_id


def call(kernel: BareKernel, tool: str, line: int = 1, **arguments):
    return kernel.answer(ask(kernel, tool, line, **arguments))


def end(host: Host) -> control.Ended:
    host.send(control.End())
    return host.expect(control.Ended)


def recorded(path: Path) -> list[Recorded]:
    with TapeReader(str(path)) as tape:
        return tape.calls()


def answers(earlier: Path, **orders) -> control.TapeOrders:
    return control.TapeOrders(mode="replay", earlier=str(earlier), **orders)
