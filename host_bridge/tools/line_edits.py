"""Changes to a file's lines, applied to its bytes and shown as a unified diff.

A line is what ends with a newline, its ending included; the last one may lack it. Bytes stay what they are: nothing is
decoded but for the diff.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

CONTEXT_LINES = 3  # as diff -u
_NO_NEWLINE = "\\ No newline at end of file"


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """Lines of the old content replaced by others.

    Attributes:
        start: Index of the first line removed, or of the line before which is added.
    """

    start: int
    removed: tuple[bytes, ...]
    added: tuple[bytes, ...]

    @property
    def end(self) -> int:
        """Index of the line behind those removed."""
        return self.start + len(self.removed)


def split_lines(content: bytes) -> list[bytes]:
    """Give the lines with their endings. A carriage return alone ends none."""
    parts = content.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    if parts[-1]:
        lines.append(parts[-1])
    return lines


def trimmed(edit: Edit) -> Edit | None:
    """Leave out the lines that stay the same at either end; None if nothing is left."""
    removed, added = edit.removed, edit.added
    shorter = min(len(removed), len(added))
    front = next((at for at in range(shorter) if removed[at] != added[at]), shorter)
    back = next((at for at in range(shorter - front) if removed[-1 - at] != added[-1 - at]), shorter - front)
    kept = Edit(edit.start + front, removed[front : len(removed) - back], added[front : len(added) - back])
    return kept if kept.removed or kept.added else None


def apply_edits(lines: Sequence[bytes], edits: Iterable[Edit]) -> bytes:
    """Give the new content. The edits are in order and don't overlap."""
    pieces: list[bytes] = []
    position = 0
    for edit in edits:
        pieces.extend(lines[position : edit.start])
        pieces.extend(edit.added)
        position = edit.end
    pieces.extend(lines[position:])
    return b"".join(pieces)


def unified_diff(
    old_name: str | None, new_name: str | None, lines: Sequence[bytes], edits: Sequence[Edit]
) -> Iterator[str]:
    """Give the diff's lines, without endings.

    Args:
        old_name: None for a file that is created.
        new_name: None for one that is removed.
        lines: The old content.
        edits: In order, trimmed, without overlaps.
    """
    yield f"--- {_label('a', old_name)}"
    yield f"+++ {_label('b', new_name)}"
    shift = 0
    for group in _groups(edits):
        first = max(0, group[0].start - CONTEXT_LINES)
        last = min(len(lines), group[-1].end + CONTEXT_LINES)
        growth = sum(len(edit.added) - len(edit.removed) for edit in group)
        yield f"@@ -{_range(first, last - first)} +{_range(first + shift, last - first + growth)} @@"
        position = first
        for edit in group:
            yield from _marked(" ", lines[position : edit.start])
            yield from _marked("-", edit.removed)
            yield from _marked("+", edit.added)
            position = edit.end
        yield from _marked(" ", lines[position:last])
        shift += growth


def _groups(edits: Sequence[Edit]) -> Iterator[list[Edit]]:
    group: list[Edit] = []
    for edit in edits:
        if group and edit.start - group[-1].end > 2 * CONTEXT_LINES:
            yield group
            group = []
        group.append(edit)
    if group:
        yield group


def _marked(mark: str, lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        yield mark + line.removesuffix(b"\n").decode(errors="replace")
        if not line.endswith(b"\n"):
            yield _NO_NEWLINE


def _label(side: str, name: str | None) -> str:
    if name is None:
        return "/dev/null"
    return name if name.startswith("/") else f"{side}/{name}"


def _range(start: int, count: int) -> str:
    # An empty range is named by the line before it.
    first = start + 1 if count else start
    return str(first) if count == 1 else f"{first},{count}"
