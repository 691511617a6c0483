"""Turns a plan into numbers ahead of time, for commands: what runs before each of them should cost milliseconds, not this.

    python -I -m hermes_runtime.confinement.compiling < PLAN > COMPILED

What comes out is used on the same system by `command.py`, which carries out the Landlock part, and by bubblewrap, which loads
the filter.
"""

from __future__ import annotations

import sys

import msgspec

from hermes_protocol.confinement import CompiledPlan, ConfinementPlan, LandlockPlan, decode_plan
from hermes_runtime.confinement import landlock, seccomp


def compile_plan(plan: ConfinementPlan) -> CompiledPlan:
    """Give the numbers for a plan on this system.

    Raises:
        ValueError: The plan asks for something that can't be compiled, or the system's Landlock is older than it accepts.
    """
    if plan.seccomp is None:
        raise ValueError("a command's plan needs a seccomp filter")
    program = seccomp.program(plan.seccomp)
    return CompiledPlan(seccomp=program) if plan.landlock is None else _with_landlock(program, plan.landlock)


def _with_landlock(program: bytes, plan: LandlockPlan) -> CompiledPlan:
    abi = landlock.abi_version()
    if abi < plan.minimum_abi:
        raise ValueError(f"this system has version {abi} of Landlock, the plan needs {plan.minimum_abi}")
    if plan.restrict_network or plan.own_proc or any(rule.spare for rule in plan.paths):
        raise ValueError("a command's plan can only name whole paths")
    rights = ((rule.path, *landlock.rights_at(rule, abi)) for rule in plan.paths)
    return CompiledPlan(
        seccomp=program,
        ruleset=landlock.ruleset_attribute(abi, landlock.known_rights(abi)),
        paths=tuple((path, int(in_folder), int(on_file)) for path, in_folder, on_file in rights),
    )


def main() -> None:
    """See the module."""
    try:
        compiled = compile_plan(decode_plan(sys.stdin.buffer.read()))
    except (OSError, ValueError) as error:
        raise SystemExit(f"hermes_runtime.confinement.compiling: {error}") from None
    sys.stdout.buffer.write(msgspec.json.encode(compiled))


if __name__ == "__main__":
    main()
