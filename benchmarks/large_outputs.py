"""What large outputs cost the cells after them: `hermes-runtime run` against plain `papermill`, as a person starts them.

(e) 50 MB of outputs followed by 20 trivial cells, in three shapes: printed lines, one long printed text, and displayed images.
With each, the peak memory of the process that runs the notebook (its kernel not included).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nbformat import read, write
from nbformat.v4 import new_code_cell, new_notebook

SHAPES = {
    "printed lines": "for _ in range({megabytes} * 10_000):\n    print('x' * 99)",
    "one printed text": "print('x' * {megabytes} * 1_000_000)",
    "50 images": (
        "from IPython.display import display\n"
        "for _ in range(50):\n"
        "    display({{'image/png': 'A' * ({megabytes} * 20_000)}}, raw=True)"
    ),
}
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def make_notebook(path: Path, source: str, cells: int) -> None:
    made = [new_code_cell(source), *(new_code_cell(f"x = {number}\nprint(x)") for number in range(cells))]
    write(new_notebook(cells=made, metadata={"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}), path)


def run(contestant: str, source: Path, target: Path, limit_seconds: float) -> tuple[float | None, float]:
    """Give seconds (None: not within the limit) and peak MiB."""
    programs = Path(sys.executable).parent
    if contestant == "papermill":
        command = [str(programs / "papermill"), "--no-progress-bar", "-k", "python3", str(source), str(target)]
    else:
        command = [str(programs / "hermes-runtime"), "run", "--no-progress", "--timeout", "0", str(source), str(target)]
    started = time.perf_counter()
    # A process of its own for each, so that the peak of children is this one's.
    watcher = subprocess.run(
        [sys.executable, __file__, "--watch", str(limit_seconds), *command],
        capture_output=True,
        text=True,
        check=True,
        cwd=source.parent,
    )
    seconds = time.perf_counter() - started
    outcome, peak = watcher.stdout.split()
    return (seconds if outcome == "ended" else None), float(peak)


def watch(limit_seconds: float, command: Sequence[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        status = Path(f"/proc/{process.pid}/status")
        peak, outcome = 0.0, "ended"
        deadline = time.monotonic() + limit_seconds
        while process.poll() is None:
            peak = max(peak, peak_mib(status))
            if time.monotonic() > deadline:
                process.kill()
                outcome = "killed"
            time.sleep(0.05)
        if outcome == "ended" and process.returncode:
            raise SystemExit(f"{command} exited with {process.returncode}")
    print(outcome, peak or resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def peak_mib(status: Path) -> float:
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def size_of_outputs(path: Path) -> int:
    outputs = read(path, as_version=4).cells[0].outputs
    return sum(len(output.get("text", "")) + sum(map(len, output.get("data", {}).values())) for output in outputs)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--limit-seconds", type=float, default=300.0, help="for each run")
    parser.add_argument(
        "--shapes", nargs="*", choices=SHAPES, default=list(SHAPES), metavar="SHAPE", help=", ".join(SHAPES)
    )
    parser.add_argument("--watch", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.watch:
        watch(float(chosen.watch[0]), chosen.watch[1:])
        return
    folder = Path(tempfile.mkdtemp(prefix="hermes-bench-", dir="/tmp"))
    os.environ["XDG_STATE_HOME"] = str(folder / "state")  # the audit logs; never in the folder a kernel works in
    workspace = folder / "work"
    workspace.mkdir()
    try:
        report(chosen.shapes, chosen.megabytes, chosen.cells, chosen.limit_seconds, workspace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(shapes: Sequence[str], megabytes: int, cells: int, limit_seconds: float, folder: Path) -> None:
    print(f"| {megabytes} MB as | papermill | peak | hermes-runtime run | peak | ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    for shape in shapes:
        notebook = folder / "in.ipynb"
        make_notebook(notebook, SHAPES[shape].format(megabytes=megabytes), cells)
        ours, our_peak = run("hermes-runtime", notebook, folder / "ours.ipynb", limit_seconds)
        assert ours is not None, "ours did not end in time"
        assert size_of_outputs(folder / "ours.ipynb") >= megabytes * 1_000_000, "outputs are missing"
        theirs, their_peak = run("papermill", notebook, folder / "theirs.ipynb", limit_seconds)
        shown = f"{theirs:.1f} s" if theirs is not None else f"> {limit_seconds:g} s"
        ratio = f"{ours / theirs:.3f}" if theirs is not None else f"< {ours / limit_seconds:.3f}"
        print(f"| {shape} | {shown} | {their_peak:.0f} MiB | {ours:.1f} s | {our_peak:.0f} MiB | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
