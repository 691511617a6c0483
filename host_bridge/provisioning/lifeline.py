"""Tying a kernel's life to this process by the operating system, whatever state either is in.

The kernel inherits the reading end of a pipe that tells the system to kill the kernel's process group when the writing end
closes. So a host that is killed takes its kernel along within a millisecond: also one whose threads are stuck in C code
(ipykernel's own poller is a thread), and with what it started in its group. `PR_SET_PDEATHSIG` would not do: it fires when the
*thread* that started the kernel ends, and needs code between fork and exec.
"""

from __future__ import annotations

import fcntl
import os
import signal


class Lifeline:
    """One kernel's. Pass `descriptor` to the kernel process, then `attach` it; `cut` kills it if it still runs, with its group.

    On systems without signal-driven pipes (macOS) nothing happens, and ipykernel's poller is what remains.
    """

    def __init__(self) -> None:
        self.descriptor, self._kept = os.pipe()

    def attach(self, group: int) -> None:
        """Bind the line to a process group that holds `descriptor`."""
        if hasattr(fcntl, "F_SETSIG"):
            fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(self.descriptor, fcntl.F_SETOWN, -group)
            flags = fcntl.fcntl(self.descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self.descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
        os.close(self.descriptor)
        self.descriptor = -1

    def cut(self) -> None:
        """Let go. May be called again."""
        for descriptor in (self.descriptor, self._kept):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self._kept = -1
