"""What a cell can reach that it shouldn't: tried by a cell, with baits laid out here, and judged by what became of them.

Each attempt gives its loot: nothing, if it was stopped. The cell's word is not all: the host looks at its own listeners and
folders as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from host_bridge.doctor.finding import Finding, failure, ok, warning

UNCONFINED = "none"
DEFECT = "don't run notebooks you don't trust here, and report this as a defect, with what stands above"
BAIT_VARIABLE = "HERMES_DOCTOR_BAIT"
CONNECT_SECONDS = 2.0

ATTEMPTS = {
    "files outside": "read a file outside of the workspace",
    "write outside": "write outside of the workspace",
    "TCP": "connect to a server on this machine",
    "UDP": "send a datagram to this machine",
    "unix sockets": "connect to a socket by its path",
    "abstract socket": "connect to a socket by its name",
    "processes": "look into the host's processes",
    "environment": "read the host's variables",
}
"""What is tried, and what it means."""

NETWORK = frozenset({"TCP", "UDP", "abstract socket"})  # what the host's own network gives back

_CELL = """
import glob, json, os, socket

bait = json.loads(BAIT)
def read(path):
    with open(path, "rb") as file:
        return file.read(2**20).decode(errors="replace")
def write():
    with open(bait["new_file"], "w") as file:
        file.write(bait["mark"])
    return bait["new_file"]
def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(bait["seconds"])
        one.connect(address)
        one.send(bait["mark"].encode())
    return str(address)
def processes():
    found = []
    for folder in glob.glob("/proc/[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                text = read(f"{folder}/{name}")
            except OSError:
                continue
            if bait["mark"] in text or "host_bridge.bridge" in text:
                found.append(f"{folder}/{name}")
    return found
attempts = {
    "files outside": lambda: bait["mark"] in read(bait["file"]),
    "write outside": write,
    "TCP": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", bait["tcp"])),
    # Sent is not received: the sandbox has a loopback interface of its own. The host looks what came.
    "UDP": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", bait["udp"])) and None,
    "unix sockets": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, bait["socket"]),
    "abstract socket": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + bait["name"]),
    "processes": processes,
    "environment": lambda: [name for name, value in os.environ.items() if bait["mark"] in value],
}
results = {}
for name, attempt in attempts.items():
    try:
        results[name] = {"loot": attempt() or None, "error": ""}
    except Exception as error:
        results[name] = {"loot": None, "error": f"{type(error).__name__}: {error}"}
print(json.dumps(results))
"""


@dataclasses.dataclass(slots=True)
class Bait:
    """What lies ready for a cell that gets out.

    Attributes:
        cell: The code that tries.
    """

    cell: str
    _listeners: Mapping[str, socket.socket]
    _new_file: Path

    def taken(self) -> set[str]:
        """Give the attempts that left a trace on the host."""
        found = {"write outside"} if self._new_file.exists() else set()
        for name, listener in self._listeners.items():
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
                found.add(name)
        return found


@contextlib.contextmanager
def bait() -> Iterator[Bait]:
    """Lay out the baits. The variable has to be there when the kernel starts, so do this before."""
    mark = secrets.token_hex(16)
    os.environ[BAIT_VARIABLE] = mark
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="doctor-")))
            (folder / "secret.txt").write_text(mark)
            addresses: dict[str, tuple[int, int, Any]] = {
                "TCP": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
                "UDP": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
                "unix sockets": (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
            }
            if os.uname().sysname == "Linux":
                addresses["abstract socket"] = (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{mark}")
            listeners = {name: stack.enter_context(_listener(*address)) for name, address in addresses.items()}
            facts = {
                "mark": mark,
                "seconds": CONNECT_SECONDS,
                "file": str(folder / "secret.txt"),
                "new_file": str(folder / "new.txt"),
                "tcp": listeners["TCP"].getsockname()[1],
                "udp": listeners["UDP"].getsockname()[1],
                "socket": str(folder / "socket"),
                "name": mark,
            }
            yield Bait(_CELL.replace("BAIT", repr(json.dumps(facts)), 1), listeners, folder / "new.txt")
    finally:
        os.environ.pop(BAIT_VARIABLE, None)


def judge(printed: str, taken: set[str], confinement: str) -> Iterator[Finding]:
    """Say what came of each attempt.

    Args:
        printed: What the cell printed.
        taken: What the host saw.
        confinement: The one in force, as results name it.
    """
    results = _read(printed)
    if results is None:
        yield failure("escapes", "the cell that tries to get out didn't say what came of it", DEFECT)
        return
    escaped = [name for name in ATTEMPTS if name in taken or results[name]["loot"]]
    if confinement == UNCONFINED:
        could = ", ".join(ATTEMPTS[name] for name in escaped) or "do none of what was tried"
        remedy = 'take backend = "none" out of [sandbox] in the configuration to have kernels confined'
        yield warning("escapes", f"a cell is not confined, as declared; it could {could}", remedy, escaped=escaped)
        return
    for name, meaning in ATTEMPTS.items():
        if name not in escaped:
            yield ok(name, f"a cell can't {meaning}", error=results[name]["error"])
        elif name in NETWORK and "network full" in confinement:
            yield warning(name, f"a cell can {meaning}, as declared", 'set network = "none" under [sandbox]')
        else:
            yield failure(name, f"a cell could {meaning}, although it is confined by {confinement}", DEFECT)


def _listener(family: int, kind: int, address: Any) -> socket.socket:
    listener = socket.socket(family, kind)
    try:
        listener.bind(address)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _read(printed: str) -> dict[str, dict[str, Any]] | None:
    try:
        results = json.loads(printed)
        return {name: {"loot": results[name]["loot"], "error": str(results[name]["error"])} for name in ATTEMPTS}
    except (ValueError, TypeError, KeyError):
        return None
