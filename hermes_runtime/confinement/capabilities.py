"""Gives up all of Linux's capabilities for good: for root on the host, which no user namespace has made harmless."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

from hermes_runtime.confinement import system

_VERSION_3 = 0x2008_0522
# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each with its lock: a program of root's is one like any other
_SECURE_BITS = 0x2F | 0xC0
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")


def drop_all() -> None:
    """Empty every set, the bounding one too. Does nothing for a process that has none to give up.

    Raises:
        OSError: The system refused; nothing may run.
    """
    if effective() == 0:
        return
    system.prctl(system.PR_SET_SECUREBITS, _SECURE_BITS)
    for capability in range(int(_LAST_CAPABILITY.read_text()) + 1):
        system.prctl(system.PR_CAPBSET_DROP, capability)
    system.prctl(system.PR_CAP_AMBIENT, system.PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _VERSION_3, 0)
    nothing = ctypes.create_string_buffer(24)
    system.check(system.library().capset(header, nothing), "capset")


def effective() -> int:
    """The effective set, one bit for each capability."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
