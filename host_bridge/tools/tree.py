"""Walks what is beneath an open folder, in order, and never out of it: no link is followed, no path looked up twice.

Standard library only: it also runs in the search's own process.
"""

from __future__ import annotations

import dataclasses
import heapq
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Set

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


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """Files that are seen over those of a folder, and in place of them.

    Attributes:
        folder: Holds them, each with its path from the root of the walk.
        touched: Their paths. One that isn't in `folder` is seen nowhere.
    """

    folder: str
    touched: Set[str]

    def folder_of(self, path: str) -> int | None:
        """Open the folder in which a touched file is to be looked for; None if it is another's."""
        if path not in self.touched:
            return None
        return os.open(os.path.join(self.folder, path.rpartition("/")[0]), _ENTER)  # noqa: PTH118


@dataclasses.dataclass(slots=True)
class _Level:
    folder: int
    prefix: str
    entries: Iterator[os.DirEntry[str]]
    depth: int
    over: int | None = None  # the same folder of the layer, where it is in both
    laid: Set[str] = frozenset()  # names of the layer's entries

    def close(self) -> None:
        os.close(self.folder)
        if self.over is not None:
            os.close(self.over)


class Tree:
    """One walk.

    Args:
        folder: Where to start; stays the caller's.
        hidden: Whether entries whose name begins with a dot are there.
        check: Called again and again; raises to stop.
        layer: What is seen over the folder.

    Attributes:
        is_cut: Whether something was left out: too deep, too many, or not to be entered.
    """

    def __init__(
        self, folder: int, *, hidden: bool, check: Callable[[], None] = lambda: None, layer: Layer | None = None
    ) -> None:
        self._folder = folder
        self._layer = layer
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
            folder = os.open(".", _ENTER, dir_fd=self._folder)
            over = None if self._layer is None else _opened(self._layer.folder, folder)
            levels.append(self._level(folder, "", 0, over))
            on_enter(levels[-1].folder, "")
            while levels:
                level = levels[-1]
                listed = next(level.entries, None)
                if listed is None:
                    levels.pop().close()
                    on_leave()
                    continue
                entry = _entry(level, listed)
                yield entry
                if entry.is_folder and enters(entry) and (deeper := self._enter(level, entry)):
                    levels.append(deeper)
                    on_enter(deeper.folder, entry.path)
        finally:
            for level in levels:
                level.close()

    def _enter(self, level: _Level, entry: Entry) -> _Level | None:
        if level.depth >= MAX_DEPTH:
            self.is_cut = True
            return None
        over = _opened(entry.name, level.over)
        folder = _opened(entry.name, level.folder)
        if folder is None:  # the layer's alone; or gone since it was listed, or closed to the host's user
            folder, over = over, None
        if folder is None:
            self.is_cut = True
            return None
        return self._level(folder, f"{entry.path}/", level.depth + 1, over)

    def _level(self, folder: int, prefix: str, depth: int, over: int | None) -> _Level:
        level = _Level(folder, prefix, iter(()), depth, over)
        try:
            with os.scandir(folder) as listing:
                if over is None:
                    kept = self._first(listing)
                else:
                    with os.scandir(over) as layer:
                        kept = self._first(self._merged(level, listing, layer))
        except BaseException:
            level.close()
            raise
        if len(kept) == MAX_FOLDER_ENTRIES:
            self.is_cut = True
        level.entries = iter(kept)
        return level

    def _first(self, listing: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        return heapq.nsmallest(MAX_FOLDER_ENTRIES, self._seen(listing), key=lambda entry: entry.name)

    def _merged(
        self, level: _Level, listing: Iterable[os.DirEntry[str]], layer: Iterable[os.DirEntry[str]]
    ) -> Iterator[os.DirEntry[str]]:
        assert self._layer is not None
        laid = {entry.name: entry for entry in layer}
        level.laid = laid.keys()
        for entry in listing:
            above = laid.get(entry.name)
            if above is None:
                if level.prefix + entry.name not in self._layer.touched:
                    yield entry
            elif above.is_dir(follow_symlinks=False) and entry.is_dir(follow_symlinks=False):
                del laid[entry.name]  # in both: seen as it is, and entered in both
                yield entry
        yield from laid.values()

    def _seen(self, listing: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
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
        folder=level.over if level.over is not None and listed.name in level.laid else level.folder,
        is_folder=listed.is_dir(follow_symlinks=False),
        is_file=listed.is_file(follow_symlinks=False),
    )


def _opened(name: str, folder: int | None) -> int | None:
    try:
        return None if folder is None else os.open(name, _ENTER, dir_fd=folder)
    except OSError:
        return None


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
