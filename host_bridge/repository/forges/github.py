"""GitHub: https://docs.github.com/rest/pulls/pulls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.pulls import Pulls

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GitHub(Pulls):
    """A repository on GitHub, or on an instance of one's own."""

    def __init__(self, place: Place, token: str) -> None:
        base = "https://api.github.com" if place.host == "github.com" else f"{place.site}/api/v3"
        super().__init__(Api(base, {"Authorization": f"Bearer {token}", **_HEADERS}, token), place)
        self._owner = place.path.partition("/")[0]

    def find(self, head: str, base: str) -> PullRequest | None:
        """Ask for the pull requests of a branch."""
        listed = self._api.get_list(f"{self._repository}/pulls", state="open", head=f"{self._owner}:{head}", base=base)
        return self._choose(listed, head, base)

    def _comments(self, number: int) -> Iterable[Any]:
        return self._api.walk(f"{self._repository}/issues/{number}/comments", size="per_page")
