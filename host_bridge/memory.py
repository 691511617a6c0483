"""Keeps a session process small: a watchdog, and a limit behind it.

ZeroMQ collects a multipart message before anybody may refuse it, so a peer that never finishes one can grow this process
whatever the socket's options say. The watchdog ends the process, and with it one session, before the host feels it.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

CHECK_SECONDS = 0.1
HEADROOM_BYTES = 1 * 2**30  # address space for thread stacks and the moment between two checks

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """This process's resident memory, without the file pages it shares."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:  # no /proc (macOS): the peak is the best there is, and errs on the safe side
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (int(resident) - int(shared)) * _PAGE_BYTES


def limit_memory(limit_bytes: int) -> dict[int, tuple[int, int]]:
    """Have the system refuse memory well above `limit_bytes`.

    Returns:
        The limits as they were, for the commands this process starts.
    """
    original = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit_bytes + HEADROOM_BYTES
    hard = original[1]
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    return {resource.RLIMIT_DATA: original}


def watch_memory(limit_bytes: int, on_exceeded: Callable[[int], None]) -> threading.Event:
    """Call `on_exceeded` with the size, once, when this process grows above `limit_bytes`.

    Returns:
        Set it to stop watching.
    """
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(CHECK_SECONDS):
            size = resident_bytes()
            if size > limit_bytes:
                on_exceeded(size)
                return

    threading.Thread(target=watch, name="memory", daemon=True).start()
    return stop
