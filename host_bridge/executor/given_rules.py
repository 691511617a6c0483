"""Profile, policy files and rules that are given with a run: looked at before anything is started for it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path


def check_given_rules(
    profile: str | None, files: Iterable[str | os.PathLike[str]], rules: str, host_tools: Collection[str] = ()
) -> None:
    """Refuse what the run's session would refuse, while nothing has been made or started.

    Args:
        profile: The profile's name, None for the configured one.
        files: Policy files.
        rules: TOML text.
        host_tools: Names of tools that the host application provides.

    Raises:
        PolicyError: It can't be read or meant, or doesn't answer as its tests expect.
    """
    files = tuple(files)
    if not (profile or files or rules):
        return
    from host_bridge.policy.loading import check, check_source  # few runs need the policy's parts here
    from host_bridge.policy.sources import parse_source, read_profile

    if profile:
        read_profile(profile)
    if not (files or rules):
        return
    from host_bridge.tools.registry import load_tools

    known = {*load_tools(), *host_tools}
    for path in files:
        check(str(Path(path).expanduser().absolute()), known, "run")
    if rules:
        check_source(parse_source("run", "", rules, version_required=False), known)
