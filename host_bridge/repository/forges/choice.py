"""Which forge a repository is on."""

from __future__ import annotations

from collections.abc import Callable

from host_bridge.repository.forges.gitea import Gitea
from host_bridge.repository.forges.github import GitHub
from host_bridge.repository.forges.gitlab import GitLab
from host_bridge.repository.forges.interface import Forge, ForgeError
from host_bridge.repository.forges.places import Place, place_of
from host_bridge.repository.forges.tokens import find_token
from host_bridge.repository.git import Git

_FORGES: dict[str, Callable[[Place, str], Forge]] = {"gitea": Gitea, "github": GitHub, "gitlab": GitLab}


def open_forge(git: Git, remote: str, *, kind: str = "", address: str = "", token: str = "") -> Forge:
    """Open the forge that a remote is on.

    Args:
        git: The repository.
        remote: The remote's name.
        kind: `gitea`, `github` or `gitlab`; told by the host's name if empty, and Gitea where that doesn't tell.
        address: The repository's page, where the remote's address doesn't lead to it.
        token: Where the token is, as secrets' sources are written; looked for if empty.

    Raises:
        ForgeError: The remote is on none, or there is no token for it.
    """
    place = place_of(address or git.text("remote", "get-url", remote))
    kind = kind or _kind_of(place.host)
    if kind not in _FORGES:
        raise ForgeError(f"{kind!r} is no kind of forge; there are {', '.join(_FORGES)}")
    return _FORGES[kind](place, find_token(kind, place, git, token))


def _kind_of(host: str) -> str:
    if host == "github.com" or host.startswith("github."):
        return "github"
    return "gitlab" if host == "gitlab.com" or host.startswith("gitlab.") else "gitea"
