"""What running a notebook puts into it is taken out, and nothing else."""

from __future__ import annotations

import copy
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from repositories import pretend_run

from host_bridge.errors import NotebookError
from host_bridge.executor.stripping import strip_text

WRITTEN = new_notebook(
    cells=[
        new_code_cell("days = 7\nname = 'é'", id="a", metadata={"tags": ["parameters"]}),
        new_code_cell("# NBVAL_CHECK_OUTPUT\ndays", id="b", metadata={"keep_output": True, "hermes": {"note": 1}}),
    ],
    metadata={
        "hermes": {"permissions": {"allow": ["read_file"]}},
        "kernelspec": {"name": "hermes", "display_name": "H"},
    },
)


def test_what_somebody_wrote_is_the_same_after_any_number_of_runs() -> None:
    plain = nbformat.writes(WRITTEN) + "\n"
    assert strip_text(plain) == plain
    executed = copy.deepcopy(WRITTEN)
    pretend_run(executed)
    executed.cells[2].outputs = []
    executed.metadata["hermes"] = {**executed.metadata["hermes"], **WRITTEN.metadata["hermes"]}
    executed.cells[2].metadata["hermes"]["note"] = 1
    assert strip_text(nbformat.writes(executed)) == plain


def test_nothing_of_a_run_is_left_but_outputs_that_are_to_be_kept() -> None:
    executed = copy.deepcopy(WRITTEN)
    pretend_run(executed)
    stripped = strip_text(nbformat.writes(executed))
    assert "/home/ann/secret 1" not in stripped
    assert "/home/ann/secret 2" in stripped  # the cell says keep_output
    assert [
        word
        for word in ("papermill", "2026-01-01", "input_path", "3.11.2", "succeeded", "injected")
        if word in stripped
    ] == []
    assert strip_text(stripped) == stripped


def test_a_kept_output_has_a_number_that_a_rerun_does_not_change() -> None:
    notebook = copy.deepcopy(WRITTEN)
    texts = set()
    for count in (1, 17):
        notebook.cells[1].outputs = [new_output("execute_result", data={"text/plain": "7"}, execution_count=count)]
        notebook.cells[1].execution_count = count
        texts.add(strip_text(nbformat.writes(notebook)))
    assert len(texts) == 1
    assert nbformat.reads(texts.pop(), as_version=4).cells[1].execution_count == 2


def test_an_older_format_stays_what_it_is() -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": "x", "outputs": [], "execution_count": 3}
    old = {"nbformat": 4, "nbformat_minor": 2, "metadata": {"papermill": {}}, "cells": [cell]}
    stripped = json.loads(strip_text(json.dumps(old)))
    assert stripped == {**old, "metadata": {}, "cells": [{**cell, "execution_count": None, "source": ["x"]}]}


def test_another_language_is_still_told() -> None:
    notebook = new_notebook(cells=[new_markdown_cell("x")], metadata={"language_info": {"name": "R", "version": "4"}})
    assert nbformat.reads(strip_text(nbformat.writes(notebook)), as_version=4).metadata == {
        "language_info": {"name": "R"}
    }


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"nbformat": 4, "nbformat_minor": 5, "cells": 3}', "<<<<<<< HEAD\n{}"]
)
def test_what_is_no_notebook_does_not_pass_for_a_stripped_one(text: str) -> None:
    with pytest.raises(NotebookError, match=r"x\.ipynb"):
        strip_text(text, "x.ipynb")
