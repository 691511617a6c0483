"""Tags that narrow cells: what they say, and which of them refuse the run."""

from __future__ import annotations

from typing import Any

import pytest
from notebook_runs import code

from host_bridge.errors import NotebookError
from host_bridge.executor.cell_tags import check_narrowing, narrowing_of


def test_each_tag_is_one_rule_of_one_list() -> None:
    cell = code("1", "hermes:narrow=read_file(./data/**)", "parameters", "hermes:narrow=terminal(git status *)")
    assert narrowing_of(cell) == ("read_file(./data/**)", "terminal(git status *)")
    assert narrowing_of(code("1", "narrow=read_file", "other:narrow=x", "hermes:something=else")) == ()
    check_narrowing({"cells": [cell]})


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("hermes:narrow=read_fil", "did you mean read_file"),
        ("hermes:narrow=read_file(", "read_file"),
        ("hermes:narrow=*", "takes nothing away"),
        ("hermes:narrow=", "write a rule behind it"),
        ("hermes:narrow", "write a rule behind it"),
        ("hermes:narow=read_file", "did you mean hermes:narrow"),
        ("hermes:Narrow=read_file", "did you mean hermes:narrow"),
        ("hermes:narrow =read_file", "did you mean hermes:narrow"),
        ("hermes:narrow=" + "x" * 2000, "over the limit"),
    ],
)
def test_a_tag_that_cannot_be_meant_names_its_cell(tag: str, problem: str) -> None:
    with pytest.raises(NotebookError, match=problem) as caught:
        check_narrowing({"cells": [code("1", "injected-parameters"), code("1"), code("2", tag)]})
    assert caught.value.cell_index == 1, "as the notebook's author counts"
    assert str(caught.value).startswith("cell 1: ")


def test_a_host_applications_own_tools_may_be_named() -> None:
    cells = {"cells": [code("1", "hermes:narrow=mail")]}
    check_narrowing(cells, ["mail"])
    with pytest.raises(NotebookError, match="no tool 'mail'"):
        check_narrowing(cells)


@pytest.mark.parametrize(
    "document",
    [{}, {"cells": None}, {"cells": [None, 3, {"metadata": []}, {"metadata": {"tags": "hermes:narrow=x"}}]}],
)
def test_a_document_that_is_no_notebook_is_left_to_who_reads_it(document: dict[str, Any]) -> None:
    check_narrowing(document)
