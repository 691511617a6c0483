"""The first program inside a sandbox: confines itself as planned, then is the kernel, in the same process.

    python -I -m hermes_runtime.confinement PLAN -- -m hermes_runtime.kernel -f CONNECTION_FILE

PLAN is a file, or the number of an inherited descriptor.
`-I` keeps the workspace off the import path until the confinement holds; a planted `json.py` would otherwise run before it.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from pathlib import Path

from hermes_protocol.confinement import decode_plan
from hermes_runtime.confinement.applying import ConfinementError, apply

EXIT_NOT_CONFINED = 78  # sysexits' EX_CONFIG


def main(arguments: list[str]) -> None:
    """See the module."""
    try:
        plan_file, separator, flag, module, *rest = arguments
        if (separator, flag) != ("--", "-m"):
            raise ValueError("expected PLAN -- -m MODULE [ARGUMENT …]")
        plan = decode_plan(read_plan(plan_file))
        lead_group()
        apply(plan)
    except (OSError, ValueError, ConfinementError) as error:
        print(f"hermes_runtime.confinement: {error}", file=sys.stderr)
        raise SystemExit(EXIT_NOT_CONFINED) from None
    sys.path.insert(0, "")  # as `python -m` has it, given back now that it can do no harm
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def read_plan(plan: str) -> bytes:
    """Read a plan from a file, or from a descriptor given by its number, which is closed: the kernel shall not have it."""
    if plan.isdecimal():
        with os.fdopen(int(plan), "rb") as file:
            return file.read()
    return Path(plan).read_bytes()


def lead_group() -> None:
    """Be a process group of one's own, so that an interrupt reaches what a cell started, and nothing else."""
    with contextlib.suppress(PermissionError):  # it leads one already
        os.setsid()


if __name__ == "__main__":
    main(sys.argv[1:])
