"""Replaces one text by another in a file's bytes, and says what that does to its lines."""

from __future__ import annotations

from host_bridge.tools.line_edits import Edit, split_lines, trimmed

MAX_REPLACEMENTS = 100_000  # each is an edit of its own; beyond, a program does it in less time and memory
_MAX_PLACES = 5  # named in an error


class ReplacementError(ValueError):
    """The text isn't there, or not only once. Says where."""


def replace_text(content: bytes, old: bytes, new: bytes, *, every: bool) -> tuple[list[Edit], int]:
    r"""Find what replacing does.

    Where `old` is not found, the file's lines all end in `\r\n`, and `old` has plain newlines, both texts are taken with the
    file's endings.

    Args:
        every: Replace all occurrences; otherwise there must be exactly one.

    Returns:
        The edits, in order, and how many occurrences there were.

    Raises:
        ReplacementError: There is no occurrence, or more than one.
    """
    if old not in content and b"\n" in old and b"\r" not in old and _ends_in_crlf(content):
        old, new = old.replace(b"\n", b"\r\n"), new.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    first = content.find(old)
    if first < 0:
        raise ReplacementError(f"old_string is not in the file{_near(content, old)}")
    if not every and content.find(old, first + 1) >= 0:
        raise ReplacementError(
            f"old_string is in the file more than once, at lines {_places(content, old)}: add what surrounds it, or set "
            "replace_all"
        )
    places = _found(content, old)
    if len(places) > MAX_REPLACEMENTS:
        raise ReplacementError(f"old_string is in the file more than {MAX_REPLACEMENTS} times: change it by a program")
    return _edits(content, places, len(old), new), len(places)


def _found(content: bytes, old: bytes) -> list[int]:
    places: list[int] = []
    at = content.find(old)
    while at >= 0 and len(places) <= MAX_REPLACEMENTS:
        places.append(at)
        at = content.find(old, at + len(old))
    return places


def _edits(content: bytes, places: list[int], length: int, new: bytes) -> list[Edit]:
    edits: list[Edit] = []
    line = counted = at = 0
    while at < len(places):
        begin = content.rfind(b"\n", 0, places[at]) + 1
        line += content.count(b"\n", counted, begin)
        counted = begin
        end, added, at = _block(content, places, at, begin, length, new)
        edit = Edit(line, tuple(split_lines(content[begin:end])), tuple(split_lines(added)))
        if kept := trimmed(edit):
            edits.append(kept)
    return edits


def _block(content: bytes, places: list[int], at: int, begin: int, length: int, new: bytes) -> tuple[int, bytes, int]:
    """Take together what happens on the same lines; also the next line, where one loses the newline before it.

    Returns:
        Where the lines end, what replaces them, and the next place to look at.
    """
    pieces: list[bytes] = []
    last = b""  # of the pieces that aren't empty
    position = begin
    end = _line_end(content, places[at])
    while True:
        while at < len(places) and places[at] < end:
            for piece in (content[position : places[at]], new):
                pieces.append(piece)
                last = piece or last
            position = places[at] + length
            end = max(end, _line_end(content, position - 1))
            at += 1
        tail = content[position:end]
        if (tail or last).endswith(b"\n") or not (tail or last) or end == len(content):
            return end, b"".join([*pieces, tail]), at
        end = _line_end(content, end)


def _line_end(content: bytes, position: int) -> int:
    newline = content.find(b"\n", position)
    return len(content) if newline < 0 else newline + 1


def _ends_in_crlf(content: bytes) -> bool:
    return 0 < content.count(b"\r\n") == content.count(b"\n")


def _places(content: bytes, old: bytes) -> str:
    lines: list[str] = []
    at, line, counted = content.find(old), 1, 0
    while at >= 0 and len(lines) < _MAX_PLACES:
        line += content.count(b"\n", counted, at)
        counted = at
        lines.append(str(line))
        at = content.find(old, at + 1)
    return ", ".join(lines) + (" and more" if at >= 0 else "")


def _near(content: bytes, old: bytes) -> str:
    """Where the text stands but for white space, as a hint."""
    wanted = [line.strip() for line in old.strip().split(b"\n")]
    lines = [line.strip() for line in content.split(b"\n")]
    text = b"\n" + b"\n".join(lines) + b"\n"
    at = text.find(b"\n" + b"\n".join(wanted) + b"\n")
    if at < 0 or not wanted[0]:
        return ": read it again and copy the text exactly"
    return f"; but for white space it is at line {text.count(chr(10).encode(), 0, at) + 1}: copy that exactly"
