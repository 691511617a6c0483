"""Which folders may be a confined kernel's workspace, which it may fill and empty: not those that hold everything else."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

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
    for home in homes():
        if _holds(workspace, home):
            return "it is a home folder, or holds one, with all its keys and settings"
    if _holds(workspace, run_folder):
        return "it holds the private folders of running kernels"
    return ""


def homes() -> set[str]:
    """The user's home, by the environment and by the system's records."""
    found = {os.path.realpath(Path("~").expanduser())}
    try:
        found.add(os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir))
    except KeyError:  # a number without a name, as in containers
        found.discard("")
    return found - {"/"}


def _holds(folder: str, path: str) -> bool:
    real = os.path.realpath(path)
    return real == folder or real.startswith(f"{folder.rstrip('/')}/")
