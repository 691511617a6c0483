"""GitHub: https://docs.github.com/rest/pulls/pulls."""

from __future__ import annotations

from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.shapes import choose, read_pull_request

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GitHub:
    """A repository on GitHub, or on an instance of one's own."""

    def __init__(self, place: Place, token: str) -> None:
        base = "https://api.github.com" if place.host == "github.com" else f"{place.site}/api/v3"
        self._api = Api(base, {"Authorization": f"Bearer {token}", **_HEADERS}, token)
        self._repository = f"/repos/{place.quoted_path}"
        self._owner = place.path.partition("/")[0]

    def find(self, head: str, base: str) -> PullRequest | None:
        """Ask for the pull requests of a branch."""
        listed = self._api.get(f"{self._repository}/pulls", state="open", head=f"{self._owner}:{head}", base=base)
        return choose(listed, head, base, _read)

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
