"""Reading run directories' records: whose they are, and whether their host lives."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from hermes_protocol.confinement import SELF_PREFIX
from host_bridge.rundirs.processes import is_running, machine_state
from host_bridge.rundirs.rundir import PREFIX, RECORD_NAME, OwnerRecord, bases

MAX_RECORD_BYTES = 64 * 2**10

_log = logging.getLogger(__name__)


def run_folders() -> Iterator[str]:
    """Give every folder that may be a run directory."""
    return _folders(_is_ours)


def self_folders() -> Iterator[str]:
    """Give every folder that may be the home of a kernel that confined itself."""
    return _folders(lambda name: name.startswith(SELF_PREFIX))


def _folders(is_meant: Callable[[str], bool]) -> Iterator[str]:
    for base in bases():
        try:
            names = [entry.path for entry in os.scandir(base) if is_meant(entry.name)]
        except OSError as error:
            _log.warning("can't look for run directories in %s: %s", base, error.strerror)
            continue
        yield from (str(Path(name).absolute()) for name in names)


def _is_ours(name: str) -> bool:
    # Other folders of the product have a word more in their name, and no record.
    return name.startswith(PREFIX) and "-" not in name.removeprefix(PREFIX)


def open_folder(path: str) -> int | None:
    """Open what may be a run directory of this user's; None when it isn't. Follows no link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(descriptor).st_uid != os.getuid():
        os.close(descriptor)
        return None
    return descriptor


def read_record(folder: int) -> OwnerRecord | None:
    """Read an opened run directory's record; None when there is none that can be read."""
    try:
        descriptor = os.open(RECORD_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(MAX_RECORD_BYTES), type=OwnerRecord)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def take_lock(folder: int) -> bool:
    """Lock an opened run directory, which works when its maker is gone."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def host_lives(record: OwnerRecord) -> bool:
    """Whether the process that made a run directory still runs."""
    # The lock alone would do, were it not for file systems that grant every lock.
    return record.machine_state == machine_state() and is_running(record.host)


def living_records() -> Iterator[tuple[str, OwnerRecord]]:
    """Give the run directories in use, by their path."""
    for path in run_folders():
        descriptor = open_folder(path)
        if descriptor is None:
            continue
        try:
            record = read_record(descriptor)
        finally:
            os.close(descriptor)
        if record is not None and host_lives(record):
            yield path, record
