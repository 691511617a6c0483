"""Limits by control groups of version 2, in a part of the tree that somebody delegated to this user.

A group that has processes of its own can't have limited groups below it, so the kernel's lies beside or above the one this
process is in: in the nearest that has the controllers on and lets us, or in the one the configuration names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from host_bridge.limits import cgroups
from host_bridge.limits.cgroups import GroupLimits

CONTROLLERS = {"memory": "memory", "processes": "pids", "cpus": "cpu"}
PERIOD_MICROSECONDS = 100_000  # the system's own


class CgroupV2:
    """Groups of version 2.

    Args:
        parent: The group they are made in.
        kinds: What can be limited there.
    """

    name = "cgroup v2"

    def __init__(self, parent: str, kinds: frozenset[str]) -> None:
        self._parent = parent
        self.kinds = kinds

    def group(self, name: str, limits: GroupLimits) -> CgroupV2Group:
        """Give a group; nothing is made yet."""
        return CgroupV2Group(f"{self._parent}/{name}", self.kinds, limits)


class CgroupV2Group:
    """One kernel's folder."""

    variables: Mapping[str, str] = {}

    def __init__(self, folder: str, kinds: frozenset[str], limits: GroupLimits) -> None:
        self._kinds = kinds
        self._limits = limits
        self.folders = (folder,)
        self.prefix = cgroups.enter_prefix(self.folders)

    def make(self) -> None:
        """See `Group`."""
        [folder] = self.folders
        cgroups.make_folder(folder, settings(self._kinds, self._limits))

    def count_memory_kills(self) -> int:
        """See `Group`."""
        return cgroups.read_counter(f"{self.folders[0]}/memory.events", "oom_kill")


def settings(kinds: frozenset[str], limits: GroupLimits) -> list[tuple[str, str]]:
    """Give the files to write, in order."""
    files = []
    if "memory" in kinds:
        files.append(("memory.max", str(limits.memory_bytes or "max")))
    if "processes" in kinds:
        files.append(("pids.max", str(limits.processes or "max")))
    if "cpus" in kinds:
        quota = str(int(limits.cpus * PERIOD_MICROSECONDS)) if limits.cpus else "max"
        files.append(("cpu.max", f"{quota} {PERIOD_MICROSECONDS}"))
    return files


def find(named: str = "") -> tuple[CgroupV2 | None, str]:
    """Give the mechanism if it works here, else the problem.

    Args:
        named: The group that the configuration names; empty to look for one.
    """
    mounts, membership = cgroups.this_machine()
    mount = next((mount for mount in mounts if mount.version == 2), None)
    if mount is None or cgroups.own_folder(mount, membership) is None:
        return None, "not mounted"
    problem = "no group above this process has the controllers memory and pids on"
    for parent in [named] if named else cgroups.places(mount, membership):
        if named:
            _turn_on(named)
        kinds = frozenset(kind for kind, controller in CONTROLLERS.items() if controller in _turned_on(parent))
        if not {"memory", "processes"} <= kinds:
            continue
        mechanism = CgroupV2(parent, kinds)
        problem = cgroups.try_group(mechanism, _files)
        if not problem:
            return mechanism, ""
    return None, problem


def _turned_on(folder: str) -> list[str]:
    try:
        return Path(folder, "cgroup.subtree_control").read_text().split()
    except OSError:
        return []


def _turn_on(folder: str) -> None:
    for controller in CONTROLLERS.values():
        try:
            cgroups.write(f"{folder}/cgroup.subtree_control", f"+{controller}")
        except OSError:
            continue  # what is missing afterwards is reported


def _files(group: cgroups.Group) -> list[str]:
    [folder] = group.folders
    return [f"{folder}/memory.max", f"{folder}/pids.max"]
