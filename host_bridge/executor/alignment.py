"""Which cell of one notebook is which of another: by id, else by what it says and where it stands."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from host_bridge.executor.documents import Document, joined, metadata_of

_SIMILAR = 0.6  # of two texts that somebody would call versions of one another
_MAX_COMPARED_CHARACTERS = 5_000  # of each: telling similar texts takes time by their product
_MAX_COMPARED_CELLS = 50

Pair = tuple[int, int]


def match_cells(before: Document, after: Document) -> list[Pair]:
    """Match the cells of two notebooks.

    Returns:
        Pairs of indexes, in the order of the second notebook. What is in no pair was removed or added.
    """
    first, second = before["cells"], after["cells"]
    pairs: dict[int, int] = {}
    for key in (_name, _content):
        pairs |= _by_key(list(map(key, first)), list(map(key, second)), pairs)
    pairs |= _by_likeness(first, second, pairs)
    return [(pairs[index], index) for index in range(len(second)) if index in pairs]


def moved_cells(pairs: Sequence[Pair]) -> set[Pair]:
    """Give the pairs that changed places: the fewest whose absence leaves the others in one order."""
    # The longest increasing subsequence stays, found from its end.
    best: list[int] = []
    for index, (old, _) in enumerate(pairs):
        before = [best[earlier] for earlier in range(index) if pairs[earlier][0] < old]
        best.append(1 + max(before, default=0))
    staying: set[Pair] = set()
    length, limit = max(best, default=0), None
    for index in range(len(pairs) - 1, -1, -1):
        if best[index] == length and (limit is None or pairs[index][0] < limit):
            staying.add(pairs[index])
            length, limit = length - 1, pairs[index][0]
    return set(pairs) - staying


def _name(cell: Mapping[str, Any]) -> Any:
    # Every run gives the cell it injects another id.
    return "injected-parameters" if is_injected(cell) else ("id", cell.get("id"))


def is_injected(cell: Mapping[str, Any]) -> bool:
    """Whether a run put this cell in, with the parameters it was given."""
    tags = metadata_of(cell).get("tags")
    return isinstance(tags, list) and "injected-parameters" in tags


def _content(cell: Mapping[str, Any]) -> Any:
    return cell.get("cell_type"), joined(cell.get("source"))


def _by_key(old: Sequence[Any], new: Sequence[Any], known: Mapping[int, int]) -> dict[int, int]:
    taken = set(known.values())
    waiting: dict[Any, collections.deque[int]] = collections.defaultdict(collections.deque)
    for index, key in enumerate(old):
        if index not in taken:
            waiting[key].append(index)
    found = {}
    for index, key in enumerate(new):
        if index not in known and waiting[key]:
            found[index] = waiting[key].popleft()
    return found


def _by_likeness(first: Sequence[Any], second: Sequence[Any], known: Mapping[int, int]) -> dict[int, int]:
    """Match what is left between the same neighbours, if it reads alike."""
    taken = set(known.values())
    left = [index for index in range(len(first)) if index not in taken]
    found: dict[int, int] = {}
    for index in range(len(second)):
        if index in known or len(left) > _MAX_COMPARED_CELLS:
            continue
        low, high = _neighbours(index, known, len(first))
        for old in _within(left, low, high):
            if old not in found.values() and _is_alike(first[old], second[index]):
                found[index] = old
                break
    return found


def _neighbours(index: int, known: Mapping[int, int], count: int) -> tuple[int, int]:
    earlier = [key for key in known if key < index]
    later = [key for key in known if key > index]
    return (known[max(earlier)] if earlier else -1), (known[min(later)] if later else count)


def _within(indexes: Iterable[int], low: int, high: int) -> Iterable[int]:
    return (index for index in indexes if low < index < high)


def _is_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one.get("cell_type") != other.get("cell_type"):
        return False
    text, version = (joined(cell.get("source"))[:_MAX_COMPARED_CHARACTERS] for cell in (one, other))
    matcher = difflib.SequenceMatcher(None, text, version, autojunk=False)
    return matcher.quick_ratio() >= _SIMILAR and matcher.ratio() >= _SIMILAR
