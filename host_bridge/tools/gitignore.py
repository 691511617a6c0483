"""What `.gitignore` files say about a tree, gathered while it is walked. Used by the search's own process."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILE_NAME = ".gitignore"
MAX_BYTES = 64 * 2**10


class Ignores:
    """The rules in force at the place the walk has reached: those of a deeper folder win, and in one file the last line."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, str, GitIgnoreSpec]] = []  # cut so much off a path, put this before it, ask this
        self._depths: list[int] = []

    def add_above(self, inside: str, text: str) -> None:
        """Take in the rules of a folder above the root, from which the root's path is `inside`.

        Rules that leave out the root itself are not for who searches there on purpose.
        """
        spec = _spec(text)
        if spec is not None and not spec.check_file(inside + "/").include:
            self._levels.append((0, inside + "/", spec))

    def enter(self, folder: int, path: str) -> None:
        """Take in the rules of a folder: its descriptor, and its path from the root (`""` for the root)."""
        self._depths.append(len(self._levels))
        spec = _spec(read_rules(folder))
        if spec is not None:
            self._levels.append((len(path) + 1 if path else 0, "", spec))

    def leave(self) -> None:
        """Forget the rules of the folder entered last."""
        del self._levels[self._depths.pop() :]

    def cover(self, path: str, *, is_folder: bool) -> bool:
        """Whether the rules leave out `path`, relative to the root."""
        for cut, before, spec in reversed(self._levels):
            include = spec.check_file(f"{before}{path[cut:]}{'/' if is_folder else ''}").include
            if include is not None:
                return include
        return False


def read_rules(folder: int) -> str:
    """Give the text of a folder's `.gitignore`, empty where there is none that can be used."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(FILE_NAME, flags, dir_fd=folder)
    except OSError:
        return ""
    with contextlib.closing(os.fdopen(descriptor, "rb")) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(MAX_BYTES).decode(errors="replace")


def _spec(text: str) -> GitIgnoreSpec | None:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return None
    import pathspec  # 30 ms, for trees that have such a file only

    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except (ValueError, re.error):
        return pathspec.GitIgnoreSpec.from_lines([line for line in lines if _is_rule(line)])


def _is_rule(line: str) -> bool:
    import pathspec

    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False  # git leaves out what it can't read, too
    return True
