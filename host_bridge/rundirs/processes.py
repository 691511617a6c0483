"""Processes by identity: a number and the moment it began, so that a reused number is never mistaken for the process."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_POLL_SECONDS = 0.05
# Positions in /proc/PID/stat counted from the field after the command name, see proc_pid_stat(5).
_STATE, _START_TIME = 0, 19


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process.

    Attributes:
        pid: Its number.
        start_time: When it began, in clock ticks since the system started; empty where the system doesn't say.
    """

    pid: int
    start_time: str = ""


def identify(pid: int) -> ProcessIdentity | None:
    """Give the identity of the process that has this number now; None when there is none."""
    if not _PROC.is_dir():  # macOS: the number has to do
        return ProcessIdentity(pid) if _number_is_used(pid) else None
    fields = _stat_fields(pid)
    return ProcessIdentity(pid, fields[_START_TIME]) if fields and fields[_STATE] not in "ZX" else None


def is_running(process: ProcessIdentity) -> bool:
    """Whether this very process still runs."""
    return identify(process.pid) == process


def machine_state() -> str:
    """Names the run of the system, and the container, in which process numbers mean anything; empty where unknown."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def send_signal(process: ProcessIdentity, signum: int) -> bool:
    """Signal this very process. Gives False when it doesn't run any more or belongs to somebody else."""
    try:
        if not hasattr(os, "pidfd_open"):
            if not is_running(process):
                return False
            os.kill(process.pid, signum)
            return True
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The descriptor pins the process, so what is checked is what gets the signal.
        if not is_running(process):
            return False
        signal.pidfd_send_signal(descriptor, signum)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_for_end(process: ProcessIdentity, timeout_seconds: float) -> bool:
    """Wait until this very process, which need not be a child, is over. Gives whether it is."""
    deadline = time.monotonic() + timeout_seconds
    if not hasattr(os, "pidfd_open"):
        while is_running(process) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return not is_running(process)
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return True
    try:
        if is_running(process):
            select.select([descriptor], [], [], timeout_seconds)
        return not is_running(process)
    finally:
        os.close(descriptor)


def session_members(leader: ProcessIdentity) -> Iterator[ProcessIdentity]:
    """Give the processes of the session that `leader` began, whether or not it still runs itself.

    A number stays taken while a session or group of that number has members. So a process of another start time under the
    leader's number proves that its session is gone.
    """
    if not leader.start_time:
        return
    now = identify(leader.pid)
    if now is not None and now != leader:
        return
    for name in (entry.name for entry in os.scandir(_PROC)):
        if name.isdigit() and _session(int(name)) == leader.pid:  # ten times quicker than reading every one's state
            fields = _stat_fields(int(name))
            if fields and fields[_STATE] not in "ZX" and int(fields[_START_TIME]) >= int(leader.start_time):
                yield ProcessIdentity(int(name), fields[_START_TIME])


def kill_session(leader: ProcessIdentity) -> list[int]:
    """Kill every process of the session that `leader` began. Gives their numbers."""
    return [member.pid for member in session_members(leader) if send_signal(member, signal.SIGKILL)]


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the command name before it may hold anything, parentheses too


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _number_is_used(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
