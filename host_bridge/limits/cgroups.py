"""Control groups, both versions of them: where they are, a process started inside of one, its end with all that is in it.

A kernel has to be in its group before it can fork, so its command begins with a shell that enters the group and then becomes
the command: whatever it starts later is in the group as well, and nothing in it can leave.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from host_bridge.errors import SandboxError

NAME_PREFIX = "hermes-"
"""All our groups' names begin so, as run directories do."""

END_SECONDS = 5.0  # a killed process may be inside of a call that the system finishes first
ABANDONED_SECONDS = 60.0  # a kernel's first process is in its group within milliseconds
TRIAL_SECONDS = 5.0
TRIAL_MEMORY_BYTES = 64 * 2**20
TRIAL_PROCESSES = 8

_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 78; shift; done; shift; exec "$@"'
# For each file: its first line, if the shell is in the group whose file it is. Nothing but the shell is started.
_SHOW = """
is_in() { while read -r number; do [ "$number" = $$ ] && return; done < "$1/cgroup.procs"; return 1; }
for file; do is_in "${file%/*}" && read -r value < "$file" && echo "$value" || exit 1; done
"""
_ESCAPED = re.compile(r"\\([0-7]{3})")
_POLL_SECONDS = 0.002


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """What a group of processes may use together. 0 is no limit of that kind.

    Attributes:
        cpus: Processors' worth of time.
    """

    memory_bytes: int = 0
    processes: int = 0
    cpus: float = 0.0


TRIAL_LIMITS = GroupLimits(memory_bytes=TRIAL_MEMORY_BYTES, processes=TRIAL_PROCESSES)


class Group(Protocol):
    """One kernel's processes, wherever they try to go."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, starts it in the group."""

    @property
    def variables(self) -> Mapping[str, str]:
        """What the prefix needs in its environment, and takes out of it again before the command runs."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where it is; made by `make` or by the prefix."""

    def make(self) -> None:
        """Make it, with its limits, before something is started in it.

        Raises:
            SandboxError: It can't be made.
        """

    def count_memory_kills(self) -> int:
        """How many of its processes the system has killed because its memory was full."""


class Mechanism(Protocol):
    """A way to limit groups of processes that was found to work here."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def kinds(self) -> frozenset[str]:
        """What it can limit: `memory`, `processes`, `cpus`."""

    def group(self, name: str, limits: GroupLimits) -> Group:
        """Give a group; nothing is made yet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy of groups.

    Attributes:
        point: Where.
        root: What of the hierarchy is seen there.
        version: 1 or 2.
        controllers: Of version 1: what it controls.
    """

    point: str
    root: str
    version: int
    controllers: frozenset[str] = frozenset()


def mounts(mountinfo: str) -> list[Mount]:
    """Read /proc/self/mountinfo, see proc_pid_mountinfo(5)."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 6 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        point, root = _unescape(fields[4]), _unescape(fields[3])
        if kind[0] == "cgroup2":
            found.append(Mount(point, root, 2))
        else:
            found.append(Mount(point, root, 1, frozenset(kind[2].split(","))))
    return found


def own_folder(mount: Mount, membership: str) -> str | None:
    """Give the folder of the group this process is in; None where the mount doesn't show it.

    Args:
        mount: A hierarchy.
        membership: The text of /proc/self/cgroup.
    """
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (mount.version == 2 and not controllers) or (
            mount.version == 1 and mount.controllers & {*controllers.split(",")}
        ):
            inside = os.path.relpath(path, mount.root)
            return None if inside.startswith("..") else os.path.normpath(f"{mount.point}/{inside}")
    return None


def this_machine() -> tuple[list[Mount], str]:
    """Give the hierarchies mounted here, and which groups this process is in."""
    try:
        return mounts(Path("/proc/self/mountinfo").read_text()), Path("/proc/self/cgroup").read_text()
    except OSError:  # not Linux, or no /proc
        return [], ""


def enter_prefix(folders: Iterable[str]) -> tuple[str, ...]:
    """Give what starts a command inside of groups."""
    return ("/bin/sh", "-c", _ENTER, "enter", *(f"{folder}/cgroup.procs" for folder in folders), "--")


def make_folder(folder: str, settings: Sequence[tuple[str, str]]) -> None:
    """Make a group and set it.

    Raises:
        SandboxError: The system refuses.
    """
    try:
        Path(folder).mkdir()
        for name, value in settings:
            write(f"{folder}/{name}", value)
    except OSError as error:
        raise SandboxError(
            f"the kernel's control group {folder} can't be made: {error.strerror}; "
            'set mechanism = "rlimits" under [limits] in the configuration to do without'
        ) from error


def write(path: str, value: str) -> None:
    """Set one value. Its file exists or the system doesn't have it: none is made."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def members(folder: str) -> set[int]:
    """Give the processes in a group, without those that another process namespace hides."""
    try:
        return {int(line) for line in Path(folder, "cgroup.procs").read_text().split()} - {0}
    except (OSError, ValueError):
        return set()


def kill_members(folders: Iterable[str], timeout_seconds: float = END_SECONDS) -> list[int]:
    """Kill every process in groups, and wait until they are gone. Gives their numbers."""
    folders = [folder for folder in folders if is_ours(folder)]
    killed = set().union(*map(members, folders))  # before the system kills them all at once, which may take no time
    for folder in folders:
        # First nothing new may start, or a fork bomb is as quick as whoever kills it.
        for name, value in (("pids.max", "0"), ("cgroup.kill", "1")):
            _try_to_write(f"{folder}/{name}", value)
    deadline = time.monotonic() + timeout_seconds
    while True:
        left = set().union(*(_kill(folder) for folder in folders))
        killed |= left
        if not left or time.monotonic() > deadline:
            return sorted(killed)
        time.sleep(_POLL_SECONDS)  # nothing tells when a group of version 1 is empty


def remove_folders(folders: Iterable[str]) -> bool:
    """Remove groups that have no processes any more. Gives whether they are gone."""
    deadline = time.monotonic() + END_SECONDS
    left = [folder for folder in folders if is_ours(folder)]
    while left := [folder for folder in left if not _remove(folder)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)  # the system lets go of a group a moment after its last process
    return True


def end_groups(folders: Sequence[str]) -> list[int]:
    """Kill what is in groups, and remove them. Gives the processes' numbers."""
    killed = kill_members(folders)
    remove_folders(folders)
    return killed


def remove_abandoned(older_than_seconds: float = ABANDONED_SECONDS) -> list[str]:
    """Remove groups without processes near this process's own, of kernels nobody remembers. Gives their folders.

    Args:
        older_than_seconds: A younger one may be about to get its first process.
    """
    found, membership = this_machine()
    removed = []
    for mount in found:
        for parent in places(mount, membership):
            removed += [folder for folder in _abandoned(parent, older_than_seconds) if _remove(folder)]
    return removed


def places(mount: Mount, membership: str) -> list[str]:
    """Give where groups may have been made: in this process's own, and of version 2 in those above it."""
    own = own_folder(mount, membership)
    if own is None:
        return []
    if mount.version == 1:
        return [own]
    inside = os.path.relpath(own, mount.point)
    steps = [] if inside == "." else inside.split("/")
    return ["/".join([mount.point, *steps[:count]]) for count in range(len(steps), -1, -1)]


def is_ours(folder: str) -> bool:
    """Whether a path is that of a group made here: a record of a crashed host decides about no other."""
    path = Path(folder)
    return path.is_absolute() and path.name.startswith(NAME_PREFIX) and Path(folder, "cgroup.procs").is_file()


def read_counter(path: str, name: str) -> int:
    """Give a number from a file of lines `name number`; 0 where there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(value) for key, _, value in (line.partition(" ") for line in lines) if key == name), 0)


def try_group(mechanism: Mechanism, files: Callable[[Group], Sequence[str]]) -> str:
    """Start something harmless in a group, and look whether it is in there and limited. Gives the problem, empty if it is.

    Args:
        mechanism: Makes the group.
        files: Gives those of the group that hold its limits of memory and of processes, as far as it has them.
    """
    group = mechanism.group(f"{NAME_PREFIX}trial-{os.getpid()}", TRIAL_LIMITS)
    expected = [str(TRIAL_MEMORY_BYTES)] * ("memory" in mechanism.kinds)
    expected += [str(TRIAL_PROCESSES)] * ("processes" in mechanism.kinds)
    try:
        group.make()
        tried = subprocess.run(
            [*group.prefix, "/bin/sh", "-c", _SHOW, "show", *files(group)],
            env={"PATH": "/usr/bin:/bin", **group.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, SandboxError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        end_groups(group.folders)
    if tried.returncode:
        return tried.stderr.strip() or f"exit code {tried.returncode}"
    found = tried.stdout.split()
    return "" if found == expected else f"limits {expected} were set, {found} are in force"


def _kill(folder: str) -> set[int]:
    """Signal a group's processes. Gives those that are there."""
    pinned: dict[int, int] = {}
    try:
        for pid in members(folder):
            try:
                pinned[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        # Looked at again with each number pinned, so that a reused one is never mistaken for what was in the group.
        there = members(folder) & pinned.keys()
        for pid in there:
            try:
                signal.pidfd_send_signal(pinned[pid], signal.SIGKILL)
            except ProcessLookupError:
                continue
        return there
    finally:
        for descriptor in pinned.values():
            os.close(descriptor)


def _abandoned(parent: str, older_than_seconds: float) -> list[str]:
    try:
        entries = [entry for entry in os.scandir(parent) if entry.name.startswith(NAME_PREFIX)]
        return [entry.path for entry in entries if time.time() - entry.stat().st_mtime > older_than_seconds]
    except OSError:
        return []  # gone meanwhile


def _remove(folder: str) -> bool:
    try:
        Path(folder).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _try_to_write(path: str, value: str) -> bool:
    try:
        write(path, value)
    except OSError:
        return False
    return True


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
