"""Gitea and Forgejo: https://docs.gitea.com/api."""

from __future__ import annotations

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.pulls import Pulls

_PAGE = 50  # the most that an instance gives by default
_MAX_PAGES = 40


class Gitea(Pulls):
    """A repository on Gitea."""

    def __init__(self, place: Place, token: str) -> None:
        super().__init__(Api(f"{place.site}/api/v1", {"Authorization": f"token {token}"}, token), place)

    def find(self, head: str, base: str) -> PullRequest | None:
        """Look through the open pull requests: the request by branches takes no base with a slash in its name."""
        for page in range(1, _MAX_PAGES + 1):
            listed = self._open(page=page, limit=_PAGE)
            found = self._choose(listed, head, base)
            if found is not None or not isinstance(listed, list) or len(listed) < _PAGE:
                return found
        return None
