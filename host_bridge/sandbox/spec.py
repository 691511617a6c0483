"""What a kernel may touch, as a value; each backend turns it into a command. Pure: nothing is run or looked up here.

SandboxSpec --bubblewrap.launch()--> Launch     mount namespace + Landlock + seccomp
            --landlock.launch()----> Launch     Landlock + seccomp
            --unconfined()---------> Launch     nothing: only when declared
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from host_bridge.errors import SandboxError

Backend = Literal["bubblewrap", "landlock", "none"]
BACKENDS: tuple[Backend, ...] = ("bubblewrap", "landlock", "none")
"""Strongest first."""

TEMPORARY_BYTES = 256 * 2**20  # for /tmp and again for /dev/shm; Docker gives /dev/shm 64 MiB


@dataclasses.dataclass(frozen=True, slots=True)
class Island:
    """A name in the workspace that may not be written, although what surrounds it may.

    Attributes:
        path: Absolute.
        kind: What is there; `"no folder"` and `"no file"` are names that don't exist and may not come to exist, by what they
            would be. A `"way"` is a folder on the way to another island: it may be filled and emptied, but not renamed, or
            something else could be put under the island's name.
    """

    path: str
    kind: Literal["folder", "file", "no folder", "no file", "way"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a kernel may touch. All paths are absolute, canonical, and the host's.

    Attributes:
        workspace: The folder it works in.
        write_workspace: Whether it may change it.
        working_folder: Where it starts: the workspace or below it.
        islands: What of the workspace it may not change.
        read_only_paths: What else it may read: its interpreter, data sets, packages.
        writable_paths: What else it may change.
        run_folder: The kernel's run directory.
        share_network: Whether it has the host's network.
        temporary_bytes: How much its /tmp holds, and its /dev/shm.
        limits: Resource limits by the name of `resource.RLIMIT_…` without the prefix.
    """

    workspace: str
    run_folder: str
    working_folder: str = ""
    write_workspace: bool = True
    islands: tuple[Island, ...] = ()
    read_only_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    share_network: bool = False
    temporary_bytes: int = TEMPORARY_BYTES
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """A command ready to be started.

    Attributes:
        argv: The command; `{NAME}` stands for the number of the descriptor that holds `inputs[NAME]`.
        environment: All its variables.
        inputs: Contents it reads from descriptors, by name.
        working_folder: Where it is started.
        files: Contents to write before the start, readable by the user alone, by path; a file that is there is replaced.
        reports: Whether it writes to the descriptor `{info}` which process is the sandbox's first.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    working_folder: str | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    reports: bool = False


def second_stage(argv: Sequence[str], plan: str) -> tuple[str, ...]:
    """Give the command that confines itself by a plan and then is the Python module that `argv` runs.

    Args:
        argv: `PYTHON [OPTION …] -m MODULE [ARGUMENT …]`.
        plan: The plan's file, or the number of a descriptor.

    Raises:
        SandboxError: It is another kind of command, and what that would run first nobody knows.
    """
    if "-m" not in argv[1:]:
        raise SandboxError(
            f"only a command of the form PYTHON -m MODULE can be confined, not {' '.join(argv)!r}; install the kernel anew: "
            "hermes-runtime kernel install"
        )
    module = list(argv).index("-m", 1)
    options = [option for option in argv[1:module] if option not in ("-I", "-P")]
    # -I: nothing of the workspace may be imported before the confinement holds.
    return (argv[0], "-I", *options, "-m", "hermes_runtime.confinement", plan, "--", *argv[module:])


def unconfined(argv: Sequence[str], environment: Mapping[str, str]) -> Launch:
    """Give a command that is confined by nothing."""
    return Launch(tuple(argv), dict(environment))
