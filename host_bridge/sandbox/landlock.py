"""The sandbox by Landlock and seccomp alone, where bubblewrap doesn't work: nothing is hidden, much is forbidden.

The kernel sees the host's file system and reaches of it what the plan names:

    /usr /lib … and the interpreter    to read and run
    the workspace                      to read and run; to write, the entries it had when the kernel started
    <run>/s                            its channels' sockets and the bridge's: made here, and nothing else can be
    <run>/k                            its connection file and its ticket
    <run>/t                            its home and its temporary files
    a few files of /etc and /proc      by name

Nothing in it may connect to anything, of whatever family: Landlock before version 9 lets every socket that has a path be
reached (Docker's, D-Bus's, an ssh agent's), and one rule for all versions is one that is tried. So the bridge dials in.

What that breaks, each tried in a kernel:

- a new name at the top of the workspace: Landlock only adds rights, so what protects `.git` and the like is that nobody may
  write the folder they are in. Folders that exist may be filled; `hermes.write_file` makes new names, if the policy lets it;
- any TCP, UDP and netlink, name resolution, `multiprocessing.managers`, the debugger;
- what needs /dev/shm: `multiprocessing`'s locks, queues and pools, shared memory. Threads, `subprocess`, and
  `multiprocessing.Process` with a `Pipe` work;
- output of forked processes reaches the notebook only through pipes of their own;
- terminals: `!command` runs with pipes instead, so programs that want a terminal see none;
- /proc but for the process's own folder: `ps`, `top`, and what a child asks about itself;
- a tool call from a forked process.

What it doesn't stop: seeing that a file exists, and its size and times; changing modes, owners and times of the user's files,
without their contents; filling the disk beyond one file's limit; before version 6 of Landlock (Linux 6.12) signals to the
user's other processes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from hermes_protocol.confinement import (
    Access,
    ConfinementPlan,
    LandlockPlan,
    PathRule,
    SeccompPlan,
    encode_plan,
)
from host_bridge.sandbox.spec import Launch, SandboxSpec, second_stage

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
_DEVICES = ("null", "zero", "full", "random", "urandom")  # not tty nor pts: those are the user's own terminals


def home(run_folder: str) -> str:
    """The kernel's home and folder for temporary files."""
    return f"{run_folder}/t"


def connection_file(run_folder: str) -> str:
    """Where the kernel finds its connection file; it may rewrite it."""
    return f"{run_folder}/k/connection.json"


def ticket_file(run_folder: str) -> str:
    """Where the kernel finds its ticket, and removes it."""
    return f"{run_folder}/k/ticket.json"


def bridge_endpoint(run_folder: str) -> str:
    """Where the kernel binds and the bridge dials in (`SessionConfig.dials`, `Ticket.bridge_dials`)."""
    return f"ipc://{run_folder}/s/bridge"


def launch(
    spec: SandboxSpec,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    entries: Collection[str],
    files: Mapping[str, bytes],
    bind_ports: Collection[int] = (),
) -> Launch:
    """Give the command that runs a kernel within `spec`.

    Args:
        spec: What it may touch.
        argv: The kernel's command, beginning with its interpreter.
        environment: Its variables.
        entries: What of the workspace it may write; see `writable_entries`.
        files: The files it is handed, by path; those of `connection_file` and `ticket_file`.
        bind_ports: The TCP ports of its channels, if they are on TCP.

    Raises:
        SandboxError: The command can't be confined.
    """
    return Launch(
        argv=second_stage(argv, "{plan}"),
        environment=dict(environment),
        inputs={"plan": encode_plan(plan(spec, entries, bind_ports))},
        working_folder=spec.working_folder or spec.workspace,
        files=dict(files),
    )


def plan(spec: SandboxSpec, entries: Collection[str], bind_ports: Collection[int] = ()) -> ConfinementPlan:
    """Give what the kernel takes from itself."""
    return ConfinementPlan(
        backend="landlock",
        limits=dict(spec.limits),
        drop_capabilities=True,
        landlock=LandlockPlan(
            minimum_abi=MINIMUM_VERSION,
            paths=tuple(PathRule(path, access) for path, access in _path_rules(spec, entries)),
            own_proc=True,
            restrict_network=True,
            bind_ports=tuple(sorted(bind_ports)),
        ),
        seccomp=SeccompPlan(
            socket_families=("unix", "inet") if bind_ports else ("unix",),
            stream_only=True,
            forbid_connect=True,
        ),
    )


def _path_rules(spec: SandboxSpec, entries: Collection[str]) -> Iterator[tuple[str, Access]]:
    for path in (*SYSTEM_FOLDERS, *spec.read_only_paths, spec.workspace):
        yield path, "execute"
    for path in SYSTEM_FILES:
        yield path, "read"
    for name in _DEVICES:
        yield f"/dev/{name}", "device"
    for path in (*spec.writable_paths, *(entries if spec.write_workspace else ())):
        yield path, "write"
    yield f"{spec.run_folder}/s", "socket_folder"
    yield f"{spec.run_folder}/k", "write"
    yield home(spec.run_folder), "write"


def protected_paths(spec: SandboxSpec) -> frozenset[str]:
    """What of the workspace must not be written: its islands, and what else was declared to be read only."""
    return frozenset({island.path for island in spec.islands} | set(spec.read_only_paths))


def writable_entries(folder: str, protected: Collection[str]) -> tuple[str, ...]:
    """Look which entries of a folder can be opened for writing so that nothing protected is.

    An entry that holds something protected is taken apart further: what it holds besides is given, itself not. Links are passed
    over, because writing there would be writing wherever they lead.

    Args:
        folder: Absolute and canonical.
        protected: Absolute paths.
    """
    return tuple(sorted(_writable(folder, protected)))


def _writable(folder: str, protected: Collection[str]) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:  # not ours to read, so not ours to give either
        return
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.path in protected or not (is_folder or entry.is_file(follow_symlinks=False)):
            continue
        if any(path.startswith(f"{entry.path}/") for path in protected):
            yield from _writable(entry.path, protected)
        else:
            yield entry.path
