"""Gitea and Forgejo: https://docs.gitea.com/api."""

from __future__ import annotations

from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.shapes import choose, read_pull_request

_PAGE = 50  # the most that an instance gives by default
_MAX_PAGES = 40


class Gitea:
    """A repository on Gitea."""

    def __init__(self, place: Place, token: str) -> None:
        self._api = Api(f"{place.site}/api/v1", {"Authorization": f"token {token}"}, token)
        self._repository = f"/repos/{place.quoted_path}"

    def find(self, head: str, base: str) -> PullRequest | None:
        """Look through the open pull requests: the request by branches takes no base with a slash in its name."""
        for page in range(1, _MAX_PAGES + 1):
            listed = self._api.get(f"{self._repository}/pulls", state="open", page=page, limit=_PAGE)
            found = choose(listed, head, base, _read)
            if found is not None or not isinstance(listed, list) or len(listed) < _PAGE:
                return found
        return None

    def get(self, number: int) -> PullRequest:
        """Give a pull request."""
        return _read(self._api.get(f"{self._repository}/pulls/{number}"))

    def create(self, head: str, base: str, title: str, body: str) -> PullRequest:
        """Open a pull request."""
        content = {"head": head, "base": base, "title": title, "body": body}
        return _read(self._api.send("POST", f"{self._repository}/pulls", content))

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Change a pull request."""
        return _read(self._api.send("PATCH", f"{self._repository}/pulls/{number}", {"title": title, "body": body}))

    def comment(self, number: int, body: str) -> str:
        """Write a comment; pull requests are issues here."""
        made = self._api.send("POST", f"{self._repository}/issues/{number}/comments", {"body": body})
        return str(made.get("html_url", "")) if isinstance(made, dict) else ""

    def head_reference(self, number: int) -> str:
        """Name its reference."""
        return f"refs/pull/{number}/head"


def _read(content: Any) -> PullRequest:
    return read_pull_request(
        content, "number", "html_url", lambda one: one["head"]["ref"], lambda one: one["base"]["ref"]
    )
