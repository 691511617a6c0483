"""What a notebook's declaration means for its session: lower budgets, and whether a person has accepted it.

The rules of the declaration narrow in any case; that is the policy's business (`host_bridge.policy.loading`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from host_bridge.budgets import check_limits, strictest
from host_bridge.config import HostConfig
from host_bridge.errors import DeclarationError


@dataclasses.dataclass(frozen=True, slots=True)
class DeclaringNotebook:
    """The notebook of a session.

    Attributes:
        path: Absolute, empty where none is known.
        digest: Names its source.
        permissions: What it declares; None for nothing.
        accepted_digest: The source that the person who starts the session accepted for it alone.
    """

    path: str
    digest: str
    permissions: Mapping[str, Any] | None
    accepted_digest: str = ""


def lowered_budgets(limits: Mapping[str, float], permissions: Mapping[str, Any] | None) -> dict[str, float]:
    """Give a session's budgets: of each, the lower of the configuration's and the declaration's.

    Raises:
        PolicyError: The declaration can't be meant, or names a budget there isn't.
    """
    if permissions is None:
        return dict(limits)
    from host_bridge.policy.loading import read_declaration

    return strictest(limits, check_limits(read_declaration(permissions)[0].budgets))


def is_accepted(host: HostConfig, notebook: DeclaringNotebook, principal: str) -> bool:
    """Whether a person accepted what the notebook declares.

    Raises:
        DeclarationError: Nobody has, and the configuration says that such a notebook does not run.
        ConfigurationError: What was accepted can't be read.
    """
    if notebook.permissions is None and host.declarations.unknown != "refuse":
        return False
    if notebook.digest and notebook.digest == notebook.accepted_digest:
        return True
    from host_bridge.declarations.accepted import AcceptedDeclarations

    store = AcceptedDeclarations()
    if store.is_accepted(principal, notebook.digest):
        return True
    if host.declarations.unknown == "refuse" and not is_trusted(host, notebook.path):
        if notebook.permissions is not None:
            raise _refused(notebook, "declares needs that nobody has accepted for its present source")
        if notebook.path and store.latest(principal, notebook.path) is not None:
            raise _refused(notebook, "no longer declares what it needs, which was accepted before")
    return False


def is_trusted(host: HostConfig, path: str) -> bool:
    """Whether the configuration says that notebooks there need no review. Their asks are asked all the same."""
    if not path:
        return False
    real = os.path.realpath(path)
    folders = [os.path.realpath(folder) for folder in host.declarations.trusted_paths]
    return any(real == folder or real.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _refused(notebook: DeclaringNotebook, why: str) -> DeclarationError:
    name = notebook.path or "the notebook"
    return DeclarationError(
        f"{name} {why}; look at it with `hermes-runtime permissions show`, then run `hermes-runtime permissions accept`",
        path=notebook.path,
    )
