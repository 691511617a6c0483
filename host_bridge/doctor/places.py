"""The files, folders and sockets a session needs, tried by using them."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from host_bridge.config import HostConfig, audit_folder, config_path, load_config
from host_bridge.doctor.finding import Finding, failure, ok, warning
from host_bridge.errors import ConfigurationError, SessionError
from host_bridge.rundirs.rundir import MAX_SOCKET_PATH_BYTES, RunDirectory

ENOUGH_BYTES = 100 * 2**20  # an ordinary notebook with its audit log is far below


def examine() -> Iterator[Finding]:
    """Look at the configuration, the kernel's private folder, sockets, the audit folder and the disk."""
    try:
        config = load_config()
    except ConfigurationError as error:
        yield failure("configuration", str(error), "correct the file it names", path=error.path, key=error.key)
        config = HostConfig()
    else:
        path = config_path()
        yield ok("configuration", str(path) if path.exists() else f"defaults (no {path})", path=str(path))
    yield run_directory()
    yield loopback()
    folder = audit_folder(config)
    yield writable("audit folder", folder)
    yield disk(_nearest(folder))


def run_directory() -> Finding:
    """Make the private folder of a kernel, and a socket in it."""
    try:
        folder = RunDirectory()
    except (SessionError, OSError) as error:
        return failure("run directory", str(error), "set XDG_RUNTIME_DIR to a short, private folder you can write to")
    try:
        path = folder.bridge_endpoint.removeprefix("ipc://")
        mode = Path(folder.path).stat().st_mode & 0o777
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
        facts = {"path": folder.path, "socket_path_bytes": len(os.fsencode(path)), "mode": f"{mode:04o}"}
    except OSError as error:
        remedy = "set XDG_RUNTIME_DIR to a folder on a local file system that allows sockets"
        return failure("run directory", f"no socket can be made in {folder.path}: {error.strerror}", remedy)
    finally:
        folder.remove()
    if mode != 0o700:
        remedy = "set XDG_RUNTIME_DIR to a folder on a file system that keeps modes"
        return failure("run directory", f"{folder.path} is not private (mode {mode:04o})", remedy, **facts)
    text = f"private, in {Path(folder.path).parent}; socket paths {len(os.fsencode(path))} of {MAX_SOCKET_PATH_BYTES} bytes"
    return ok("run directory", text, **facts)


def loopback() -> Finding:
    """Take a TCP port, as kernels of applications without ipc channels do."""
    try:
        with socket.socket(socket.AF_INET) as listener:
            listener.bind(("127.0.0.1", 0))
    except OSError as error:
        remedy = "bring up the loopback interface; only applications that insist on TCP channels need it"
        return warning("ports", f"no TCP port on 127.0.0.1: {error.strerror}", remedy)
    return ok("ports", "TCP on 127.0.0.1 can be used where an application doesn't allow ipc channels")


def writable(subject: str, folder: Path) -> Finding:
    """See whether a folder can be written to, or made."""
    nearest = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        remedy = f"make {folder} writable, or set another folder ([audit] folder in the configuration)"
        return failure(subject, f"{nearest} can't be written to: {error.strerror}", remedy, path=str(folder))
    return ok(subject, str(folder) if nearest == folder else f"{folder} (will be made)", path=str(folder))


def disk(folder: Path) -> Finding:
    """See whether the disk under a folder has room."""
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < ENOUGH_BYTES:
        remedy = "free some space: a call whose audit record can't be written is not made"
        return failure("disk", text, remedy, free_bytes=free)
    return ok("disk", text, free_bytes=free)


def _nearest(folder: Path) -> Path:
    return next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
