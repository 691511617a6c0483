"""Loads the policy that a session of some choices would have, for commands that say what it would do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host_bridge.cli.rules import rules_text

if TYPE_CHECKING:
    from host_bridge.policy.layers import Policy


def load_session_policy(
    *,
    profile: str = "",
    policies: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
    agent: str = "",
    workspace: str = ".",
    notebook: str | None = None,
) -> Policy:
    """Load the policy as a session of these choices would.

    Raises:
        click.UsageError: The workspace isn't a folder.
        PolicyError: Something in it can't be meant.
    """
    from host_bridge.config import PRINCIPAL_VARIABLE, load_config
    from host_bridge.declarations.accepted import AcceptedDeclarations
    from host_bridge.policy.loading import load_policy
    from host_bridge.provisioning.notebook import declared_permissions, read_document, source_digest
    from host_bridge.provisioning.session_config import policy_paths
    from host_bridge.tools.registry import load_tools

    config = load_config()
    folder = os.path.realpath(workspace)
    if not Path(folder).is_dir():
        raise click.UsageError(f"--workspace {workspace}: not a folder")
    if notebook is not None:
        Path(notebook).open("rb").close()  # one that can't be read declares nothing, which is not what was asked about
    document = None if notebook is None else read_document(notebook)
    principal = agent or os.environ.get(PRINCIPAL_VARIABLE) or config.session.principal
    rules = rules_text(allow=allow, deny=deny)
    return load_policy(
        profile=profile or config.session.profile,
        paths=policy_paths(config, folder, policies),
        texts=(("run", rules),) if rules else (),
        notebook_permissions=None if document is None else declared_permissions(document),
        declaration_accepted=document is not None
        and AcceptedDeclarations().is_accepted(principal, source_digest(document)),
        principal=principal,
        workspace=folder,
        protected_paths=() if notebook is None else (str(Path(notebook).absolute()),),
        known_tools=frozenset(load_tools()),
    )
