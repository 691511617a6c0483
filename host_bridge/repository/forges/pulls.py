"""Pull requests as GitHub has them, and Gitea after it: the same paths and fields, at another address."""

from __future__ import annotations

from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.shapes import choose, read_pull_request


class Pulls:
    """A repository's pull requests: all that a `Forge` does, but for how one is found.

    Args:
        api: The forge's.
        place: The repository there.
    """

    def __init__(self, api: Api, place: Place) -> None:
        self._api = api
        self._repository = f"/repos/{place.quoted_path}"

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

    def _open(self, **query: str | int) -> Any:
        return self._api.get(f"{self._repository}/pulls", state="open", **query)

    @staticmethod
    def _choose(listed: Any, head: str, base: str) -> PullRequest | None:
        return choose(listed, head, base, _read)


def _read(content: Any) -> PullRequest:
    return read_pull_request(
        content, "number", "html_url", lambda one: one["head"]["ref"], lambda one: one["base"]["ref"]
    )
