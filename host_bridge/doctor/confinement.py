"""Which means this machine has to confine a kernel. Found by trying: a program on the PATH may still not be allowed to work."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from host_bridge.doctor.finding import Finding, ok, warning

SYSTEM_BUBBLEWRAP = "/usr/bin/bwrap"
"""Preferred to one on the PATH: Ubuntu's AppArmor exception names this file."""

_LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture
_LANDLOCK_CREATE_RULESET_VERSION = 1
_PROBE_SECONDS = 10.0


def examine() -> Iterator[Finding]:
    """Look at bubblewrap, Landlock and seccomp, and say what is done with them."""
    yield bubblewrap()
    yield landlock()
    yield seccomp()
    yield warning(
        "confinement",
        "the kernel is not confined in this version: tool calls are decided and recorded, but a cell's own Python can "
        "open files, run programs and use the network past the bridge",
        "run only notebooks you would run as yourself, or run the whole program in a container or virtual machine",
    )


def bubblewrap() -> Finding:
    """Run something trivial in a sandbox like the one a kernel would get."""
    program = SYSTEM_BUBBLEWRAP if os.access(SYSTEM_BUBBLEWRAP, os.X_OK) else shutil.which("bwrap")
    if program is None:
        return warning("bubblewrap", "not installed", "install it for confinement later: `apt-get install bubblewrap`")
    command = [program, "--unshare-all", "--unshare-user", "--die-with-parent", "--ro-bind", "/", "/", "true"]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
        problem = probe.stderr.strip() if probe.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        remedy = (
            "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone, AppArmor, container settings)"
        )
        return warning("bubblewrap", f"{program} is there but doesn't work: {problem}", remedy, path=program)
    return ok("bubblewrap", f"{program} works", path=program)


def landlock() -> Finding:
    """Ask the running Linux for its Landlock version."""
    libc = ctypes.CDLL(None, use_errno=True)
    syscall = getattr(libc, "syscall", None)
    version = -1
    if syscall is not None and os.uname().sysname == "Linux":
        version = syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION)
    if version > 0:
        return ok("landlock", f"ABI {version}", abi=version)
    why = errno.errorcode.get(ctypes.get_errno(), "not Linux") if version < 0 else "unknown"
    return warning("landlock", f"not available ({why})", "boot a Linux of 5.13 or newer with landlock in `lsm=`", abi=0)


def seccomp() -> Finding:
    """See whether system calls can be filtered."""
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if actions.is_file() and "errno" in actions.read_text().split():
        return ok("seccomp", "filters are available")
    return warning("seccomp", "filters are not available", "boot a Linux built with CONFIG_SECCOMP_FILTER")
