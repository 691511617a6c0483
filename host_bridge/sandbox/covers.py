"""The empty names that bubblewrap leaves in a workspace where it covered a missing one: put by one kernel, removed by the last.

A cover is a mount point. Removing the name on the host takes the mount away from every other sandbox that has it, and their
kernels could then create what was covered. So each run directory's record names its covers, and a name is removed only when
no other living record has it. One lock keeps looking and recording together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from host_bridge.config import state_folder
from host_bridge.errors import SandboxError
from host_bridge.locks import LockBusyError, locked
from host_bridge.rundirs.records import living_records

LOCK_SECONDS = 10.0  # it is held for milliseconds

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def covers_locked() -> Iterator[None]:
    """Keep other hosts of this user from changing covers.

    Raises:
        SandboxError: The lock can't be had.
    """
    folder = state_folder()
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / "covers.lock", LOCK_SECONDS))
        except LockBusyError as error:
            who = error.holder or "another process"
            raise SandboxError(
                f"{who} holds the lock on sandbox covers for more than {LOCK_SECONDS:g} s; is it stuck?"
            ) from None
        except OSError as error:
            raise SandboxError(f"{folder} can't be used: {error.strerror}; make it writable") from None
        yield


def covers_in_use(besides: str = "") -> frozenset[str]:
    """Give the paths that living run directories have covers at.

    Args:
        besides: A run directory to leave out.
    """
    return frozenset(path for folder, record in living_records() if folder != besides for path in record.covers)


def remove_covers(paths: tuple[str, ...], run_folder: str) -> None:
    """Remove covers that nobody else uses.

    Args:
        paths: Where the kernel of `run_folder` had them.
        run_folder: Its run directory, whose record doesn't count any more.
    """
    if not paths:
        return
    try:
        with covers_locked():
            used = covers_in_use(besides=run_folder)
            for path in paths:
                if path not in used:
                    _remove_if_empty(path)
    except SandboxError as error:
        _log.warning("empty names are left in the workspace (%s): %s", ", ".join(paths), error)


def _remove_if_empty(path: str) -> None:
    try:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            Path(path).rmdir()  # fails if somebody has put something into it meanwhile
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
            Path(path).unlink()
    except OSError as error:
        _log.debug("%s stays: %s", path, error.strerror)
