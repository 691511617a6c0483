"""What a kernel process does to itself before it becomes the kernel: the plan the host writes and the kernel side carries out.

Everything in a plan only takes authority away. A plan is JSON in a file the kernel can read and not write.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CONFINEMENT_VARIABLE = "HERMES_RUNTIME_CONFINEMENT"
"""Tells a kernel how whoever starts it has confined it: `bubblewrap` or `landlock`, which the kernel checks; or `none`, which
declares that it shall run unconfined. Anything else, and nothing at all, has the kernel confine itself."""

SELF_PREFIX = "hermes-self-"
"""How the folder begins that a kernel has as its home when it confines itself. It holds a lock on it while it lives."""

Access = Literal["list", "read", "execute", "write", "device", "terminal", "socket_folder"]
"""What Landlock leaves possible at a path.

    list            see the names in a folder
    read            read files and list folders
    execute         the same, and run programs
    write           the same, and change, create, rename and delete
    device          read and write a device file
    terminal        the same, and terminal control; only for a private /dev/pts
    socket_folder   create and remove sockets, and nothing else: no link can be planted there
"""


class PathRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One path and all that is below it.

    Attributes:
        path: Absolute; with `"write"` it must also be canonical, because what a link leads to is never made writable.
        spare: What below it gets nothing from this rule, whether it exists or not. Landlock only adds rights, so a folder with
            something to spare is taken apart: the entries it has now get the rule's access, it itself gets none, and no new
            name can be made in it.
    """

    path: str
    access: Access
    spare: tuple[str, ...] = ()


class LandlockPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths, and where nothing else does it also TCP, signals and abstract sockets.

    Attributes:
        minimum_abi: Refuse to start on a system whose Landlock is older.
        paths: What stays reachable. A path that doesn't exist is passed over.
        own_proc: Whether the process's own folder in /proc stays readable.
        restrict_network: Whether TCP is limited to binding `bind_ports`. Not inside bubblewrap, whose network namespace is
            empty anyway: it breaks the pipe ipykernel reads its own output through.
        bind_ports: TCP ports that may be bound.
    """

    minimum_abi: int = 1
    paths: tuple[PathRule, ...] = ()
    own_proc: bool = False
    restrict_network: bool = False
    bind_ports: tuple[Annotated[int, Meta(ge=1, le=65_535)], ...] = ()


class SeccompPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """System calls.

    Attributes:
        socket_families: Which sockets may be made.
        stream_only: Whether internet sockets must be plain TCP.
        forbid_connect: Whether nothing may connect to anything: where Landlock can't stop sockets with a path.
    """

    socket_families: tuple[Literal["unix", "inet", "inet6", "netlink"], ...] = ("unix",)
    stream_only: bool = False
    forbid_connect: bool = False


class ConfinementPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it.

    Attributes:
        backend: What the host relies on, as results and audit records name it.
        limits: Resource limits by the name of `resource.RLIMIT_…` without the prefix; both the soft and the hard one.
        drop_capabilities: Give up all capabilities for good: needed where no user namespace took them.
    """

    backend: Literal["bubblewrap", "landlock", "self"]
    limits: dict[str, int] = {}
    umask: int = 0o077
    drop_capabilities: bool = False
    landlock: LandlockPlan | None = None
    seccomp: SeccompPlan | None = None


class CompiledPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan's Landlock and seccomp as the numbers that this system understands.

    Attributes:
        seccomp: The filter, as bubblewrap's `--seccomp` takes it.
        ruleset: What a Landlock ruleset is created from; empty for no Landlock.
        paths: Each path of the plan with the rights it leaves there, if that is a folder and if it is a file.
    """

    seccomp: bytes
    ruleset: bytes = b""
    paths: tuple[tuple[str, int, int], ...] = ()


def encode_plan(plan: ConfinementPlan) -> bytes:
    """Give the file form."""
    return msgspec.json.encode(plan)


def decode_plan(data: bytes) -> ConfinementPlan:
    """Read the file form.

    Raises:
        ValueError: It isn't one; nothing may run.
    """
    try:
        return msgspec.json.decode(data, type=ConfinementPlan)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a confinement plan: {error}") from None


def decode_compiled(data: bytes) -> CompiledPlan:
    """Read what compiling a plan gave.

    Raises:
        ValueError: It isn't that; nothing may run.
    """
    try:
        return msgspec.json.decode(data, type=CompiledPlan)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a compiled confinement plan: {error}") from None
