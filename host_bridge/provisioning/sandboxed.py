"""Finding the kernel in a sandbox: it is the child of the sandbox's first process, under another number than it sees itself."""

from __future__ import annotations

import os
from pathlib import Path


def kernel_process(first: int) -> int | None:
    """Give the kernel's process number on the host; None when it is gone.

    Args:
        first: The sandbox's first process, as bubblewrap reported it.
    """
    try:
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    except FileNotFoundError:
        return _search(first)  # a system built without CONFIG_PROC_CHILDREN, or the process is gone
    except OSError:
        return None
    return int(children[0]) if children else None


def _search(parent: int) -> int | None:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                status = Path(entry.path, "status").read_text()
            except OSError:
                continue
            if f"\nPPid:\t{parent}\n" in status:
                return int(entry.name)
    return None
