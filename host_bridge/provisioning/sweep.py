"""Removing what a crashed host left: folders, sockets, connection files, processes. Never what is in use."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import time
from pathlib import Path

from host_bridge.limits.cgroups import end_groups, remove_abandoned
from host_bridge.rundirs.processes import (
    ProcessIdentity,
    identify,
    kill_session,
    machine_state,
    send_signal,
    wait_for_end,
)
from host_bridge.rundirs.records import (
    MAX_RECORD_BYTES,
    host_lives,
    open_folder,
    read_record,
    run_folders,
    self_folders,
    take_lock,
)
from host_bridge.rundirs.rundir import OwnerRecord, remove_tree
from host_bridge.sandbox.covers import remove_covers
from host_bridge.tools.orphans import end_left_behind

UNRECORDED_SECONDS = 600.0  # a folder without a record may be about to get one
BRIDGE_END_SECONDS = 5.0  # a session process that lost its host is ending its commands; give it the time

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did.

    Attributes:
        removed: Folders removed.
        killed: Numbers of the processes killed.
    """

    removed: tuple[str, ...] = ()
    killed: tuple[int, ...] = ()


def sweep() -> SweepReport:
    """Look through every place a run directory may lie in, and remove what no living host owns."""
    removed: list[str] = []
    killed: list[int] = []
    for path in run_folders():
        pids = _sweep_one(path)
        if pids is not None:
            removed.append(path)
            killed += pids
    removed += filter(_removed_if_left, self_folders())
    if removed:
        _log.info("removed what a crashed host left: %s; ended processes: %s", removed, killed or "none")
    remove_abandoned()
    return SweepReport(tuple(removed), tuple(killed))


def _removed_if_left(path: str) -> bool:
    """Remove the home of a kernel that confined itself, and so couldn't do it at its end; False if it was left alone."""
    descriptor = open_folder(path)
    if descriptor is None:
        return False
    try:
        if not take_lock(descriptor):
            return False
        remove_tree(path)
        return True
    finally:
        os.close(descriptor)


def _sweep_one(path: str) -> list[int] | None:
    """Remove one folder if nobody owns it. Gives the processes killed, or None if it was left alone."""
    descriptor = open_folder(path)
    if descriptor is None:
        return None
    try:
        record = read_record(descriptor)
        if record is None and time.time() - os.fstat(descriptor).st_mtime < UNRECORDED_SECONDS:
            return None
        if not take_lock(descriptor) or (record and host_lives(record)):
            return None
        killed = _end_processes(record) if record else []
        if record:
            _remove_connection_file(record.connection_file, path)
            remove_covers(record.covers, path)
        remove_tree(path)
        return killed
    finally:
        os.close(descriptor)


def _end_processes(record: OwnerRecord) -> list[int]:
    if record.machine_state != machine_state():
        return []  # the numbers belong to another container or to the time before a restart
    killed = kill_session(record.kernel) if record.kernel else []
    killed += [pid for pid in end_groups(record.groups) if pid not in killed]
    if record.bridge and _end_bridge(record.bridge):
        killed.append(record.bridge.pid)
    if record.bridge and identify(record.bridge.pid) is None:
        # Its commands carry its number, which is theirs alone as long as no other process has it.
        end_left_behind(record.bridge.pid)
    return killed


def _end_bridge(bridge: ProcessIdentity) -> bool:
    if not send_signal(bridge, signal.SIGTERM):
        return False
    if not wait_for_end(bridge, BRIDGE_END_SECONDS):
        send_signal(bridge, signal.SIGKILL)
    return True


def _remove_connection_file(name: str, run_directory: str) -> None:
    """Remove a kernel's connection file, if it is one that leads into the folder being removed."""
    if not name:
        return
    path = Path(name)
    try:
        if path.is_symlink() or path.stat().st_size > MAX_RECORD_BYTES:
            return
        if str(json.loads(path.read_bytes())["ip"]).startswith(f"{run_directory}/"):
            path.unlink()
    except (OSError, ValueError, TypeError, KeyError):
        _log.debug("left the connection file %s alone", name)
