"""How a kernel would be confined on this machine, and by which means: found by trying, as the provisioner does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from host_bridge.config import HostConfig, load_config
from host_bridge.doctor.finding import Finding, failure, ok, warning
from host_bridge.errors import ConfigurationError, SandboxError
from host_bridge.limits.limiter import RLIMITS, choose, choose_limiter
from host_bridge.provisioning.confinement import decide_confinement
from host_bridge.sandbox.probing import INSTALL_BUBBLEWRAP, landlock_version, probe

SECCOMP_ACTIONS = "/proc/sys/kernel/seccomp/actions_avail"


def examine() -> Iterator[Finding]:
    """Look at bubblewrap, Landlock and seccomp, and at what the configuration makes of them."""
    if sys.platform == "linux":  # elsewhere there is none of them to miss
        yield bubblewrap()
        yield landlock()
        yield seccomp()
    try:
        config = load_config()
    except ConfigurationError:
        config = HostConfig()  # `places` has reported it
    yield in_force(config)
    yield limits(config)


def bubblewrap() -> Finding:
    """Look at what a trial gave."""
    found = probe("bubblewrap")
    if found.works:
        return ok("bubblewrap", f"{found.program} works", path=found.program)
    return warning("bubblewrap", f"can't be used: {found.problem}", f"{INSTALL_BUBBLEWRAP}, or allow it to work")


def landlock() -> Finding:
    """Ask the running Linux for its version of Landlock."""
    version = landlock_version()
    if version:
        return ok("landlock", f"ABI {version}", abi=version)
    return warning("landlock", "not available", "boot a Linux of 5.13 or newer with landlock in `lsm=`", abi=0)


def seccomp() -> Finding:
    """See whether system calls can be filtered."""
    actions = Path(SECCOMP_ACTIONS)
    if actions.is_file() and "errno" in actions.read_text().split():
        return ok("seccomp", "filters are available")
    return warning("seccomp", "filters are not available", "boot a Linux built with CONFIG_SECCOMP_FILTER")


def in_force(config: HostConfig) -> Finding:
    """Say what stands between a cell and the machine."""
    try:
        label = decide_confinement(config.sandbox).label
    except SandboxError as error:
        elsewhere = "run it on Linux, or declare that kernels are not confined"
        return failure("confinement", str(error), INSTALL_BUBBLEWRAP if sys.platform == "linux" else elsewhere)
    if label != "none":
        return ok("confinement", f"kernels are confined: {label}", backend=label)
    return warning(
        "confinement",
        "kernels are not confined: tool calls are decided and recorded, but a cell's own Python can open files, run programs "
        "and use the network past the bridge",
        'take backend = "none" out of [sandbox] in the configuration, or run only notebooks you would run as yourself',
        backend=label,
    )


def limits(config: HostConfig) -> Finding:
    """Say how much of the machine a kernel may use, and what holds it to that."""
    try:
        is_contained = decide_confinement(config.sandbox).backend == "bubblewrap"
    except SandboxError:
        is_contained = False  # which `in_force` reports
    try:
        limiter = choose_limiter(config.limits, counts_users=is_contained)
        choice = choose(config.limits.mechanism, config.limits.cgroup)
    except (SandboxError, ConfigurationError) as error:
        return failure("limits", str(error), 'set mechanism = "auto" under [limits] in the configuration')
    facts = {"mechanism": choice.mechanism.name if choice.mechanism else RLIMITS, "problems": dict(choice.problems)}
    if choice.mechanism is not None:
        return ok("limits", limiter.describe(), **facts)
    problems = "; ".join(f"{name}: {problem}" for name, problem in choice.problems.items())
    return warning(
        "limits",
        f"{limiter.describe()}; a kernel's processes are not limited together ({problems or 'as configured'})",
        "log in through systemd (`loginctl enable-linger` starts the user's manager), or have a control group delegated and "
        "name its folder: cgroup under [limits] in the configuration",
        **facts,
    )
