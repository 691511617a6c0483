"""What running a notebook costs besides its cells: `hermes-runtime run` against plain `papermill`, as a person starts them.

(d) notebooks of trivial cells, whole processes from start to exit. Both run the same notebook in the same round, each with its
own kernel: ours with its bridge session and its audit log, papermill with ipykernel alone. Beyond the sizes papermill is asked
for, ours runs alone, to see whether it stays linear.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook

SIZES = (3, 100, 200, 500)
OURS_ALONE = (1000, 2000)
LIMITS = {3: 1.0, 100: 0.2, 500: 0.07}
"""What is aimed for, by number of cells."""

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def make_notebook(path: Path, cells: int) -> None:
    made = [new_code_cell(f"x = {number}\nprint(x)") for number in range(cells)]
    write(new_notebook(cells=made, metadata={"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}), path)


def command(contestant: str, source: Path, target: Path) -> list[str]:
    programs = Path(sys.executable).parent
    if contestant == "papermill":
        return [str(programs / "papermill"), "--no-progress-bar", "-k", "python3", str(source), str(target)]
    if contestant == "engine":
        return [*command("papermill", source, target)[:-3], "hermes", str(source), str(target), "--engine", "hermes"]
    return [str(programs / "hermes-runtime"), "run", "--no-progress", "--timeout", "0", str(source), str(target)]


def run(contestant: str, source: Path, target: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(command(contestant, source, target), capture_output=True, cwd=source.parent, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{contestant} failed on {source.name}: {done.stderr[-2000:]}")
    return seconds


def measure(contestants: Sequence[str], cells: int, rounds: int, folder: Path) -> dict[str, float]:
    source = folder / f"{cells}.ipynb"
    make_notebook(source, cells)
    times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            times[contestant].append(run(contestant, source, folder / f"{contestant}-{cells}.ipynb"))
    return {contestant: statistics.median(found) for contestant, found in times.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, metavar="CELLS")
    parser.add_argument("--ours-alone", type=int, nargs="*", default=OURS_ALONE, metavar="CELLS")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="hermes-bench-", dir="/tmp"))
    os.environ["XDG_STATE_HOME"] = str(folder / "state")  # the audit logs; never in the folder a kernel works in
    workspace = folder / "work"
    workspace.mkdir()
    try:
        report(chosen.sizes, chosen.ours_alone, chosen.rounds, workspace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(sizes: Sequence[int], ours_alone: Sequence[int], rounds: int, folder: Path) -> None:
    print("| cells | papermill | papermill --engine hermes | hermes-runtime run | per cell | ratio | aim |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    first: tuple[int, float] | None = None
    for cells in [*sizes, *ours_alone]:
        contestants = ("papermill", "engine", "hermes-runtime") if cells in sizes else ("hermes-runtime",)
        found = measure(contestants, cells, rounds if cells in sizes else 1, folder)
        ours = found["hermes-runtime"]
        first = first or (cells, ours)
        per_cell = f"{1000 * (ours - first[1]) / (cells - first[0]):.1f} ms" if cells != first[0] else ""
        peer, engine = (f"{found[name]:.2f} s" if name in found else "" for name in ("papermill", "engine"))
        ratio = f"{ours / found['papermill']:.3f}" if peer else ""
        aim = f"≤ {LIMITS[cells]}" if cells in LIMITS else ""
        print(f"| {cells} | {peer} | {engine} | {ours:.2f} s | {per_cell} | {ratio} | {aim} |", flush=True)


if __name__ == "__main__":
    main()
