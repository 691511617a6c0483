"""Gitea and Forgejo: https://docs.gitea.com/api."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.pulls import Pulls


class Gitea(Pulls):
    """A repository on Gitea."""

    def __init__(self, place: Place, token: str) -> None:
        super().__init__(Api(f"{place.site}/api/v1", {"Authorization": f"token {token}"}, token), place)

    def find(self, head: str, base: str) -> PullRequest | None:
        """Look through the open pull requests for the base.

        The request by both branches gives merged ones too, and takes no base with a slash in its name. An instance that is
        too old for `base_branch` gives all that are open; those are looked through as well.
        """
        listed = self._api.walk(f"{self._repository}/pulls", size="limit", state="open", base_branch=base)
        return self._choose(listed, head, base)

    def _comments(self, number: int) -> Iterable[Any]:
        return self._api.get_list(f"{self._repository}/issues/{number}/comments")  # all of them: it has no pages
