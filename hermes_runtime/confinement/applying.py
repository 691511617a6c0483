"""Carries out a plan, in the order in which each step can still be made, and looks whether it holds."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

from hermes_protocol.confinement import ConfinementPlan
from hermes_runtime.confinement import capabilities, landlock, seccomp, system


class ConfinementError(RuntimeError):
    """A step that could not be made, or did not hold. The process must end: half confined is not confined."""


def apply(plan: ConfinementPlan) -> None:
    """Confine this process as planned. Call it before any thread is started and before anything of the workspace is read.

    Raises:
        ConfinementError: Whatever went wrong.
    """
    if threading.active_count() > 1:
        raise ConfinementError(
            "a process can only confine itself while it has one thread: Landlock would miss the others"
        )
    try:
        os.umask(plan.umask)
        for name, limit in plan.limits.items():
            _limit(name, limit)
        if plan.drop_capabilities:
            capabilities.drop_all()
        if plan.landlock is not None:
            landlock.restrict(plan.landlock)
        if plan.seccomp is not None:
            seccomp.install(plan.seccomp)
        # Debuggers of the same user aren't kept out by it, and /proc/self would belong to root.
        system.prctl(system.PR_SET_DUMPABLE, 1)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfinementError(f"the kernel could not be confined: {error}") from error
    if plan.seccomp is not None and not is_confined():
        raise ConfinementError("the kernel could not be confined: the system took the filter but shows none")


def is_confined() -> bool:
    """Whether the system itself says that a filter and no-new-privileges are in force here. No claim is believed instead."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux, or no /proc
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return fields.get("Seccomp") == "2" and fields.get("NoNewPrivs") == "1"


def _limit(name: str, wanted: int) -> None:
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        raise ConfinementError(f"there is no limit {name!r}")
    _, hard = resource.getrlimit(kind)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (limit, limit))
