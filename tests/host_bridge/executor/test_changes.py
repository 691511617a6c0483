"""What changed between two notebooks, in terms that a decision can be made on."""

from __future__ import annotations

import copy
import json
import time

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from host_bridge.executor import NotebookExecutor
from host_bridge.executor.changes import NotebookChanges
from host_bridge.executor.permission_changes import PermissionChange


def changes(before: NotebookNode, after: NotebookNode) -> NotebookChanges:
    difference = NotebookExecutor().diff_notebooks(before, after)
    json.dumps(difference.to_dict())  # all of it is for programs
    return difference.changes


@pytest.fixture
def before() -> NotebookNode:
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("days = 7\ntoken = 'x'  # secret", id="params", metadata={"tags": ["parameters"]}),
        new_code_cell("load()\nshow()", id="load"),
        new_code_cell("total = sum(rows)", id="sum"),
    ]
    return new_notebook(cells=cells)


def kinds(found: NotebookChanges) -> list[tuple[str, str]]:
    return [(change.kind, change.id) for change in found.cells]


def test_cells_are_told_by_id_wherever_they_went(before: NotebookNode) -> None:
    after = copy.deepcopy(before)
    after.cells[2].source = "load(fast=True)\nshow()"
    after.cells.insert(0, after.cells.pop(3))
    del after.cells[1]
    after.cells.append(new_code_cell("report()", id="new"))
    found = changes(before, after)
    assert kinds(found) == [("moved", "sum"), ("removed", "title"), ("changed", "load"), ("added", "new")]
    load = found.cells[2]
    assert (load.index_before, load.index_after, load.parts) == (2, 2, ["source"])
    assert load.source_diff.splitlines()[-3:] == ["-load()", "+load(fast=True)", " show()"]


def test_cells_whose_ids_were_made_anew_are_still_the_same(before: NotebookNode) -> None:
    after = copy.deepcopy(before)
    for index, cell in enumerate(after.cells):
        cell.id = f"other-{index}"
    after.cells[2].source = "load()\nshow()\nsave()"
    found = changes(before, after)
    assert kinds(found) == [("changed", f"other-{index}") for index in range(4)]
    assert [change.parts for change in found.cells] == [["id"], ["id"], ["source", "id"], ["id"]]


def test_a_rerun_is_no_change_of_the_notebook(before: NotebookNode) -> None:
    after = copy.deepcopy(before)
    for number, cell in enumerate(after.cells):
        cell.metadata["papermill"] = {"duration": number}
        cell.metadata["hermes"] = {"state": "succeeded"}
        if cell.cell_type == "code":
            cell.execution_count = number
    assert changes(before, after).cells == []


def test_parameters_results_and_what_was_given_are_told_with_their_values(before: NotebookNode) -> None:
    def run(days: int, score: float) -> NotebookNode:
        made = copy.deepcopy(before)
        made.cells[1].source = made.cells[1].source.replace("7", str(days)).replace("'x'", f"'secret-{days}'")
        data = {
            "application/scrapbook.scrap.json+json": {"name": "score", "data": score, "encoder": "json", "version": 1}
        }
        made.cells[3].outputs = [new_output("display_data", data=data)]
        made.metadata["papermill"] = {"parameters": {"days": days}}
        calls = {"total": days, "by_tool": {"read_file": days, "terminal": 1}, "by_outcome": {"ok": days}}
        made.metadata["hermes"] = {"run": {"tool_calls": calls}}
        return made

    found = changes(run(7, 0.9), run(14, 0.8))
    assert [(one.name, one.before, one.after) for one in found.parameters] == [("days", "7", "14")]
    assert [(one.name, one.before, one.after) for one in found.given] == [("days", 7, 14)]
    assert [(one.name, one.before, one.after) for one in found.scraps] == [("score", 0.9, 0.8)]
    assert found.outputs == ["sum"]
    assert found.calls is not None
    assert found.calls.counts == {"read_file": [7, 14]}
    assert "secret-" not in json.dumps([str(one) for one in found.parameters])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"allow": ["a(x)"]}, {"allow": ["a(x)", "b(y)"]}, [("gained", "allow: b(y)")]),
        ({"allow": ["a(x)", "b(y)"]}, {"allow": ["a(x)"]}, [("lost", "no longer allow: b(y)")]),
        ({"allow": ["a"], "deny": ["a(x)"]}, {"allow": ["a"]}, [("gained", "no longer deny: a(x)")]),
        ({"deny": ["a(x)"]}, {}, [("changed", "no longer deny: a(x)")]),  # nothing of `a` is possible anyway
        ({"allow": ["a"]}, {"allow": ["a"], "ask": ["a(x)"]}, [("lost", "ask: a(x)")]),
        ({}, {"ask": ["a(x)"]}, [("gained", "ask: a(x)")]),  # with a person's yes
        ({"allow": ["a"]}, {"allow": ["a(x)"]}, [("changed", "allow: a(x)"), ("lost", "no longer allow: a")]),
        (
            {"budgets": {"calls": 1}},
            {"budgets": {"calls": 2}},
            [("gained", "budgets: {'calls': 2}"), ("gained", "no longer budgets: {'calls': 1}")],
        ),
        ({"allow": ["a"]}, {"allow": ["b"]}, [("gained", "allow: b"), ("lost", "no longer allow: a")]),
        ({"other": 1}, {"other": 2}, [("changed", "other: 2"), ("changed", "no longer other: 1")]),
    ],
)
def test_permissions_are_told_as_gained_or_lost(
    before: NotebookNode, old: dict[str, object], new: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    after = copy.deepcopy(before)
    before.metadata["hermes"], after.metadata["hermes"] = {"permissions": old}, {"permissions": new}
    assert changes(before, after).permissions == [PermissionChange(*one) for one in expected]


def test_a_declaration_that_is_gone_gains_everything(before: NotebookNode) -> None:
    after = copy.deepcopy(before)
    before.metadata["hermes"] = {"permissions": {"allow": ["read_file"]}}
    assert [one.kind for one in changes(before, after).permissions] == ["gained"]
    assert [one.kind for one in changes(after, before).permissions] == ["lost", "changed"]


def test_five_hundred_cells_are_compared_in_seconds() -> None:
    cells = [new_code_cell(f"x_{number} = {number}", id=f"c{number}") for number in range(500)]
    before = new_notebook(cells=cells)
    after = copy.deepcopy(before)
    after.cells[250].source += "  # changed"
    del after.cells[100]
    started = time.process_time()
    found = changes(before, after)
    assert kinds(found) == [("removed", "c100"), ("changed", "c250")]
    assert time.process_time() - started < 20  # measured: 1 s; quadratic behaviour takes minutes
