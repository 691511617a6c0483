"""The private folder of one running kernel: its sockets, its ticket, and a record of whose it is.

    hermes-XXXXXXXX/   0700, in the first place short enough for socket paths
      owner.json       who made it, and which processes belong to it
      s/k-1 … k-5      Jupyter's channels
      b/bridge         the session's endpoint
      k/ticket.json    what the kernel reads once and removes
      t/               its home, where nothing gives it one in memory

The maker holds a lock on the folder for as long as it lives. That is how a sweep tells what a crash left from what is in use,
across containers and reused process numbers.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import msgspec

from host_bridge.errors import SessionError
from host_bridge.rundirs.processes import ProcessIdentity, identify, machine_state

PREFIX = "hermes-"
RECORD_NAME = "owner.json"
MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sun_path less its final NUL
_LONGEST_SOCKET = f"{PREFIX}{'x' * 8}/s/k-99999"
_PARTS = ("s", "b", "k", "t")

_log = logging.getLogger(__name__)


class OwnerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose a folder is.

    Attributes:
        host: The process that made it.
        machine_state: Where and when the process numbers here mean anything.
        kernel: The kernel process, leader of a session of its own.
        bridge: The session process.
        connection_file: Jupyter's, which lies elsewhere and holds the channels' key.
        covers: Paths in the workspace at which the kernel's sandbox has put a cover.
        groups: Folders of the control groups the kernel is in.
    """

    host: ProcessIdentity
    machine_state: str
    kernel: ProcessIdentity | None = None
    bridge: ProcessIdentity | None = None
    connection_file: str = ""
    covers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class RunDirectory:
    """A kernel's private folder. Removed by `remove()`, or when the process that made it exits.

    Attributes:
        path: Absolute.
        channels: Prefix of Jupyter's sockets, as jupyter_client's `ip`.
        bridge_endpoint: The ZeroMQ address for the session.
        ticket_path: Where the kernel's ticket goes.
    """

    def __init__(self) -> None:
        self.path = _make()
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._end = weakref.finalize(self, _end, self.path, self._lock, os.getpid())
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        host = identify(os.getpid()) or ProcessIdentity(os.getpid())
        self._record = OwnerRecord(host, machine_state())
        self.record()
        for part in _PARTS:
            Path(self.path, part).mkdir(mode=0o700)
        self.channels = f"{self.path}/s/k"
        self.bridge_endpoint = f"ipc://{self.path}/b/bridge"
        self.ticket_path = f"{self.path}/k/ticket.json"

    def record(self, **changes: object) -> None:
        """Write down what belongs to the folder: the fields of `OwnerRecord` that have changed."""
        self._record = msgspec.structs.replace(self._record, **changes)
        new = Path(self.path, f".{RECORD_NAME}")
        new.write_bytes(msgspec.json.encode(self._record))
        new.replace(Path(self.path, RECORD_NAME))

    def write_ticket(self, text: str) -> None:
        """Put a ticket where the kernel will look, readable by the user alone. One not yet read is replaced."""
        Path(self.ticket_path).unlink(missing_ok=True)
        descriptor = os.open(self.ticket_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    def remove(self) -> None:
        """Remove the folder with everything in it. May be called again."""
        self._end()


def bases() -> Iterator[str]:
    """Give the places a run directory may lie in, best first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and _is_private(runtime):
        yield runtime
    seen = {runtime}
    # The short ones are for a TMPDIR that leaves no room for a socket's name.
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if base not in seen and Path(base).is_dir():
            seen.add(base)
            yield base


def remove_tree(path: str) -> None:
    """Remove a folder, whatever its owner did to the modes inside. What can't be removed stays, without an error."""
    shutil.rmtree(path, ignore_errors=True)
    if not Path(path).is_dir() or not hasattr(os, "O_PATH"):
        return
    for folder, _, _ in os.walk(path):
        _open_up(folder)
    shutil.rmtree(path, ignore_errors=True)


def remove_anything(path: str) -> None:
    """Remove what is at a path, if anything is, without following a link."""
    try:
        Path(path).unlink(missing_ok=True)
    except OSError:  # a folder
        remove_tree(path)


def _open_up(folder: str) -> None:
    try:
        # Through a descriptor that follows no link: one could have been put here to open up something else.
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
    except OSError as error:
        _log.warning("can't remove %s: %s", folder, error.strerror)
    finally:
        os.close(descriptor)


def _make() -> str:
    refused = []
    for base in bases():
        base = str(Path(base).absolute())
        if len(os.fsencode(f"{base}/{_LONGEST_SOCKET}")) > MAX_SOCKET_PATH_BYTES:
            refused.append(f"{base} (too long for a socket's path)")
            continue
        try:
            return tempfile.mkdtemp(prefix=PREFIX, dir=base)  # 0700
        except OSError as error:
            refused.append(f"{base} ({error.strerror})")
    raise SessionError(
        f"no place for the kernel's private folder: {', '.join(refused)}; set XDG_RUNTIME_DIR to a short folder of your own"
    )


def _is_private(path: str) -> bool:
    try:
        status = Path(path).stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _end(path: str, lock: int, maker: int) -> None:
    if os.getpid() == maker:  # a forked child inherits this object, and the folder isn't its to remove
        remove_tree(path)
    os.close(lock)
