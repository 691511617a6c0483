"""What comparing and merging notebooks costs: ours, meaning included, against nbdime's bare difference and merge.

500 cells with an output each; 25 of them changed, 5 deleted, 5 inserted, 1 moved.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from host_bridge.executor import NotebookExecutor
from host_bridge.executor.changes import summarise
from host_bridge.executor.diff_page import diff_page

CELLS = 500
ROUNDS = 5


def make() -> NotebookNode:
    cells = []
    for number in range(CELLS):
        source = f"x_{number} = load({number})\n" + "\n".join(f"step_{line}(x_{number})" for line in range(10))
        cells.append(new_code_cell(source, id=f"c{number}", outputs=[new_output("stream", text=f"{number}\n" * 20)]))
    return new_notebook(cells=cells)


def change(base: NotebookNode, offset: int) -> NotebookNode:
    made = copy.deepcopy(base)
    for number in range(offset, CELLS, CELLS // 25):
        made.cells[number].source += f"\nmore({number})"
    made.cells.insert(offset, made.cells.pop(300 + offset))
    for number in range(5):
        made.cells.insert(50 * number + offset, new_code_cell(f"new_{offset}_{number}()", id=f"n{offset}-{number}"))
        del made.cells[400 + 7 * number + offset]
    return made


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    from nbdime.diffing.notebooks import diff_notebooks
    from nbdime.merging.notebooks import merge_notebooks

    base = make()
    ours, theirs = change(base, 1), change(base, 10)
    executor = NotebookExecutor()
    bare = seconds(lambda: diff_notebooks(base, ours))
    bare_merge = seconds(lambda: merge_notebooks(base, ours, theirs))
    changes = summarise(base, ours)
    rows = [
        ("difference and its meaning", seconds(lambda: executor.diff_notebooks(base, ours)), bare),
        ("its meaning alone", seconds(lambda: summarise(base, ours)), bare),
        ("the page", seconds(lambda: diff_page(base, ours, changes, title="x", summary="")), bare),
        ("merge, checked", seconds(lambda: executor.merge_notebooks(base, ours, theirs)), bare_merge),
    ]
    print("| of 500 cells | nbdime | ours | ours / nbdime |\n|---|---:|---:|---:|")
    for name, mine, peer in rows:
        print(f"| {name} | {peer * 1000:.0f} ms | {mine * 1000:.0f} ms | {mine / peer:.2f} |")


if __name__ == "__main__":
    main()
