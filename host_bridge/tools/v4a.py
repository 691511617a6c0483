"""The V4A patch format: several files' changes as one text, placed by their context rather than by line numbers.

    *** Begin Patch
    *** Update File: path          then, optionally, *** Move to: new path
    @@ a line before the change    optional, several narrow one another
     context
    -removed
    +added
    *** End of File                optional: the hunk ends where the file ends
    *** Add File: path             then lines that begin with +
    *** Delete File: path
    *** End Patch

This reads it; `hunks` says where hunks go.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence

_BEGIN, _END = "*** Begin Patch", "*** End Patch"
_UPDATE, _ADD, _DELETE, _MOVE = "*** Update File: ", "*** Add File: ", "*** Delete File: ", "*** Move to: "
_END_OF_FILE = "*** End of File"
_CARRIAGE_RETURN = "\r"
_LINE_NUMBERS = re.compile(r"-\d+(,\d+)? \+\d+(,\d+)? @@")  # of a unified diff; worth nothing here


class PatchError(ValueError):
    """Not a patch, or one that doesn't fit the file. Says which line of the patch, or which hunk."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hunk:
    """One change.

    Attributes:
        headers: The `@@` lines' texts, in order.
        lines: `(" ", "-" or "+", text)`, without endings.
        at_end: Whether it must end where the file ends.
    """

    headers: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    at_end: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FilePatch:
    """What happens to one file.

    Attributes:
        action: `"update"`, `"add"` or `"delete"`.
        move_to: The new path, None where it stays.
        hunks: Of an update.
        content: Of an added file.
    """

    action: str
    path: str
    move_to: str | None = None
    hunks: tuple[Hunk, ...] = ()
    content: str = ""


def parse_patch(text: str) -> list[FilePatch]:
    """Read a patch.

    Raises:
        PatchError: It isn't one.
    """
    lines = text.strip().split("\n")
    if all(line.endswith("\r") for line in lines[:-1]):
        lines = [line.removesuffix("\r") for line in lines]
    if lines[0].rstrip() != _BEGIN:
        raise PatchError(f"a patch begins with the line '{_BEGIN}'")
    if len(lines) < 2 or lines[-1].rstrip() != _END:
        raise PatchError(f"a patch ends with the line '{_END}'")
    files = list(_Reader(lines[:-1]).files())
    if not files:
        raise PatchError("the patch changes no file")
    return files


def with_paths(text: str, rename: Callable[[str], str]) -> str:
    """Give a patch with other paths: `rename` is asked for each, in the order in which the patch has them."""
    return "\n".join(_with_path(line, rename) for line in text.split("\n"))


def _with_path(line: str, rename: Callable[[str], str]) -> str:
    for keyword in (_UPDATE, _ADD, _DELETE, _MOVE):
        if line.startswith(keyword) and (path := line[len(keyword) :].strip()):
            return f"{keyword}{rename(path)}{_CARRIAGE_RETURN if line.endswith(_CARRIAGE_RETURN) else ''}"
    return line


class _Reader:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 1  # behind the line that begins the patch

    def files(self) -> list[FilePatch]:
        files = []
        while (line := self._peek()) is not None:
            if not line.strip():
                self._at += 1
            elif path := self._take(_UPDATE):
                files.append(self._update(path))
            elif path := self._take(_ADD):
                files.append(FilePatch("add", path, content=self._content()))
            elif path := self._take(_DELETE):
                files.append(FilePatch("delete", path))
            else:
                raise self._error("expected '*** Update File: ', '*** Add File: ' or '*** Delete File: ' with a path")
        return files

    def _update(self, path: str) -> FilePatch:
        move_to = self._take(_MOVE)
        hunks = []
        while (line := self._peek()) is not None and not line.startswith("*** "):
            if line.strip() or self._continues():
                hunks.append(self._hunk())
            else:
                self._at += 1
        if not hunks and move_to is None:
            raise self._error(f"nothing is changed in '{path}'")
        return FilePatch("update", path, move_to, tuple(hunks))

    def _hunk(self) -> Hunk:
        headers = []
        while (line := self._peek()) is not None and line.startswith("@@"):
            header = line[2:].strip()
            if header and not _LINE_NUMBERS.match(header):
                headers.append(header)
            self._at += 1
        lines = []
        while (line := self._peek()) is not None and not line.startswith(("@@", "*** ")):
            if line and line[0] not in " -+":
                raise self._error("a line of a hunk begins with a space, '-' or '+'")
            if not line and not self._continues():
                break  # blank lines between two files
            lines.append((line[0], line[1:]) if line else (" ", ""))
            self._at += 1
        at_end = self._peek() == _END_OF_FILE
        self._at += at_end
        if not any(kind in "-+" for kind, _ in lines):
            raise self._error("the hunk changes nothing")
        return Hunk(tuple(headers), tuple(lines), at_end)

    def _content(self) -> str:
        lines = []
        while (line := self._peek()) is not None and not line.startswith("*** "):
            if line.startswith("+"):
                lines.append(line[1:] + "\n")
            elif line.strip():
                raise self._error("a line of an added file begins with '+'")
            elif self._continues():
                lines.append("\n")
            self._at += 1
        return "".join(lines)

    def _continues(self) -> bool:
        """Whether, after blank lines, the same file goes on."""
        following = itertools.dropwhile(lambda line: not line.strip(), self._lines[self._at :])
        return not next(following, "*** ").startswith("*** ")

    def _peek(self) -> str | None:
        return self._lines[self._at] if self._at < len(self._lines) else None

    def _take(self, keyword: str) -> str | None:
        line = self._peek()
        if line is None or not line.startswith(keyword):
            return None
        path = line[len(keyword) :].strip()
        if not path:
            raise self._error("a path is missing")
        self._at += 1
        return path

    def _error(self, problem: str) -> PatchError:
        return PatchError(f"line {self._at + 1} of the patch: {problem}")
