"""Whether the tools have what they need on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from host_bridge.config import HostConfig, load_config
from host_bridge.config.misfits import misfit
from host_bridge.doctor.finding import Finding, failure, ok, warning
from host_bridge.errors import ConfigurationError
from host_bridge.sandbox.probing import INSTALL_BUBBLEWRAP, probe
from host_bridge.tools.terminal_settings import TerminalSettings

_PROVIDERS = "host_bridge.tools.web.providers"


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
    yield commands(config)
    yield search_provider(config)
    yield program("rg", "search_files is slower without it", "install ripgrep: `apt-get install ripgrep`")


def policy(config: HostConfig) -> Finding:
    """Load the policy that sessions would get."""
    from host_bridge.policy.loading import load_policy
    from host_bridge.provisioning.session_config import policy_paths

    paths = policy_paths(config, str(Path.cwd()))
    try:
        load_policy(profile=config.session.profile, paths=paths, principal=config.session.principal)
    except ConfigurationError as error:
        return failure("policy", str(error), "correct it; `hermes-runtime policy check` shows where", path=error.path)
    files = "".join(f", {path}" for _, path in paths)
    return ok("policy", f"profile {config.session.profile}{files}", profile=config.session.profile)


def commands(config: HostConfig) -> Finding:
    """Say where allowed commands run, and whether they can run there."""
    try:
        settings = msgspec.convert(config.tools.get("terminal", {}), type=TerminalSettings)
    except msgspec.ValidationError as error:
        _, problem = misfit(error, TerminalSettings, "tools.terminal")
        remedy = "correct [tools.terminal] in the configuration"
        return failure("terminal", f"its settings can't be used: {problem}", remedy)
    if settings.confinement == "host":
        return ok("terminal", "commands the policy allows run on the host, with your rights", confinement="host")
    found = probe("bubblewrap")
    if not found.works:
        remedy = f'{INSTALL_BUBBLEWRAP}, or set confinement = "host" in [tools.terminal] of the configuration'
        return failure("terminal", f"commands are to be confined and can't be: {found.problem}", remedy)
    exceptions = f", but for {len(settings.host_for)} patterns" if settings.host_for else ""
    network = settings.network + (f", full for {len(settings.network_for)} patterns" if settings.network_for else "")
    said = f"commands are confined to the workspace{exceptions}; network: {network}"
    return ok("terminal", said, confinement="workspace", network=settings.network)


def search_provider(config: HostConfig) -> Finding:
    """See whether `web_search` has somebody to ask."""
    settings = config.tools.get("web_search", {})
    provider = str(settings.get("provider", ""))
    if not provider:
        remedy = (
            'set provider = "ddgs" (no key needed), "searxng" or "brave" in [tools.web_search] of the configuration'
        )
        return warning("web_search", "no search provider is configured; calls say so", remedy)
    if not provider.isidentifier() or importlib.util.find_spec(f"{_PROVIDERS}.{provider}") is None:
        return warning("web_search", f"there is no search provider {provider!r}", "choose ddgs, searxng or brave")
    variable = str(settings.get("api_key_env", ""))
    if variable and not os.environ.get(variable):
        return warning("web_search", f"{provider}: its key's variable {variable} is not set", f"set {variable}")
    return ok("web_search", provider, provider=provider)


def program(name: str, without: str, remedy: str) -> Finding:
    """See whether a program is there that a tool can do without."""
    found = shutil.which(name)
    return ok(name, found, path=found) if found else warning(name, f"not installed; {without}", remedy)
