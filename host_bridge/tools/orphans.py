"""Ends what commands left behind, even what left their process group: daemons that forked twice and called setsid.

On Linux this process becomes the parent of every descendant that loses its own (a *subreaper*). Which command such an orphan
came from is told by a mark that fork and exec hand on and that a process can't shed by clearing its environment: the limit
of real-time CPU microseconds, set to a number no process could ever use up. Odd numbers are commands'; between commands this
process carries an even one, so that children other code starts are never taken for orphans.

This is tidiness, not a boundary: whoever may run any command can also ask a service of the host to run something later.
Where there is no such thing (macOS), process groups are all there is.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_FIRST_MARK = 2**62  # microseconds: 146,000 years; half of what the kernel's type holds
_SWEEP_SECONDS = 2.0

OWNER_VARIABLE = "HERMES_RUNTIME_OWNER"
"""Set in every command to the id of the process that started it, for `end_left_behind`."""


class Orphans:
    """The marks that were given out, and who still carries one. There is one per process, as the mark is the process's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sweeping = threading.Lock()
        self._live: set[int] = set()
        self._mark: int | None = None
        self._newest_mark = self._oldest_mark = 0

    @contextlib.contextmanager
    def marking(self) -> Iterator[int | None]:
        """Give children started inside a mark of their own; None where marks don't exist. For one thread at a time."""
        if self._mark is None:
            self._mark = self._oldest_mark = _become_subreaper()
        if self._mark == 0:
            yield None
            return
        # Downward, because only root may raise a limit again.
        mark = self._newest_mark = self._mark - 1
        with self._lock:
            self._live.add(mark)
        _set_mark(mark)
        try:
            yield mark
        except BaseException:
            self._live.discard(mark)
            raise
        finally:
            self._mark = mark - 1
            _set_mark(self._mark)

    def end(self, mark: int | None) -> None:
        """End all that carries `mark`: its command is over and its main process reaped."""
        if mark is None:
            return
        with self._lock:
            self._live.discard(mark)
        self.sweep()

    def sweep(self) -> None:
        """End and reap the orphans of all commands that are over, waiting two seconds at most."""
        deadline = time.monotonic() + _SWEEP_SECONDS
        with (
            self._sweeping
        ):  # one at a time: nobody else reaps these, so an id can't become another process's meanwhile
            # Again and again, because the children of what was ended arrive here only when it is gone.
            while (found := self._of_ended_commands()) and time.monotonic() < deadline:
                for pid in found:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                _reap(found, deadline)

    def _of_ended_commands(self) -> list[int]:
        return [pid for pid in _children() if self._is_left_over(_mark_of(pid))]

    def _is_left_over(self, mark: int) -> bool:
        return self._newest_mark <= mark < self._oldest_mark and mark % 2 == 1 and mark not in self._live


ORPHANS = Orphans()


def end_left_behind(owner: int) -> int:
    """End all commands of a session process that is gone without having ended them itself (killed, out of memory).

    Call it after the process was reaped, from the process that started it.

    Args:
        owner: The id it had.

    Returns:
        How many processes were ended.
    """
    mine = f"{OWNER_VARIABLE}={owner}".encode()
    ended = 0
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if entry.name.isdigit() and _kill_if(int(entry.name), mine):
            ended += 1
    return ended


def _kill_if(pid: int, variable: bytes) -> bool:
    if sys.platform != "linux":
        return False
    try:
        handle = os.pidfd_open(pid)  # first: what is read afterwards is about this very process
    except OSError:
        return False
    try:
        if variable not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    except OSError:
        return False  # gone, or another user's: not ours to end
    finally:
        os.close(handle)


def _become_subreaper() -> int:
    """Give the first even mark, 0 where there can be none."""
    if sys.platform != "linux":
        return 0
    import ctypes

    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        return 0
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    if hard != resource.RLIM_INFINITY and hard < _FIRST_MARK // 2:
        return 0  # somebody means this limit: leave it alone
    first = _FIRST_MARK if hard == resource.RLIM_INFINITY else hard - hard % 2
    try:
        _set_mark(first)
    except (OSError, ValueError):
        return 0  # an emulated kernel that doesn't have this limit
    return first


def _set_mark(mark: int) -> None:
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))


def _children() -> list[int]:
    found: list[int] = []
    for task in os.scandir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"{task.path}/children") as file:
            found.extend(map(int, file.read().split()))
    return found


def _mark_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/limits") as file:
            line = next(line for line in file if line.startswith("Max realtime timeout"))
        return int(line.split()[4])
    except (OSError, ValueError, StopIteration):
        return 0  # gone meanwhile, or unlimited: not marked


def _reap(pids: list[int], deadline: float) -> None:
    left = list(pids)
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if not _is_reaped(pid)]
        if left:
            time.sleep(0.001)  # a killed process needs a moment to die; nothing announces it for a whole list


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
