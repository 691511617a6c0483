"""Which ways of confining a kernel work on this machine: found out by trying, once."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
import sys
from pathlib import Path

from hermes_protocol.landlock_only import MINIMUM_VERSION
from host_bridge.errors import SandboxError
from host_bridge.sandbox.spec import BACKENDS, Backend

PROBE_SECONDS = 10.0
INSTALL_BUBBLEWRAP = "install bubblewrap (Debian and Ubuntu: apt-get install bubblewrap)"

UNSUPPORTED = {
    "darwin": (
        "kernels and commands can't be confined on macOS: the profile for it (host_bridge/sandbox/seatbelt.py) has not been "
        "run on a Mac, and a sandbox nobody has tried is not relied on; use a Linux virtual machine or container"
    ),
    "win32": "this program doesn't run on Windows: there is nothing here that confines; use WSL 2, where it is on Linux",
}
"""What there is to say about other systems, by `sys.platform`."""

_SYSTEM_BUBBLEWRAP = "/usr/bin/bwrap"  # the one that distributions' security modules make an exception for
_DECLARE_NONE = (
    "To run kernels unconfined all the same, so that a cell can do whatever you can, say so: "
    'backend = "none" under [sandbox] in the configuration'
)
_TRIAL = (
    *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
    *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"),
    *("--", "/bin/true"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Whether a backend works here.

    Attributes:
        works: Whether it does.
        problem: Why not, and what to do; empty if it does.
        program: bubblewrap's path.
        landlock: The version of Landlock, 0 for none.
    """

    works: bool
    problem: str = ""
    program: str = ""
    landlock: int = 0


@functools.cache
def probe(backend: Backend) -> Finding:
    """Find out whether a backend works on this machine."""
    if backend == "bubblewrap":
        return _probe_bubblewrap()
    if backend == "landlock":
        return _probe_landlock()
    return Finding(works=True)


def choose(wish: str) -> Backend:
    """Give the backend for a wish: `"auto"` is the strongest that works, and never none.

    Raises:
        SandboxError: The one wished for doesn't work, or none does; says what to do.
    """
    if wish != "none" and sys.platform in UNSUPPORTED:
        raise SandboxError(f"{UNSUPPORTED[sys.platform]}. {_DECLARE_NONE}")
    if wish in BACKENDS:
        finding = probe(wish)
        if not finding.works:
            raise SandboxError(f"confinement by {wish} doesn't work here: {finding.problem}")
        return wish
    # Whatever else was written, a wish that isn't understood gets what "auto" gets, which confines or refuses.
    findings = {backend: probe(backend) for backend in BACKENDS if backend != "none"}
    for backend, finding in findings.items():
        if finding.works:
            return backend
    problems = "; ".join(f"{backend}: {finding.problem}" for backend, finding in findings.items())
    raise SandboxError(f"the kernel can't be confined here ({problems}). {_DECLARE_NONE}")


def landlock_version() -> int:
    """The system's version of Landlock; 0 for none. The same question the kernel side asks of itself."""
    if sys.platform != "linux":
        return 0
    import ctypes

    create_ruleset, ask_version = 444, 1
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return max(0, int(library.syscall(create_ruleset, None, ctypes.c_size_t(0), ask_version)))


def _probe_bubblewrap() -> Finding:
    if sys.platform != "linux":
        return Finding(works=False, problem=UNSUPPORTED.get(sys.platform, "it needs Linux"))
    program = _SYSTEM_BUBBLEWRAP if Path(_SYSTEM_BUBBLEWRAP).exists() else shutil.which("bwrap")
    if program is None:
        return Finding(works=False, problem=f"bwrap is not installed; {INSTALL_BUBBLEWRAP}")
    try:
        tried = subprocess.run([program, *_TRIAL], capture_output=True, text=True, timeout=PROBE_SECONDS, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(works=False, problem=f"{program} can't be run: {error}")
    if tried.returncode:
        said = tried.stderr.strip() or f"exit code {tried.returncode}"
        return Finding(
            works=False,
            problem=f"{program} fails: {said}; allow unprivileged user namespaces (inside a container: allow it to make them)",
        )
    return Finding(works=True, program=program, landlock=landlock_version())


def _probe_landlock() -> Finding:
    version = landlock_version()
    if version < MINIMUM_VERSION:
        return Finding(
            works=False,
            problem=f"version {version} of Landlock, at least {MINIMUM_VERSION} is needed (Linux 6.7 with Landlock on)",
            landlock=version,
        )
    return Finding(works=True, landlock=version)
