"""The search's own process: walks its working directory, matches, writes one result.

A process of its own because a regular expression can take for ever and can't be interrupted; because matching would hold up
every other call of the session; and because what it needs of memory ends with it. It is started by `search_files`, with
nothing but the standard library (and pathspec, for trees with a .gitignore), and talks in lines of JSON:

    in      the Request
    out     {"ask": [paths]}         may these be looked at?
    in      a "1" or "0" for each
    out     {"result": {…}}, or {"invalid": "why the pattern can't be used"}

A match is within one line. What may be asked about is decided outside, by the policy, file by file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from host_bridge.tools.gitignore import FILE_NAME, Ignores
from host_bridge.tools.globs import Glob
from host_bridge.tools.required_text import required_text
from host_bridge.tools.tree import Entry, Layer, Tree, open_file

MAX_LINE_CHARACTERS = 2000
MEMORY_BYTES = 2**30
_BINARY_SNIFF_BYTES = 8192  # as git and grep: a NUL near the start means it is not text
_FIRST_READ_BYTES = 65_536  # most files of text end within it
_ASK_AT_ONCE = 256
_WAITING_BYTES = 4 * 2**20  # of files that are asked about together


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to do.

    Attributes:
        pattern: A regular expression for the target `content`, a glob for `files`.
        only: A single file of the working directory to search; empty for all that is in it.
        prefix: Goes before each path in the result.
        above: Rules of the folders above, as `(path of the working directory from there, text of the .gitignore)`.
        layer: A folder that is seen over the working directory; empty for none.
        touched: The files of it, with those that are gone.
        seconds: After so long the search ends with what it has.
    """

    pattern: str
    target: str
    output_mode: str
    file_glob: str | None
    only: str
    prefix: str
    limit: int
    offset: int
    context: int
    gitignore: bool
    above: list[tuple[str, str]]
    layer: str
    touched: list[str]
    max_file_bytes: int
    max_result_bytes: int
    seconds: float


class _TimeUpError(Exception):
    """Ends the search with what it has."""


class Result:
    """What is collected: a window of all there is, within a number of bytes."""

    def __init__(self, request: Request) -> None:
        self._first = request.offset
        self._last = request.offset + request.limit
        self._room = request.max_result_bytes
        self.matches: list[dict[str, Any]] = []
        self.files: list[str] = []
        self.counts: dict[str, int] = {}
        self.total = 0
        self.skipped_files = 0
        self.is_cut = False

    def wants_next(self) -> bool:
        """Count one more item; whether it is in the window."""
        position, self.total = self.total, self.total + 1
        return self._first <= position < self._last and self._room > 0

    def has_room(self, item: object) -> bool:
        """Whether an item still fits the reply; from the first that doesn't, none does."""
        self._room -= len(json.dumps(item))
        self.is_cut = self.is_cut or self._room < 0
        return self._room >= 0

    def as_value(self) -> dict[str, Any]:
        """Give it as the contract names it."""
        return {
            "matches": self.matches,
            "files": self.files,
            "counts": self.counts,
            "total": self.total,
            "truncated": self.is_cut or self.total > self._last,
            "skipped_files": self.skipped_files,
        }


class Search:
    """One search of the working directory.

    Args:
        may_see: Says for each path whether the policy lets it be looked at.
    """

    def __init__(self, request: Request, may_see: Callable[[list[str]], list[bool]]) -> None:
        self._request = request
        self._may_see = may_see
        self._deadline = time.monotonic() + request.seconds
        self._result = Result(request)
        self._name_glob: Glob | None
        if request.target == "files":
            self._name_glob = Glob(request.pattern)
        else:
            self._name_glob = None if request.file_glob is None else Glob(request.file_glob)
            self._matches_line = re.compile(request.pattern).search
            # Looked for in a file's bytes before they are made into lines; what is no text there can't be looked for.
            self._required = required_text(request.pattern.replace("\ufffd", ".")).encode(errors="replace")

    def run(self) -> dict[str, Any]:
        """Search, and give the result."""
        try:
            if self._request.target == "files":
                self._find_names()
            else:
                self._find_lines()
        except _TimeUpError:
            self._result.is_cut = True
        return self._result.as_value()

    def _entries(self) -> Iterator[Entry]:
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.ExitStack() as at_end:
            at_end.callback(os.close, folder)
            if self._request.only:
                yield Entry(self._request.only, self._request.only, folder, is_folder=False, is_file=True)
                return
            yield from self._walk(folder)

    def _walk(self, folder: int) -> Iterator[Entry]:
        hidden = self._name_glob is not None and self._name_glob.wants_hidden
        layer = Layer(self._request.layer, frozenset(self._request.touched)) if self._request.layer else None
        tree = Tree(folder, hidden=hidden, check=self._check, layer=layer)
        ignores = Ignores()
        for inside, text in self._request.above:
            ignores.add_above(inside, text)

        def enters(entry: Entry) -> bool:
            return entry.name != ".git" and not ignores.cover(entry.path, is_folder=True)

        def enter(folder: int, path: str) -> None:
            above = None if layer is None else layer.folder_of(f"{path}/{FILE_NAME}" if path else FILE_NAME)
            ignores.enter(folder if above is None else above, path)
            if above is not None:
                os.close(above)

        hooks = (enter, ignores.leave) if self._request.gitignore else ()
        for entry in tree.entries(enters, *hooks):
            self._check()
            if not entry.is_file or not entry.is_nameable:
                continue
            if self._name_glob is not None and not self._name_glob.matches(entry.path):
                continue
            if not ignores.cover(entry.path, is_folder=False):
                yield entry
        self._result.is_cut = self._result.is_cut or tree.is_cut

    def _find_names(self) -> None:
        waiting: list[str] = []
        for entry in self._entries():
            waiting.append(entry.path)
            if len(waiting) == _ASK_AT_ONCE:
                self._take_names(waiting)
                waiting = []
        self._take_names(waiting)

    def _take_names(self, paths: list[str]) -> None:
        for path, is_visible in zip(paths, self._may_see(paths), strict=True):
            if is_visible:
                self._add_file(path)

    def _find_lines(self) -> None:
        waiting: list[tuple[str, bytes]] = []
        size = 0
        for entry in self._entries():
            data = self._content(entry)
            if data is None or self._required not in data:
                continue
            waiting.append((entry.path, data))
            size += len(data)
            if len(waiting) == _ASK_AT_ONCE or size > _WAITING_BYTES:
                self._search_files(waiting)
                waiting, size = [], 0
        self._search_files(waiting)

    def _search_files(self, files: list[tuple[str, bytes]]) -> None:
        # Asked before matching, not after: how long an expression takes would tell what is in a file nobody may see.
        visible = self._may_see([path for path, _ in files])
        for (path, data), is_visible in zip(files, visible, strict=True):
            if is_visible:
                self._check()
                self._search_file(path, data)

    def _search_file(self, path: str, data: bytes) -> None:
        try:
            lines = _lines(data)
            numbers = [number for number, line in enumerate(lines) if self._matches_line(line)]
        except MemoryError:
            self._result.skipped_files += 1
            return
        if not numbers:
            return
        match self._request.output_mode:
            case "files_only":
                self._add_file(path)
            case "count":
                self._add_count(path, len(numbers))
            case _:
                for number in numbers:
                    self._add_match(path, number, lines)

    def _content(self, entry: Entry) -> bytes | None:
        """Give what is to be searched; None for what can't or shouldn't be."""
        descriptor = open_file(entry)
        if descriptor is None:
            self._result.skipped_files += 1
            return None
        try:
            return self._text_of(descriptor)
        except OSError:
            self._result.skipped_files += 1
            return None
        finally:
            os.close(descriptor)

    def _text_of(self, descriptor: int) -> bytes | None:
        beginning = os.read(descriptor, _FIRST_READ_BYTES)
        if b"\0" in beginning[:_BINARY_SNIFF_BYTES]:
            return None  # before the rest of it is read: what is not text is often large
        size = os.fstat(descriptor).st_size
        pieces = [beginning]
        total = len(beginning)
        # A file of the kernel's has no size and gives a page at a time, so what ends a file is that nothing more comes.
        while (total != size and pieces[-1]) or total > self._request.max_file_bytes:
            if max(size, total) > self._request.max_file_bytes:
                self._result.skipped_files += 1
                return None
            pieces.append(os.read(descriptor, max(size - total, _FIRST_READ_BYTES)))
            total += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _add_file(self, path: str) -> None:
        path = self._request.prefix + path
        if self._result.wants_next() and self._result.has_room(path):
            self._result.files.append(path)

    def _add_count(self, path: str, count: int) -> None:
        path = self._request.prefix + path
        if self._result.wants_next() and self._result.has_room((path, count)):
            self._result.counts[path] = count

    def _add_match(self, path: str, number: int, lines: list[str]) -> None:
        if not self._result.wants_next():
            return
        around = self._request.context
        found = {
            "path": self._request.prefix + path,
            "line": number + 1,
            "text": _shortened(lines[number]),
            "before": [_shortened(line) for line in lines[max(0, number - around) : number]],
            "after": [_shortened(line) for line in lines[number + 1 : number + 1 + around]],
        }
        if self._result.has_room(found):
            self._result.matches.append(found)

    def _check(self) -> None:
        if time.monotonic() > self._deadline:
            raise _TimeUpError


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8-sig", errors="replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline is no line
    return lines


def _shortened(line: str) -> str:
    rest = len(line) - MAX_LINE_CHARACTERS
    return line if rest <= 0 else f"{line[:MAX_LINE_CHARACTERS]}… [{rest} more characters]"


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _ask(paths: list[str]) -> list[bool]:
    if not paths:
        return []
    _say({"ask": paths})
    answer = sys.stdin.readline().strip()
    if len(answer) != len(paths):
        raise SystemExit("the search was abandoned")
    return [character == "1" for character in answer]


def main() -> None:
    """Run one search."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, hard) if hard == -1 else (min(MEMORY_BYTES, hard), hard))
    warnings.simplefilter("ignore")  # about patterns, which are the caller's
    request = Request(**json.loads(sys.stdin.readline()))
    try:
        search = Search(request, _ask)
    except (re.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
        _say({"invalid": str(error) or type(error).__name__})
        return
    _say({"result": search.run()})


if __name__ == "__main__":
    main()
