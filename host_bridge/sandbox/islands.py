"""The names in a workspace that a kernel may not write: what makes the host, an editor or an agent run something later.

All of them are top-level names. A mount point can't be renamed or removed, and its parent is the workspace, itself a mount: so
nothing can be put in their place. Repositories further down are not protected; `docs/security.md` says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from hermes_protocol.protected_names import FILES, FOLDERS, ONLY_IF_THERE
from host_bridge.control import SessionConfig
from host_bridge.errors import SandboxError
from host_bridge.sandbox.spec import Island


def survey(
    workspace: str, *, further: tuple[str, ...] = (), covers: frozenset[str] = frozenset()
) -> tuple[Island, ...]:
    """Look at what of the workspace has to be protected.

    Args:
        workspace: Absolute and canonical.
        further: Files that must not change, wherever they are: policy files in force, the running notebook. Those outside of
            the workspace are passed over.
        covers: Paths at which other sandboxes have put a cover, which count as missing.

    Raises:
        SandboxError: One of the names is a link: it could lead anywhere, and later somewhere else.
    """
    islands = {}
    for name in (*FOLDERS, *FILES, *ONLY_IF_THERE):
        island = _island(f"{workspace.rstrip('/')}/{name}", name, covers)
        if island is not None:
            islands[island.path] = island
    for path in further:
        if path.startswith(f"{workspace.rstrip('/')}/") and os.path.lexists(path):
            for island in _further(workspace, path):
                islands.setdefault(island.path, island)
    return tuple(islands.values())


def protected_files(session: SessionConfig) -> tuple[str, ...]:
    """Give the files that nothing confined may change, by the names they were given and by those they really have."""
    policies = (path for _, path in session.policy_paths)
    kept = (session.notebook, session.audit_path, session.audit_heads, session.grants_path, session.accepted_path)
    named = [path for path in (*policies, *kept) if path]
    return tuple({os.path.abspath(path) for path in named} | {os.path.realpath(path) for path in named})  # noqa: PTH100


def _further(workspace: str, path: str) -> Iterator[Island]:
    """Give a file somewhere in the workspace, and the folders that lead to it."""
    way = workspace.rstrip("/")
    for name in path[len(way) + 1 :].split("/"):
        way = f"{way}/{name}"
        if os.path.islink(way):  # noqa: PTH114 - names, not Path objects, all the way
            raise _refuse_link(way)
        yield Island(way, "file" if way == path else "way")


def _island(path: str, name: str, covers: frozenset[str]) -> Island | None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        if name in ONLY_IF_THERE:
            return None
        return Island(path, "no folder" if name in FOLDERS else "no file")
    if stat.S_ISLNK(mode):
        raise _refuse_link(path)
    if path in covers:
        return Island(path, "no folder" if name in FOLDERS else "no file")
    return Island(path, "folder" if stat.S_ISDIR(mode) else "file")


def _refuse_link(path: str) -> SandboxError:
    return SandboxError(
        f"{path} is a symbolic link, and a kernel that may write where it leads could change what this name means; "
        "replace the link by what it points to, or use another workspace"
    )
