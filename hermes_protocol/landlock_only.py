"""The plan where Landlock and seccomp are all there is: the host's fallback, and a kernel that confines itself.

Nothing is hidden, much is forbidden. Pure: nothing is looked up here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from hermes_protocol.confinement import ConfinementPlan, LandlockPlan, PathRule, SeccompPlan

MINIMUM_VERSION = 4  # the first that knows TCP

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/ssl/certs",
    "/etc/timezone",
    # what numerical libraries ask to choose their number of threads and their instructions
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)
DEVICES = ("null", "zero", "full", "random", "urandom")
"""Not tty and pts: on the host those are the user's own terminals."""


def plan(
    *,
    backend: Literal["landlock", "self"],
    workspace: str,
    write_workspace: bool = True,
    spare: Collection[str] = (),
    read_only_paths: Collection[str] = (),
    writable_paths: Collection[str] = (),
    socket_folders: Collection[str] = (),
    bind_ports: Collection[int] = (),
    limits: Mapping[str, int] | None = None,
) -> ConfinementPlan:
    """Give the plan. Nothing may connect to anything, of whatever family.

    Args:
        backend: Whose plan it is.
        workspace: The folder to work in.
        write_workspace: Whether it may be changed.
        spare: What of it may not be, and names in it that may not come to exist.
        read_only_paths: What else may be read and run.
        writable_paths: What else may be changed.
        socket_folders: Where sockets may be made, and nothing else.
        bind_ports: TCP ports that may be bound; without any, no internet socket can be made.
        limits: As in `ConfinementPlan`.
    """
    rules = [PathRule(path, "execute") for path in (*SYSTEM_FOLDERS, *read_only_paths, workspace)]
    rules += [PathRule(path, "read") for path in SYSTEM_FILES]
    rules += [PathRule(f"/dev/{name}", "device") for name in DEVICES]
    rules += [PathRule(path, "socket_folder") for path in socket_folders]
    rules += [PathRule(path, "write") for path in writable_paths]
    if write_workspace:
        below = (path for path in (*spare, *read_only_paths) if path.startswith(f"{workspace}/"))
        rules.append(PathRule(workspace, "write", spare=tuple(sorted(set(below)))))
    return ConfinementPlan(
        backend=backend,
        limits=dict(limits or {}),
        drop_capabilities=True,
        landlock=LandlockPlan(
            minimum_abi=MINIMUM_VERSION,
            paths=tuple(rules),
            own_proc=True,
            restrict_network=True,
            bind_ports=tuple(sorted(bind_ports)),
        ),
        seccomp=SeccompPlan(
            socket_families=("unix", "inet", "inet6") if bind_ports else ("unix",),
            stream_only=True,
            forbid_connect=True,
        ),
    )
