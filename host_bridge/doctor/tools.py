"""Whether the tools have what they need on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from host_bridge.config import HostConfig, load_config
from host_bridge.doctor.finding import Finding, failure, ok, warning
from host_bridge.errors import ConfigurationError


def examine() -> Iterator[Finding]:
    """Look at the tools, the policy, the search provider and the programs tools use."""
    from host_bridge.tools.registry import load_tools

    try:
        names = sorted(load_tools())
        yield ok("tools", ", ".join(names), names=names)
    except ConfigurationError as error:
        yield failure("tools", str(error), "uninstall or repair the distribution it names")
    try:
        config = load_config()
    except ConfigurationError:
        config = HostConfig()  # `places` has reported it
    yield policy(config)
    yield search_provider(config)
    yield program("rg", "search_files is slower without it", "install ripgrep: `apt-get install ripgrep`")


def policy(config: HostConfig) -> Finding:
    """Load the policy that sessions would get."""
    from host_bridge.policy.loading import load_policy

    try:
        load_policy(
            profile=config.session.profile,
            paths=[(path, path) for path in config.policy.files],
            principal=config.session.principal,
        )
    except ConfigurationError as error:
        return failure("policy", str(error), "correct it; `hermes-runtime policy check` shows where", path=error.path)
    files = f" and {', '.join(config.policy.files)}" if config.policy.files else ""
    return ok("policy", f"profile {config.session.profile}{files}", profile=config.session.profile)


def program(name: str, without: str, remedy: str) -> Finding:
    """See whether a program is there that a tool can do without."""
    found = shutil.which(name)
    return ok(name, found, path=found) if found else warning(name, f"not installed; {without}", remedy)
