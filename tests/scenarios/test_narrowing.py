"""Notebooks that narrow themselves, in real kernels: by blocks, by tags, and in papermill."""

from __future__ import annotations

import papermill
import pytest
from kernel_machine import Machine
from notebook_runs import Runner, code, save

from host_bridge.errors import NotebookError

REACH = """
import asyncio, concurrent.futures, os, threading

def reach():
    found = []
    for path in ("data/a.txt", "other.txt"):
        try:
            hermes.read_file(path)
            found.append("yes")
        except PermissionError as error:
            found.append(error.rule_id)
    return " ".join(found)

def in_a_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]

pool = concurrent.futures.ThreadPoolExecutor(2)
left = threading.Event()
kept = []
"""
BLOCK = """
with hermes.narrow("read_file(data/**)"):
    print("block:", reach())
    print("thread:", in_a_thread(reach))
    print("pool:", pool.submit(reach).result())
    print("task:", await asyncio.create_task(asyncio.to_thread(reach)))
    print("status:", hermes.status().narrowed_to)
    late = threading.Thread(target=lambda: (left.wait(30), kept.append(reach())))
    late.start()
    child = os.fork()
    if not child:
        os.write(1, b"")
        os._exit(0 if reach() == "yes narrow:default" else 1)
    print("fork:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
left.set()
late.join()
print("left:", kept[0])
print("after:", reach(), "|", pool.submit(reach).result())
"""


@pytest.fixture
def runner(machine: Machine) -> Runner:
    (machine.workspace / "data").mkdir()
    for name in ("data/a.txt", "other.txt"):
        (machine.workspace / name).write_text("text")
    return Runner(machine.workspace, "hermes")


def test_what_a_notebook_narrows_by_blocks_and_tags(runner: Runner) -> None:
    result = runner.run(
        REACH,
        BLOCK,
        code("print(reach(), '|', in_a_thread(reach))", "hermes:narrow=read_file(data/**)"),
        code(
            "with hermes.narrow('read_file'):\n    print(reach(), hermes.status().narrowed_to)",
            "hermes:narrow=read_file(other.txt)",
            "hermes:narrow=process",
        ),
        "print(reach())",
    )
    assert result["status"] == "success", runner.text(1)
    narrowed = "yes narrow:default"
    assert runner.text(1).splitlines() == [
        f"block: {narrowed}",
        f"thread: {narrowed}",
        f"pool: {narrowed}",
        f"task: {narrowed}",
        "status: (('read_file(data/**)',),)",
        "fork: 0",
        f"left: {narrowed}",
        "after: yes yes | yes yes",
    ]
    assert runner.text(2) == f"{narrowed} | {narrowed}\n"
    assert runner.text(3) == "narrow:default yes (('read_file(other.txt)', 'process'), ('read_file',))\n"
    assert runner.text(4) == "yes yes\n"


def test_a_tag_that_cannot_be_meant_refuses_the_run_before_any_cell(runner: Runner, machine: Machine) -> None:
    cells = ("open('ran', 'w')", code("1", "hermes:narrow=read_fil"))
    with pytest.raises(NotebookError, match=r"cell 1: .*did you mean read_file"):
        runner.run(*cells)
    path = save(runner.folder / "in.ipynb", *cells)
    with pytest.raises(NotebookError, match="cell 1: "):
        papermill.execute_notebook(path, runner.output, engine_name="hermes", kernel_name="hermes", progress_bar=False)
    assert not (machine.workspace / "ran").exists()
    machine.wait_until_clean()


def test_tags_hold_in_papermill_too(runner: Runner) -> None:
    path = save(
        runner.folder / "in.ipynb",
        code("which = 'a'", "parameters"),
        REACH,
        code("print(reach())", "hermes:narrow=read_file(data/**)"),
        "print(reach())",
        language_info={"name": "python"},
    )
    papermill.execute_notebook(
        path, runner.output, {"which": "b"}, engine_name="hermes", kernel_name="hermes", progress_bar=False
    )
    assert (runner.text(3), runner.text(4)) == ("yes narrow:default\n", "yes yes\n")


def test_budgets_of_all_kinds_reach_a_run_and_are_shown(runner: Runner, machine: Machine) -> None:
    machine.configure(
        "[budgets]\nbytes_out = 1e6\n[budgets.tools]\nread_file = 2\n[budgets.agents.nightly]\ncalls = 50\n"
    )
    result = runner.run(
        "for _ in range(2):\n    hermes.read_file('other.txt')\nprint(repr(hermes.budget()))",
        "hermes.read_file('other.txt')",
        principal="nightly",
        budgets={"calls": 100, "calls.terminal": 5},
    )
    assert result["failed_cell"]["index"] == 1
    assert "2 calls of read_file is used up" in result["failed_cell"]["evalue"]
    shown = [line.split() for line in runner.text(0).splitlines()]
    assert ["calls", "2", "50", "48"] in shown
    assert ["calls.read_file", "2", "2", "0"] in shown
    assert ["calls.terminal", "0", "5", "5"] in shown
    assert shown[0] == ["<Budget:", "calls.read_file", "used", "up>"]
