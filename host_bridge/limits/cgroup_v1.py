"""Limits by control groups of version 1: a folder in each controller's hierarchy, below the group this process is in.

Below, so that whatever limits this process limits its kernels as well.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from host_bridge.errors import SandboxError
from host_bridge.limits import cgroups
from host_bridge.limits.cgroups import GroupLimits

CONTROLLERS = {"memory": "memory", "processes": "pids", "cpus": "cpu"}
"""What limits what."""

PERIOD_MICROSECONDS = 100_000  # the system's own


class CgroupV1:
    """Groups of version 1.

    Args:
        parents: The group this process is in, by what can be limited there.
    """

    name = "cgroup v1"

    def __init__(self, parents: Mapping[str, str]) -> None:
        self._parents = dict(parents)
        self.kinds = frozenset(parents)

    def group(self, name: str, limits: GroupLimits) -> CgroupV1Group:
        """Give a group; nothing is made yet."""
        return CgroupV1Group({kind: f"{parent}/{name}" for kind, parent in self._parents.items()}, limits)


class CgroupV1Group:
    """One kernel's folders, one for each controller."""

    variables: Mapping[str, str] = {}

    def __init__(self, by_kind: Mapping[str, str], limits: GroupLimits) -> None:
        self._by_kind = dict(by_kind)
        self._limits = limits
        self.folders = tuple(dict.fromkeys(by_kind.values()))  # two controllers can share a hierarchy
        self.prefix = cgroups.enter_prefix(self.folders)

    def folder(self, kind: str) -> str:
        """Give the folder that limits something, empty for none."""
        return self._by_kind.get(kind, "")

    def make(self) -> None:
        """See `Group`."""
        for kind, folder in self._by_kind.items():
            cgroups.make_folder(folder, settings(kind, self._limits))
        if self._limits.memory_bytes and (folder := self.folder("memory")):
            self._limit_swap(folder)

    def count_memory_kills(self) -> int:
        """See `Group`."""
        return cgroups.read_counter(f"{self.folder('memory')}/memory.oom_control", "oom_kill")

    def _limit_swap(self, folder: str) -> None:
        """Memory that is full must not go on in the swap space, where the system counts that."""
        try:
            cgroups.write(f"{folder}/memory.memsw.limit_in_bytes", str(self._limits.memory_bytes))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                raise SandboxError(f"the swap space of {folder} can't be limited: {error.strerror}") from error


def settings(kind: str, limits: GroupLimits) -> list[tuple[str, str]]:
    """Give the files to write for a kind of limit, in order."""
    if kind == "memory":
        return [("memory.limit_in_bytes", str(limits.memory_bytes or -1))]
    if kind == "processes":
        return [("pids.max", str(limits.processes) if limits.processes else "max")]
    quota = int(limits.cpus * PERIOD_MICROSECONDS) if limits.cpus else -1
    return [("cpu.cfs_period_us", str(PERIOD_MICROSECONDS)), ("cpu.cfs_quota_us", str(quota))]


def find() -> tuple[CgroupV1 | None, str]:
    """Give the mechanism if it works here, else the problem."""
    mounts, membership = cgroups.this_machine()
    hierarchies = [mount for mount in mounts if mount.version == 1]
    if not hierarchies:
        return None, "not mounted"
    places: dict[str, str] = {}
    for kind, controller in CONTROLLERS.items():
        mount = next((mount for mount in hierarchies if controller in mount.controllers), None)
        folder = cgroups.own_folder(mount, membership) if mount else None
        if folder is not None and Path(folder).is_dir():
            places[kind] = folder
    mechanism, problem = _try(places)
    if problem:  # one controller may be closed to us and the others open
        places = {kind: folder for kind, folder in places.items() if not _try({kind: folder})[1]}
        mechanism = CgroupV1(places)
    return (mechanism, "") if places.keys() & {"memory", "processes"} else (None, problem)


def _try(places: Mapping[str, str]) -> tuple[CgroupV1, str]:
    mechanism = CgroupV1(places)
    return mechanism, cgroups.try_group(mechanism, _files) if places else "none of its controllers is there"


def _files(group: cgroups.Group) -> list[str]:
    assert isinstance(group, CgroupV1Group)
    names = {"memory": "memory.limit_in_bytes", "processes": "pids.max"}
    return [f"{folder}/{name}" for kind, name in names.items() if (folder := group.folder(kind))]
