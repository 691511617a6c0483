"""One folder per run, written when it starts and when it ends; a run whose process is gone in between has crashed.

runs/<run id>/   0700
  run.json       the entry
  .run.json      while it runs: room in which its end can be written, however full the disk is by then
  tape           the run's tape: while it is being written, where there is no output to put it beside, and when a later run's
                 took its place there
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from host_bridge.config import state_folder
from host_bridge.errors import HostBridgeError
from host_bridge.rundirs.processes import ProcessIdentity, identify, is_running, machine_state

CRASHED = "crashed"
RUNNING = "running"
UNKNOWN = "unknown"
ENTRY_NAME = "run.json"
TAPE_NAME = "tape"
MAX_ENTRY_BYTES = 2**20
MAX_SCRAP_BYTES = 2_000  # a table is in the output notebook; here it is told how large it was
ROOM_BYTES = 65_536  # for the end; an entry has one or two thousand, and with many scraps some ten
MAX_ERROR_CHARACTERS = 1000
ELSEWHERE = "it was begun in another container or on another machine, and has not said how it ended"
_RUN_ID = re.compile(r"[0-9a-f]{4,64}")


class RunsError(HostBridgeError):
    """A run that can't be found or isn't as it has to be."""


class RunEntry(msgspec.Struct, kw_only=True):
    """What is known of one run.

    Attributes:
        state: As results have it (`succeeded`, `failed`, …); `running` until its end is written.
        tape: Where its tape is; empty where there is none.
        tape_root: The tape's root hash when the run ended.
        tape_bytes: Its size then, where it was put beside an output.
        tape_was: Where it was put then, if a later run's took its place (`host_bridge.runs.kept_tapes`).
        tape_gone: Why there is none any more.
        resumes: The run that this one continues.
        host, machine_state, machine: The process that runs it, where that number means anything, and the machine's name.
    """

    run_id: str
    notebook: str
    output: str
    state: str = RUNNING
    started: str
    ended: str = ""
    duration_seconds: float = 0.0
    cells_executed: int = 0
    failed_cell: int | None = None
    error: str = ""
    principal: str = ""
    profile: str = ""
    tool_calls: dict[str, Any] = {}
    scraps: dict[str, Any] = {}
    tape: str = ""
    tape_root: str = ""
    tape_bytes: int = 0
    tape_was: str = ""
    tape_gone: str = ""
    resumes: str = ""
    mode: str = "record"
    host: ProcessIdentity
    machine_state: str
    machine: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs, as far as that can be seen from here."""
        return self.state == RUNNING and self.machine_state == machine_state() and is_running(self.host)

    @property
    def shown_state(self) -> str:
        """Its state.

        `crashed` where its process is gone without having said how it ended, and `unknown` where its process can't be seen.
        """
        if self.state != RUNNING or self.is_alive:
            return self.state
        here = machine_state()
        is_here = self.machine_state == here
        was_restarted = self.machine == socket.gethostname() and _boot(self.machine_state) != _boot(here)
        return CRASHED if is_here or was_restarted else UNKNOWN

    @property
    def shown_error(self) -> str:
        """Why it ended as it did, or why that isn't known."""
        return ELSEWHERE if self.shown_state == UNKNOWN else self.error

    @property
    def without_tape(self) -> str:
        """Why there is no tape, as a sentence about the run."""
        return self.tape_gone or f"the run {self.run_id} was not recorded (--no-tape)"


def runs_folder() -> Path:
    """Where the runs are. It need not exist."""
    return state_folder() / "runs"


def begin(run_id: str, *, notebook: str, output: str, started: str, **facts: Any) -> RunEntry:
    """Make a run's folder, write that it runs, and keep room for writing how it ended.

    Raises:
        RunsError: It can't be written.
    """
    folder = runs_folder() / run_id
    me = identify(os.getpid()) or ProcessIdentity(os.getpid())
    entry = RunEntry(
        run_id=run_id,
        notebook=notebook,
        output=output,
        started=started,
        host=me,
        machine_state=machine_state(),
        machine=socket.gethostname(),
        **facts,
    )
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise RunsError(f"the folder for runs {folder} can't be made: {error.strerror}; make room there") from None
    try:
        write(entry)
    except RunsError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return entry


def write(entry: RunEntry) -> None:
    """Write an entry in one step: of a run that ended, in the room that was kept for it, if it is needed.

    Raises:
        RunsError: It can't be written.
    """
    folder = runs_folder() / entry.run_id
    short = msgspec.structs.replace(entry, scraps={}, error=entry.error[:MAX_ERROR_CHARACTERS])
    whole, least = msgspec.json.encode(entry), msgspec.json.encode(short)
    try:
        try:
            _put(folder, whole if len(whole) <= MAX_ENTRY_BYTES else least)
        except OSError:
            _put(folder, least)  # scraps are in the output too
        if entry.state == RUNNING:
            _keep_room(folder / f".{ENTRY_NAME}")
    except OSError as error:
        raise RunsError(f"{folder / ENTRY_NAME} can't be written: {error.strerror}; make room there") from None


def _put(folder: Path, data: bytes) -> None:
    new = folder / f".{ENTRY_NAME}"
    # Not emptied first: what it has of the disk would be somebody else's by the time it is written.
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.truncate()
    new.replace(folder / ENTRY_NAME)


def _keep_room(path: Path) -> None:
    # Written, not allocated: some file systems can't do that, and it is a few pages.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(bytes(ROOM_BYTES))


def tape_path(run_id: str) -> Path:
    """Where a run's tape is written: no kernel reaches the state folder."""
    return runs_folder() / run_id / TAPE_NAME


def entries() -> list[RunEntry]:
    """Give all runs, the latest first. What can't be read is passed over."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        found = [entry for entry in map(_read, _folders()) if entry is not None]
    return sorted(found, key=lambda entry: entry.started, reverse=True)


def find(named: str) -> RunEntry:
    """Give the run that is meant by an id, the beginning of one, an output notebook or a tape; `last` is the latest.

    Raises:
        RunsError: None is, or several are.
    """
    known = entries()
    if named == "last" and known:
        return known[0]
    path = os.path.realpath(named)
    by_path = [entry for entry in known if path in (entry.tape, entry.output)]
    if by_path:
        return by_path[0]
    matching = [entry for entry in known if _RUN_ID.fullmatch(named) and entry.run_id.startswith(named)]
    if len(matching) > 1:
        raise RunsError(f"{len(matching)} runs begin with {named!r}; give more of its id")
    if not matching:
        raise RunsError(f"there is no run {named!r}; `hermes-runtime runs list` shows what there is")
    return matching[0]


def with_root(root: str) -> RunEntry | None:
    """Give the run that left the tape with this root hash, if one did."""
    return next((entry for entry in entries() if root and entry.tape_root == root), None)


def current(run_id: str) -> RunEntry | None:
    """Give a run's entry as it is written down now."""
    return _read(runs_folder() / run_id)


def forget(entry: RunEntry) -> None:
    """Remove a run from the index, with what lies in its folder. Its output, and a tape beside it, stay.

    Raises:
        RunsError: It still runs, or can't be removed.
    """
    if entry.is_alive:
        raise RunsError(f"the run {entry.run_id} still runs")
    try:
        shutil.rmtree(runs_folder() / entry.run_id)
    except OSError as error:
        raise RunsError(f"the run {entry.run_id} can't be removed: {error.strerror}") from None


def kept_scraps(scraps: dict[str, Any]) -> dict[str, Any]:
    """Give scraps fit for the index: what is large only by its kind and size."""
    kept = {}
    for name, value in scraps.items():
        try:
            size = len(msgspec.json.encode(value))
        except (TypeError, ValueError, RecursionError):
            kept[name] = f"({type(value).__name__})"
            continue
        kept[name] = value if size <= MAX_SCRAP_BYTES else f"({type(value).__name__}, {size} bytes)"
    return kept


def _boot(state: str) -> str:
    return state.split(" ")[0]


def _folders() -> Iterator[Path]:
    for entry in os.scandir(runs_folder()):
        if _RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _read(folder: Path) -> RunEntry | None:
    try:
        with open(folder / ENTRY_NAME, "rb") as file:
            return msgspec.json.decode(file.read(MAX_ENTRY_BYTES), type=RunEntry)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
