"""Checking a merge against what it was made from, without believing how it was made.

nbdime's strategies `use-local` and `use-base` were seen to write `a=99a=10` for two versions of one line, and to call that
success. So no merge of ours leaves here before this has found both sides' changes in it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nbformat import NotebookNode

from host_bridge.errors import NotebookError
from host_bridge.executor.line_merge import is_merge_of
from host_bridge.executor.notebooks import check_notebook

if TYPE_CHECKING:
    from host_bridge.executor.merging import Merge


class MergeError(NotebookError):
    """A merge that isn't what it should be: a defect here, and nothing was written."""


def check_merge(base: NotebookNode, ours: NotebookNode, theirs: NotebookNode, merge: Merge) -> None:
    """Check a merge, also what it has of conflicts: in those both sides have to be there.

    Raises:
        MergeError: It isn't a notebook, or a change of a side isn't in it, or something that neither side wrote is.
    """
    try:
        check_notebook(merge.notebook)
    except NotebookError as error:
        raise MergeError(f"the merge would not be a notebook ({error}); merge by hand, and report this") from None
    problem = next(_problems(base, ours, theirs, merge), None)
    if problem:
        raise MergeError(f"the merge would lose something: {problem}; merge by hand, and report this")


def _problems(base: NotebookNode, ours: NotebookNode, theirs: NotebookNode, merge: Merge) -> Iterator[str]:
    old, one, other, new = (
        {cell.id: cell for cell in notebook.cells} for notebook in (base, ours, theirs, merge.notebook)
    )
    disputed = {(conflict.cell_id, conflict.part) for conflict in merge.conflicts}
    for name in {**old, **one, **other}:
        side, counterpart, before, after = one.get(name), other.get(name), old.get(name), new.get(name)
        if (name, "deleted") in disputed:
            if after is None:
                yield f"cell {name} is gone, which one side changed"
            continue
        if before is not None and (side is None or counterpart is None):
            if after is not None:
                yield f"cell {name} is there, which one side deleted"
            continue
        if after is None:
            yield f"cell {name} is gone"
        elif (name, "source") in disputed:
            if not all(version is None or version.source in after.source for version in (side, counterpart)):
                yield f"the conflict in cell {name} doesn't show both sides"
        elif side is None or counterpart is None:
            if after.source != (side or counterpart).source:  # type: ignore[union-attr] # one of them has the name
                yield f"cell {name} isn't what its side inserted"
        elif not _is_merged("" if before is None else before.source, side.source, counterpart.source, after.source):
            yield f"cell {name} isn't the merge of its versions"
    for name in new:
        if name not in one and name not in other:
            yield f"cell {name} comes from neither side"


def _is_merged(base: str, ours: str, theirs: str, merged: str) -> bool:
    if theirs in (base, ours):
        return merged == ours
    if ours == base:
        return merged == theirs
    return is_merge_of(base, ours, theirs, merged)
