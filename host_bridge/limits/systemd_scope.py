"""Limits by a systemd scope, which needs no rights: the user's own manager may limit what the user starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from host_bridge.limits import cgroups
from host_bridge.limits.cgroups import GroupLimits

_BOOTED = "/run/systemd/system"  # see sd_booted(3)
_TREE = "/sys/fs/cgroup"  # systemd mounts it there and nowhere else
_BUS_VARIABLES = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


class SystemdScope:
    """Scopes of a service manager.

    Args:
        program: systemd-run's path.
        of_user: Whether it is the user's manager or the system's.
        parent: The group scopes come to lie in, once known.
        variables: What systemd-run finds the manager by.
    """

    name = "systemd scope"
    kinds = frozenset({"memory", "processes", "cpus"})

    def __init__(self, program: str, *, of_user: bool, parent: str, variables: Mapping[str, str]) -> None:
        self._program = program
        self._of_user = of_user
        self._parent = parent
        self._variables = dict(variables)

    def group(self, name: str, limits: GroupLimits) -> ScopeGroup:
        """Give a group; nothing is made yet."""
        return ScopeGroup(
            arguments(self._program, name, limits, of_user=self._of_user, variables=tuple(self._variables)),
            f"{self._parent}/{name}.scope",
            self._variables,
        )


class ScopeGroup:
    """One kernel's scope. It begins with the kernel and, by `--collect`, ends with its last process."""

    def __init__(self, prefix: tuple[str, ...], folder: str, variables: Mapping[str, str]) -> None:
        self.prefix = prefix
        self.folders = (folder,)
        self.variables = variables

    def make(self) -> None:
        """Starting makes it. See `Group`."""

    def count_memory_kills(self) -> int:
        """See `Group`."""
        return cgroups.read_counter(f"{self.folders[0]}/memory.events", "oom_kill")


def arguments(
    program: str, name: str, limits: GroupLimits, *, of_user: bool, variables: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Give the command that starts another in a scope. Pure.

    Args:
        program: systemd-run's path.
        name: The scope's.
        limits: Its limits.
        of_user: Whether the user's manager is asked.
        variables: What the command must not find in its environment: it was for systemd-run.
    """
    properties = [
        ("MemoryMax", str(limits.memory_bytes or "infinity")),
        ("MemorySwapMax", "0" if limits.memory_bytes else "infinity"),
        ("TasksMax", str(limits.processes or "infinity")),
    ]
    if limits.cpus:
        properties.append(("CPUQuota", f"{round(limits.cpus * 100)}%"))
    return (
        program,
        *(("--user",) if of_user else ()),
        *("--scope", "--quiet", "--collect", f"--unit={name}.scope"),
        *(f"--property={key}={value}" for key, value in properties),
        "--",
        *(("/usr/bin/env", *(f"--unset={variable}" for variable in variables)) if variables else ()),
    )


def find() -> tuple[SystemdScope | None, str]:
    """Give the mechanism if it works here, else the problem."""
    if not Path(_BOOTED).is_dir():
        return None, "systemd doesn't run here"
    program = shutil.which("systemd-run")
    if program is None:
        return None, "systemd-run is not installed"
    of_user = os.getuid() != 0
    variables = {name: os.environ[name] for name in _BUS_VARIABLES if of_user and name in os.environ}
    if of_user and not variables:
        return None, "no service manager runs for this user (no XDG_RUNTIME_DIR); loginctl enable-linger starts one"
    parent = _find_parent(program, of_user=of_user, variables=variables)
    if not parent:
        return None, "the service manager starts no scope"
    mechanism = SystemdScope(program, of_user=of_user, parent=parent, variables=variables)
    problem = cgroups.try_group(mechanism, _files)
    return (None, problem) if problem else (mechanism, "")


def _find_parent(program: str, *, of_user: bool, variables: Mapping[str, str]) -> str:
    import subprocess

    name = f"{cgroups.NAME_PREFIX}place-{os.getpid()}"
    command = [*arguments(program, name, cgroups.TRIAL_LIMITS, of_user=of_user), "/bin/cat", "/proc/self/cgroup"]
    try:
        tried = subprocess.run(
            command, env=dict(variables), capture_output=True, text=True, timeout=cgroups.TRIAL_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    path = next((line.removeprefix("0::") for line in tried.stdout.splitlines() if line.startswith("0::")), "")
    return f"{_TREE}{os.path.dirname(path)}" if path.endswith(f"/{name}.scope") else ""  # noqa: PTH120


def _files(group: cgroups.Group) -> list[str]:
    [folder] = group.folders
    return [f"{folder}/memory.max", f"{folder}/pids.max"]
