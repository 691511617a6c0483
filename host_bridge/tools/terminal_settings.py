"""`[tools.terminal]`: how much of a command's output is kept, and where commands run."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class TerminalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tools.terminal]`.

    Attributes:
        max_output_bytes: How much of each stream is passed on from its beginning.
        tail_bytes: How much of the end of each stream is kept when it was more.
        grace_seconds: How long a command may take to end when it is told to; then it is killed.
        confinement: Whether commands run on the host, with the user's rights, or in a sandbox that has the workspace.
        host_for: Patterns of commands that run on the host even so.
        network: Whether confined commands have the host's network, or none.
        network_for: Patterns of commands that have it even so.
        workspace: Whether confined commands may change the workspace. The profile `read-only` makes it `"read"`.
        read_only_paths: What confined commands may read besides.
        writable_paths: What they may change besides.
        temporary_bytes: How much a confined command's /tmp holds, and its /dev/shm.
    """

    max_output_bytes: Annotated[int, Meta(ge=0, le=2**40)] = 10 * 2**20
    tail_bytes: Annotated[int, Meta(ge=1, le=2 * 2**20)] = 64 * 2**10  # two of them fit into one reply
    grace_seconds: Annotated[float, Meta(ge=0, le=600)] = 2.0
    confinement: Literal["host", "workspace"] = "host"
    host_for: tuple[str, ...] = ()
    network: Literal["none", "full"] = "none"
    network_for: tuple[str, ...] = ()
    workspace: Literal["write", "read"] = "write"
    read_only_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    temporary_bytes: Annotated[int, Meta(ge=2**20, le=2**40)] = 256 * 2**20
