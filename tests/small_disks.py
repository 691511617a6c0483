"""A file system of 1 MiB of its own, for what has to survive a disk that is really full."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def run_on_small_disk(disk: Path, code: str) -> str:
    """Run Python where `DISK` is a file system of 1 MiB, and give what it printed."""
    disk.mkdir(exist_ok=True)
    enter = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f'mount -t tmpfs -o size=1m none "{disk}" && exec "$@"'
    try:
        subprocess.run([*enter, mount, "sh", "true"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    tests = str(Path(__file__).parent)
    prelude = f"import sys; sys.path.insert(0, {tests!r}); from pathlib import Path; DISK = Path({str(disk)!r})\n"
    done = subprocess.run(
        [*enter, mount, "sh", sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
