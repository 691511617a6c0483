"""A difference is applied to the notebook it was made from, and to no other."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.executor import NotebookExecutor
from host_bridge.executor.patching import PatchError, patch_notebook


@pytest.fixture
def before() -> NotebookNode:
    return new_notebook(cells=[new_code_cell(f"x = {n}\ny = {n}", id=f"c{n}") for n in range(3)])


@pytest.fixture
def after(before: NotebookNode) -> NotebookNode:
    made = copy.deepcopy(before)
    made.cells[1].source = "x = 1\ny = 100"
    del made.cells[0]
    made.metadata["title"] = "After"
    return made


@pytest.fixture
def difference(before: NotebookNode, after: NotebookNode) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(NotebookExecutor().diff_notebooks(before, after).to_dict()))
    return loaded


def test_it_makes_the_second_notebook_of_the_first(
    before: NotebookNode, after: NotebookNode, difference: dict[str, Any]
) -> None:
    untouched = copy.deepcopy(before)
    assert patch_notebook(before, difference) == after
    assert before == untouched


def test_another_notebook_is_refused(before: NotebookNode, after: NotebookNode, difference: dict[str, Any]) -> None:
    with pytest.raises(PatchError, match="has been applied already"):
        patch_notebook(after, difference)
    before.cells[1].source = "x = 7\ny = 1"
    with pytest.raises(PatchError, match="isn't the one"):
        patch_notebook(before, difference)


def test_a_difference_that_somebody_changed_is_refused(before: NotebookNode, difference: dict[str, Any]) -> None:
    difference["operations"][0]["diff"] = difference["operations"][0]["diff"][:1]
    with pytest.raises(PatchError, match="changed since"):
        patch_notebook(before, difference)


def test_nbdimes_own_is_applied_if_one_says_so(
    before: NotebookNode, after: NotebookNode, difference: dict[str, Any]
) -> None:
    with pytest.raises(PatchError, match="--unchecked"):
        patch_notebook(before, difference["operations"])
    assert patch_notebook(before, difference["operations"], unchecked=True) == after


@pytest.mark.parametrize(
    "difference",
    [
        None,
        3,
        {},
        {"operations": 1, "digests": []},
        [{"op": "no"}],
        [{"op": "patch", "key": "cells", "diff": [3]}],
        ["x"],
    ],
)
def test_what_is_no_difference_is_refused(before: NotebookNode, difference: Any) -> None:
    with pytest.raises(PatchError):
        patch_notebook(before, difference, unchecked=True)


def test_what_would_be_no_notebook_is_refused(before: NotebookNode) -> None:
    with pytest.raises(PatchError, match="doesn't make a notebook"):
        patch_notebook(before, [{"op": "remove", "key": "cells"}], unchecked=True)
