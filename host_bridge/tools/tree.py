"""Walks what is beneath an open folder, in order, and never out of it: no link is followed, no path looked up twice.

Standard library only: it also runs in the search's own process.
"""

from __future__ import annotations

import dataclasses
import heapq
import os
import stat
from collections.abc import Callable, Iterator

MAX_DEPTH = 64  # one descriptor for each; a process has about a thousand
MAX_FOLDER_ENTRIES = 100_000  # kept at once, for sorting

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder.

    Attributes:
        path: From where the walk started, with `/`. Bytes that are not UTF-8 are shown as U+FFFD.
        name: As the system calls give it.
        folder: The folder's descriptor; only good until the walk goes on.
        is_folder: A real one, no link to one.
        is_file: A regular one.
    """

    path: str
    name: str
    folder: int
    is_folder: bool
    is_file: bool

    def status(self) -> os.stat_result:
        """Of the entry itself, not of what a link points to."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    @property
    def is_nameable(self) -> bool:
        """Whether its path is one a call could give."""
        return self.name.isascii() or not any("\udc80" <= character <= "\udcff" for character in self.name)


@dataclasses.dataclass(slots=True)
class _Level:
    folder: int
    prefix: str
    entries: Iterator[os.DirEntry[str]]
    depth: int


class Tree:
    """One walk.

    Args:
        folder: Where to start; stays the caller's.
        hidden: Whether entries whose name begins with a dot are there.
        check: Called again and again; raises to stop.

    Attributes:
        is_cut: Whether something was left out: too deep, too many, or not to be entered.
    """

    def __init__(self, folder: int, *, hidden: bool, check: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._hidden = hidden
        self._check = check
        self.is_cut = False

    def entries(
        self,
        enters: Callable[[Entry], bool],
        on_enter: Callable[[int, str], None] = lambda folder, path: None,
        on_leave: Callable[[], None] = lambda: None,
    ) -> Iterator[Entry]:
        """Give everything, by name within each folder, a folder before what is in it.

        Args:
            enters: Asked for each folder after it was given; where it says no, what is in it is left out.
            on_enter: Told about each folder that is entered, the first included: its descriptor and its path.
            on_leave: Told when that folder is done.
        """
        levels: list[_Level] = []
        try:
            levels.append(self._level(os.open(".", _ENTER, dir_fd=self._folder), "", 0))
            on_enter(levels[-1].folder, "")
            while levels:
                level = levels[-1]
                listed = next(level.entries, None)
                if listed is None:
                    os.close(levels.pop().folder)
                    on_leave()
                    continue
                entry = _entry(level, listed)
                yield entry
                if entry.is_folder and enters(entry) and (deeper := self._enter(level, entry)):
                    levels.append(deeper)
                    on_enter(deeper.folder, entry.path)
        finally:
            for level in levels:
                os.close(level.folder)

    def _enter(self, level: _Level, entry: Entry) -> _Level | None:
        if level.depth >= MAX_DEPTH:
            self.is_cut = True
            return None
        try:
            folder = os.open(entry.name, _ENTER, dir_fd=level.folder)
        except OSError:  # gone since it was listed, or closed to the host's user
            self.is_cut = True
            return None
        return self._level(folder, f"{entry.path}/", level.depth + 1)

    def _level(self, folder: int, prefix: str, depth: int) -> _Level:
        try:
            with os.scandir(folder) as listing:
                kept = heapq.nsmallest(MAX_FOLDER_ENTRIES, self._seen(listing), key=lambda entry: entry.name)
        except BaseException:
            os.close(folder)
            raise
        if len(kept) == MAX_FOLDER_ENTRIES:
            self.is_cut = True
        return _Level(folder, prefix, iter(kept), depth)

    def _seen(self, listing: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        for number, entry in enumerate(listing):
            if number % 1024 == 0:
                self._check()
            if self._hidden or not entry.name.startswith("."):
                yield entry


def _entry(level: _Level, listed: os.DirEntry[str]) -> Entry:
    shown = listed.name if listed.name.isascii() else os.fsencode(listed.name).decode(errors="replace")
    return Entry(
        path=level.prefix + shown,
        name=listed.name,
        folder=level.folder,
        is_folder=listed.is_dir(follow_symlinks=False),
        is_file=listed.is_file(follow_symlinks=False),
    )


def open_file(entry: Entry) -> int | None:
    """Open a regular file for reading; None if it is something else by now, gone, or closed to the host's user."""
    try:
        descriptor = os.open(
            entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=entry.folder
        )
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
