"""Which folders may be a confined kernel's workspace, which it may fill and empty: not those that hold everything else."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from host_bridge.config import config_folder, state_folder
from host_bridge.errors import SandboxError

SYSTEM_FOLDERS = (
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "proc",
    "run",
    "sbin",
    "sys",
    "usr",
    "var",
)
"""Neither these nor, but for `/var` and `/run`, anything in them."""
_MAY_HOLD = {"run", "var"}

SHARED_FOLDERS = ("/home", "/media", "/mnt", "/srv", "/tmp", "/var/tmp")
"""Not these themselves; what is in them."""


def check_workspace(workspace: str, run_folder: str) -> None:
    """Refuse a folder that can't be given to a kernel.

    Args:
        workspace: Absolute and canonical.
        run_folder: The kernel's run directory, which lies beside those of other kernels.

    Raises:
        SandboxError: It is, or holds, somebody's home, the system, or the run directories.
    """
    problem = _problem(workspace, run_folder)
    if problem:
        raise SandboxError(
            f"the folder {workspace} can't be a kernel's workspace: {problem}. Put the notebook into a folder of its own, or "
            "name one (hermes-runtime run --workspace FOLDER)"
        )


def _problem(workspace: str, run_folder: str) -> str:
    first, _, rest = workspace.lstrip("/").partition("/")
    if not first:
        return "it is the whole file system"
    if first in SYSTEM_FOLDERS and (not rest or first not in _MAY_HOLD):
        return "it belongs to the system"
    if workspace in SHARED_FOLDERS:
        return "it is everybody's, with their sockets and files in it"
    for home in homes():
        if _holds(workspace, home):
            return "it is a home folder, or holds one, with all its keys and settings"
    for folder in (run_folder, str(config_folder()), str(state_folder())):
        if _holds(workspace, folder) or _holds(folder, workspace):
            return "it has to do with the settings, the records or the running kernels of this program"
    return ""


def homes() -> set[str]:
    """The user's home, by the environment and by the system's records, and those of others."""
    found = {os.path.realpath(Path("~").expanduser())}
    # Where users come from a directory service, only the one asked for by number may be told.
    with contextlib.suppress(KeyError):  # a number without a name, as in containers
        found.add(os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir))
    # Below /home only: a service's home can be a folder like any other, or belong to nobody.
    found |= {entry.pw_dir.rstrip("/") for entry in pwd.getpwall() if entry.pw_dir.startswith("/home/")}
    return found - {"/"}


def _holds(folder: str, path: str) -> bool:
    real = os.path.realpath(path)
    return real == folder or real.startswith(f"{folder.rstrip('/')}/")
