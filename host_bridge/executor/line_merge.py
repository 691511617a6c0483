"""Merging two changes of one text, line by line, so that it can be proven: both changes are in the result, or there is none.

Changes that touch one another are a conflict, as for git: what lies between them is what says that they are independent.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import itertools
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Change:
    """Lines `start` to `end` of a text become other lines."""

    start: int
    end: int
    lines: tuple[str, ...]


def merge_lines(base: str, ours: str, theirs: str) -> str | None:
    """Merge two versions of a text.

    Returns:
        The text with both changes; None if they are in each other's way.
    """
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    before = _split(base)
    our_changes, their_changes = changes_of(before, _split(ours)), changes_of(before, _split(theirs))
    together = sorted({*our_changes, *their_changes})
    for one, other in itertools.pairwise(together):
        if other.start <= one.end and (_is_of_both(one, other, our_changes, their_changes)):
            return None
    merged = "\n".join(_applied(before, together))
    return merged if is_merge_of(base, ours, theirs, merged) else None


def is_merge_of(base: str, ours: str, theirs: str, merged: str) -> bool:
    """Whether a text holds both sides' changes and nothing else, told by counting lines: apart from how it was made."""
    before, one, other, result = (_split(text) for text in (base, ours, theirs, merged))
    expected = collections.Counter(before)
    for version in (one, other):
        expected.update(version)
        expected.subtract(before)
    for shared in set(changes_of(before, one)) & set(changes_of(before, other)):
        expected.subtract(shared.lines)
        expected.update(before[shared.start : shared.end])
    return +expected == collections.Counter(result) and min(expected.values(), default=0) >= 0


def changes_of(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """Give what turns one text into another."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return [
        Change(start, end, tuple(after[k:m]))
        for operation, start, end, k, m in matcher.get_opcodes()
        if operation != "equal"
    ]


def marked(ours: str, theirs: str) -> str:
    """Give both versions of a text, marked as git marks them."""
    return f"<<<<<<< ours\n{_ended(ours)}=======\n{_ended(theirs)}>>>>>>> theirs"


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def _split(text: str) -> list[str]:
    return text.split("\n")  # without their ends: otherwise appending a line would be a change of the last one


def _is_of_both(one: Change, other: Change, ours: Sequence[Change], theirs: Sequence[Change]) -> bool:
    """Whether the two come from different sides, so that nobody has seen them together."""
    return not ((one in ours and other in ours) or (one in theirs and other in theirs))


def _applied(before: Sequence[str], changes: Sequence[Change]) -> list[str]:
    result: list[str] = []
    position = 0
    for change in changes:
        result += before[position : change.start]
        result += change.lines
        position = max(position, change.end)
    return result + list(before[position:])
