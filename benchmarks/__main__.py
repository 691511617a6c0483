"""Runs every benchmark, one after the other: `python -m benchmarks` (or one by its name: `python -m benchmarks call_path`).

Each prints a table of ratios against a named peer measured in the same run. `benchmarks/README.md` keeps the last tables.
"""

from __future__ import annotations

import compileall
import subprocess
import sys
from pathlib import Path

NOT_BENCHMARKS = {"__main__", "bare_peer"}
PACKAGES = ("hermes_protocol", "hermes_runtime", "host_bridge")


def main(names: list[str]) -> int:
    folder = Path(__file__).parent
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for package in PACKAGES:  # as pip does with what it installs, the peers among it
        compileall.compile_dir(folder.parent / package, quiet=2)
    failed = 0
    for name in names or known:
        print(f"\n## {name}\n", flush=True)
        failed += subprocess.run([sys.executable, str(folder / f"{name}.py")], check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
