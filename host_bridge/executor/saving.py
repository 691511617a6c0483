"""Saving a notebook while it runs: whole or not at all, and cheap enough to do at every change.

A save encodes the cells that changed since the last one and writes all pieces to a file beside the output, which then takes
its place: a reader, or what is left after kill -9, sees one saved state or the next, never half of one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from host_bridge.errors import OutputError
from host_bridge.executor.encoding import Piece, encode_cell, join_notebook
from host_bridge.executor.output_folder import make_folder

if TYPE_CHECKING:
    from nbformat import NotebookNode

MIN_INTERVAL_SECONDS = 0.1
"""Between two saves. A notebook of trivial cells settles one in 5-10 ms; nobody watches a file more closely than this."""

COST_SHARE = 10
"""Wait at least this many times what the last save took, so that saving never takes more than a tenth of a run."""

RETRY_SECONDS = 5.0  # after a save that failed

_SUFFIX = ".saving"
_numbers = itertools.count()


class Destination(Protocol):
    """Where a notebook is saved to."""

    def write(self, pieces: Iterable[bytes], *, last: bool) -> None:
        """Replace what is there. With `last`, it must survive a power cut when this returns."""


class LocalFile:
    """A path on this machine. A link is followed, so what it points to is replaced, not the link.

    That is found out once. The folder may lie in a kernel's workspace, and what its path leads to later is the kernel's choice.

    Args:
        path: The file.
        mode: The permissions of a new one, less what the umask takes.
        makes_folder: Whether a folder that is missing is made.

    Raises:
        OutputError: Nothing can be written there.
    """

    def __init__(self, path: str, *, mode: int = 0o666, makes_folder: bool = False) -> None:
        if makes_folder:
            make_folder(path)
        self._shown = path
        self._mode = mode
        self._path = os.path.realpath(path)
        folder, self._name = os.path.split(self._path)
        self._is_special = _check_writable(path, self._path)
        if not self._is_special:
            _sweep(folder, self._name)
            self._folder = _open_folder(folder)
            weakref.finalize(self, os.close, self._folder)

    @property
    def path(self) -> str:
        """Where it really is."""
        return self._path

    def write(self, pieces: Iterable[bytes], *, last: bool) -> None:
        """Replace the file."""
        try:
            if not self._is_special:
                self._replace(pieces, last)
            elif last:  # a pipe or a device keeps what it is given: give it one notebook
                with open(os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as stream:
                    stream.writelines(pieces)
        except OSError as error:
            raise OutputError(
                f"can't save {self._shown!r}: {error.strerror}; free some space or choose another output"
            ) from error

    def _replace(self, pieces: Iterable[bytes], last: bool) -> None:
        beside = f".{self._name}.{os.getpid()}-{next(_numbers)}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(beside, flags, self._mode, dir_fd=self._folder)
        try:
            with open(descriptor, "wb") as stream:
                self._keep_mode(descriptor)
                stream.writelines(pieces)
                if last:
                    stream.flush()
                    os.fsync(descriptor)
            os.replace(beside, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=self._folder)
            raise

    def _keep_mode(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            status = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):  # a link's mode is no file's
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _open_folder(folder: str) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # one that may be written, though not listed
        return os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)


def _check_writable(shown: str, path: str) -> bool:
    """Whether the path is something else than a regular file: a pipe, a device."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise OutputError(f"can't write {shown!r}: {error.strerror}") from None
    folder = os.path.dirname(path)  # noqa: PTH120
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise OutputError(f"can't write {shown!r}: it is a folder; name a file in it")
    if not Path(folder).is_dir():
        raise OutputError(f"can't write {shown!r}: the folder {folder!r} doesn't exist; create it first")
    if status is not None and not stat.S_ISREG(status.st_mode):
        return True
    if not os.access(folder, os.W_OK | os.X_OK) or (status is not None and not os.access(path, os.W_OK)):
        raise OutputError(f"can't write {shown!r}: permission denied; choose another output or change its permissions")
    return False


def _sweep(folder: str, name: str) -> None:
    """Remove what a killed executor left beside this output."""
    for path in Path(folder).glob(f".{_glob_literal(name)}.*-*{_SUFFIX}"):
        process = path.name.removesuffix(_SUFFIX).rpartition(".")[2].partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            path.unlink(missing_ok=True)


def _glob_literal(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Saver:
    """Keeps a notebook's saved state behind its live one by little, and by nothing when it matters.

    Args:
        notebook: The live notebook.
        destination: Where to; None saves nothing.
        before_encoding: Told the index of a cell that is about to be encoded, to bring it up to date.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        notebook: NotebookNode,
        destination: Destination | None,
        *,
        before_encoding: Callable[[int], None] = lambda index: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notebook = notebook
        self._destination = destination
        self._before_encoding = before_encoding
        self._clock = clock
        self._pieces: list[Piece] = []
        self._stale: set[int] = set()
        self._is_due = False
        self._not_before = 0.0

    def touch(self, index: int) -> None:
        """Say that a cell changed."""
        self._stale.add(index)
        self._is_due = True

    def touch_all(self) -> None:
        """Say that every cell, or their number, changed."""
        self._pieces = [()] * len(self._notebook.cells)
        self._stale = set(range(len(self._pieces)))
        self._is_due = True

    def touch_metadata(self) -> None:
        """Say that the notebook's metadata changed."""
        self._is_due = True

    def seconds_until_due(self) -> float | None:
        """How long until `save_if_due` would save; None while nothing changed."""
        if self._destination is None or not self._is_due:
            return None
        return max(0.0, self._not_before - self._clock())

    def save_if_due(self) -> None:
        """Save if something changed and the last save is long enough ago."""
        if self.seconds_until_due() == 0.0:
            self.save()

    def postpone(self) -> None:
        """Say that saving failed, so that it is tried again after a while and not at every message."""
        self._not_before = self._clock() + RETRY_SECONDS

    def save(self, *, last: bool = False) -> None:
        """Save now.

        Raises:
            OutputError: It could not be written.
        """
        if self._destination is None:
            return
        started = self._clock()
        if len(self._pieces) != len(self._notebook.cells):
            self.touch_all()
        for index in sorted(self._stale):
            self._pieces[index] = ()  # a large one must not be there twice
            self._before_encoding(index)
            self._pieces[index] = encode_cell(self._notebook.cells[index])
        self._stale.clear()
        self._destination.write(join_notebook(self._notebook, self._pieces), last=last)
        self._is_due = False
        ended = self._clock()
        self._not_before = ended + max(MIN_INTERVAL_SECONDS, COST_SHARE * (ended - started))


def write_notebook_file(notebook: dict[str, Any], path: str) -> None:
    """Write a notebook to a path of this machine, whole or not at all.

    Raises:
        OutputError: It could not be written.
    """
    LocalFile(path).write(join_notebook(notebook, map(encode_cell, notebook["cells"])), last=True)
