"""From what a kernel may touch to the command that starts it. Pure: nothing is run or looked up here.

The seam for confinement. The only backend so far is `"none"`, which starts the kernel as it is: a cell can then reach past
the bridge, and whoever reports on a session has to say so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from host_bridge.errors import SandboxError

BACKENDS = ("none",)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a kernel may touch.

    Attributes:
        read_only_paths: Folders and files it may read: its interpreter, libraries.
        writable_paths: Folders it may also write: the workspace.
        protected_paths: What inside the writable ones it may not write.
        share_network: Whether it sees the host's network.
    """

    read_only_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    protected_paths: tuple[str, ...] = ()
    share_network: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Launch:
    """A command ready to be started: its arguments and its whole environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def confine(spec: SandboxSpec, argv: Sequence[str], environment: Mapping[str, str], *, backend: str) -> Launch:
    """Give the command that runs `argv` within `spec`.

    Raises:
        SandboxError: There is no such backend.
    """
    if backend not in BACKENDS:
        raise SandboxError(f"no confinement backend {backend!r}; there are: {', '.join(BACKENDS)}")
    return Launch(tuple(argv), dict(environment))
