"""How much of the machine a kernel may use, by the best means this machine has, found by really trying.

    systemd scope   the user's service manager limits the kernel and all it starts, together
    cgroup v2, v1   the same where somebody has delegated a part of the tree, or for root
    rlimits         always: of each process, and what nothing else limits

A group counts what its processes use together, memory files and /tmp included. A process's own limits are tighter by a little,
so that a list that grows too large is a `MemoryError` in its cell before it is the kernel's end.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import resource
import shutil
from collections.abc import Callable, Mapping

import msgspec

from host_bridge.config import LimitSettings
from host_bridge.config.misfits import misfit
from host_bridge.errors import ConfigurationError, SandboxError
from host_bridge.limits import cgroup_v1, cgroup_v2, cgroups, systemd_scope
from host_bridge.limits.cgroups import Group, GroupLimits, Mechanism
from host_bridge.sandbox.spec import Launch

MINIMUM_MEMORY_BYTES = 128 * 2**20  # a kernel takes about 70 MiB before the first cell
RLIMITS = "rlimits"

_SHARE_OF_ONE_PROCESS = 15 / 16  # the rest is for what isn't a process's own data: page tables, files, /tmp


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The mechanism for groups that works here.

    Attributes:
        mechanism: None where none does.
        problems: Why not those before it, by name.
    """

    mechanism: Mechanism | None
    problems: Mapping[str, str]


class Limiter:
    """One kernel's limits, through all its restarts.

    Args:
        settings: What the user has set.
        mechanism: For groups of processes; None to limit each process by itself.
        counts_users: Whether the kernel is in a user namespace of its own, where the system counts a user's processes anew.

    Attributes:
        settings: As given.
    """

    def __init__(self, settings: LimitSettings, mechanism: Mechanism | None, *, counts_users: bool) -> None:
        self.settings = settings
        self._counts_users = counts_users
        self._mechanism = mechanism
        self._starts = 0
        self._group: Group | None = None

    @property
    def folders(self) -> tuple[str, ...]:
        """The groups there are now, for the sweep after a crash."""
        return self._group.folders if self._group is not None else ()

    @property
    def rlimits(self) -> dict[str, int]:
        """Limits of each process by the name of `resource.RLIMIT_…` without the prefix."""
        return rlimits(self.settings, self._uncounted)

    def describe(self) -> str:
        """Say in a line what limits the kernel, and by what."""
        name = self._mechanism.name if self._mechanism else RLIMITS
        return describe(self.settings, name, self._kinds, self._uncounted)

    def begin(self, name: str) -> None:
        """Decide on the group for the next start; `folders` are known from here on.

        Args:
            name: A run directory's.
        """
        self.end()
        if self._mechanism is not None and self._kinds:
            self._starts += 1  # a name of its own: the system may not have let go of the last one yet
            self._group = self._mechanism.group(f"{name}-{self._starts}", group_limits(self.settings))

    def make(self) -> None:
        """Make the group.

        Raises:
            SandboxError: The system refuses.
        """
        if self._group is not None:
            self._group.make()

    def wrap(self, launch: Launch) -> Launch:
        """Give the launch that starts in the group."""
        if self._group is None or shutil.which(launch.argv[0], path=launch.environment.get("PATH")) is None:
            return launch  # what doesn't exist shall fail as it does by itself, not after a shell was started for it
        return dataclasses.replace(
            launch,
            argv=(*self._group.prefix, *launch.argv),
            environment={**launch.environment, **self._group.variables},
        )

    def limit_process(self, pid: int) -> None:
        """Limit a kernel process that nothing inside of it limits, because it is not confined."""
        if not hasattr(resource, "prlimit"):
            return
        for name, limit in self.rlimits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            try:
                _, hard = resource.prlimit(pid, kind)
                limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                resource.prlimit(pid, kind, (limit, limit))
            except ProcessLookupError:
                return  # it has ended; whoever waits for it finds out

    def count_memory_kills(self) -> int:
        """How many of the kernel's processes the system has killed because the kernel's memory was full."""
        return self._group.count_memory_kills() if self._group is not None else 0

    def end(self) -> list[int]:
        """Kill what is left in the group, and remove it. Gives the processes' numbers."""
        group, self._group = self._group, None
        return cgroups.end_groups(group.folders) if group is not None else []

    @property
    def _uncounted(self) -> bool:
        """Whether the number of processes is nobody's to limit but each process's own limit, and that can do it.

        Elsewhere it would count all of the user's processes; and root's the system doesn't count.
        """
        return "processes" not in self._kinds and self._counts_users and os.getuid() != 0

    @property
    def _kinds(self) -> frozenset[str]:
        """What the group limits."""
        if self._mechanism is None:
            return frozenset()
        wanted = group_limits(self.settings)
        return self._mechanism.kinds & {
            kind
            for kind, limit in (
                ("memory", wanted.memory_bytes),
                ("processes", wanted.processes),
                ("cpus", wanted.cpus),
            )
            if limit
        }


def choose_limiter(
    settings: LimitSettings, overrides: Mapping[str, object] | None = None, *, counts_users: bool = False
) -> Limiter:
    """Give a kernel's limits.

    Args:
        settings: The user's.
        overrides: What the host application sets over them, by the same names.
        counts_users: See `Limiter`.

    Raises:
        ConfigurationError: An override has no meaning, or a limit leaves no room for a kernel.
        SandboxError: The mechanism that was named doesn't work here.
    """
    settings = override(settings, overrides or {})
    return Limiter(settings, choose(settings.mechanism, settings.cgroup).mechanism, counts_users=counts_users)


def override(settings: LimitSettings, overrides: Mapping[str, object]) -> LimitSettings:
    """Give settings with some replaced, checked as a configuration file is.

    Raises:
        ConfigurationError: One has no meaning.
    """
    try:
        merged = msgspec.convert({**msgspec.structs.asdict(settings), **overrides}, type=LimitSettings)
    except msgspec.ValidationError as error:
        key, problem = misfit(error, LimitSettings, "limits")
        raise ConfigurationError(f"the limits can't be used: {problem}", key=key) from None
    if 0 < merged.memory_bytes < MINIMUM_MEMORY_BYTES:
        raise ConfigurationError(
            f"memory_bytes is {merged.memory_bytes}, and no kernel starts below {MINIMUM_MEMORY_BYTES}; 0 is no limit",
            key="limits.memory_bytes",
        )
    return merged


@functools.cache
def choose(wish: str = "auto", cgroup: str = "") -> Choice:
    """Find the mechanism that works here.

    Args:
        wish: One by name, or `"auto"` for the best.
        cgroup: The group of version 2 that was delegated.

    Raises:
        SandboxError: The one by name doesn't work.
    """
    finders: dict[str, Callable[[], tuple[Mechanism | None, str]]] = {
        "systemd": systemd_scope.find,
        "cgroup v2": lambda: cgroup_v2.find(cgroup),
        "cgroup v1": cgroup_v1.find,
    }
    if cgroup and wish == "auto":
        wish = "cgroup v2"
    problems: dict[str, str] = {}
    for name, find in finders.items():
        if wish not in ("auto", name):
            continue
        mechanism, problem = find()
        if mechanism is not None:
            return Choice(mechanism, problems)
        problems[name] = problem
    if wish not in ("auto", RLIMITS):
        raise SandboxError(
            f"limits by {wish} don't work here: {problems[wish]}; "
            'leave mechanism under [limits] in the configuration at "auto" to have what works'
        )
    return Choice(None, problems)


def group_limits(settings: LimitSettings) -> GroupLimits:
    """Give what a kernel's processes may use together."""
    return GroupLimits(memory_bytes=settings.memory_bytes, processes=settings.processes, cpus=settings.cpus)


def rlimits(settings: LimitSettings, limits_processes: bool) -> dict[str, int]:
    """Give the limits of each process. Pure.

    Args:
        settings: The user's.
        limits_processes: Whether the number of processes is limited this way.
    """
    wanted = {
        "DATA": int(settings.memory_bytes * _SHARE_OF_ONE_PROCESS),
        "NPROC": settings.processes if limits_processes else 0,
        "FSIZE": settings.file_bytes,
        "NOFILE": settings.open_files,
        "CPU": settings.cpu_seconds,
    }
    return {"CORE": 0, **{name: limit for name, limit in wanted.items() if limit}}


def describe(settings: LimitSettings, mechanism: str, grouped: frozenset[str], limits_processes: bool = False) -> str:
    """Say what is limited, and by what. Pure.

    Args:
        settings: The user's.
        mechanism: What limits groups.
        grouped: What it limits.
        limits_processes: Whether the number of processes is a limit of each process.
    """
    together = {
        "memory": f"memory {_bytes(settings.memory_bytes)}",
        "processes": f"{settings.processes} processes",
        "cpus": f"{settings.cpus:g} CPUs",
    }
    each = {
        "DATA": f"memory {_bytes(settings.memory_bytes)} a process",
        "NPROC": f"{settings.processes} processes",
        "FSIZE": f"files {_bytes(settings.file_bytes)}",
        "NOFILE": f"{settings.open_files} open files",
        "CPU": f"{settings.cpu_seconds} CPU seconds a process",
    }
    used = rlimits(settings, limits_processes)
    parts = [text for kind, text in together.items() if kind in grouped]
    others = [text for name, text in each.items() if name in used and not (name == "DATA" and "memory" in grouped)]
    said = [f"{mechanism}: {', '.join(parts)}"] if parts else []
    if others:
        said.append(f"{RLIMITS}: {', '.join(others)}")
    if settings.processes and "processes" not in grouped and not limits_processes:
        said.append("processes not limited")
    return "; ".join(said) or "none"


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count % size else f"{count // size} {unit}"
    return f"{count} bytes"
