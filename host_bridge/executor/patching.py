"""Applying a structured difference to the notebook it was made from, and to no other.

nbdime applies operations by index and position whatever is there, so a difference that doesn't fit gives nonsense without a
word. Ours carry the digests of both notebooks; both are checked.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from host_bridge.errors import NotebookError
from host_bridge.executor.comparison import content_digest
from host_bridge.executor.notebooks import check_notebook
from host_bridge.executor.origin import origin_of, remember


class PatchError(NotebookError):
    """A difference that doesn't fit; nothing was changed."""


def patch_notebook(
    notebook: NotebookNode, difference: Mapping[str, Any] | Sequence[Any], *, unchecked: bool = False
) -> NotebookNode:
    """Give the notebook that a difference makes of another.

    Args:
        notebook: What it was made from; stays as it is.
        difference: What `NotebookDifference.to_dict` gives, or nbdime's operations alone.
        unchecked: Apply it also where nothing tells that it belongs to this notebook.

    Raises:
        PatchError: It doesn't fit, or there is no telling and `unchecked` isn't given.
    """
    operations, digests = _parts(difference)
    if digests is None and not unchecked:
        raise PatchError(
            "the difference doesn't say which notebook it was made from (nbdime's own don't): "
            "make it with `hermes-runtime diff --json`, or apply it with --unchecked"
        )
    if digests is not None and content_digest(notebook) != digests[0]:
        if content_digest(notebook) == digests[1]:
            raise PatchError("the notebook is what the difference leads to: it has been applied already")
        raise PatchError("the notebook isn't the one the difference was made from; compare again, or merge the two")
    patched = _apply(notebook, operations)
    if digests is not None and content_digest(patched) != digests[1]:
        raise PatchError("the difference doesn't lead to the notebook it was made for: it was changed since")
    try:
        check_notebook(patched)
    except NotebookError as error:
        raise PatchError(f"the difference doesn't make a notebook of this one: {error}") from None
    remember(patched, origin_of(notebook))
    return patched


def _parts(difference: Any) -> tuple[list[Any], tuple[str, str] | None]:
    if isinstance(difference, Mapping):
        operations, digests = difference.get("operations"), difference.get("digests")
        if not isinstance(operations, list) or not isinstance(digests, list | tuple) or len(digests) != 2:
            raise PatchError("that is no difference: it lacks `operations` or `digests`")
        return operations, (str(digests[0]), str(digests[1]))
    if isinstance(difference, list):
        return difference, None
    raise PatchError("that is no difference of notebooks")


def _apply(notebook: NotebookNode, operations: list[Any]) -> NotebookNode:
    from nbdime.diff_utils import to_diffentry_dicts
    from nbdime.patching import patch

    try:
        patched = patch(copy.deepcopy(notebook), to_diffentry_dicts(operations))
    except Exception as error:  # nbdime expects what it wrote itself, and stumbles in many ways
        raise PatchError(f"the difference can't be applied: {type(error).__name__}: {error}") from None
    node: NotebookNode = nbformat.from_dict(patched)
    return node
