"""GitLab: https://docs.gitlab.com/api/merge_requests."""

from __future__ import annotations

from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.shapes import choose, read_pull_request


class GitLab:
    """A project on GitLab."""

    def __init__(self, place: Place, token: str) -> None:
        self._api = Api(f"{place.site}/api/v4", {"Authorization": f"Bearer {token}"}, token)
        self._requests = f"/projects/{place.quoted_path.replace('/', '%2F')}/merge_requests"

    def find(self, head: str, base: str) -> PullRequest | None:
        """Ask for the merge requests of a branch."""
        listed = self._api.get(self._requests, state="opened", source_branch=head, target_branch=base)
        return choose(listed, head, base, _read)

    def get(self, number: int) -> PullRequest:
        """Give a merge request."""
        return _read(self._api.get(f"{self._requests}/{number}"))

    def create(self, head: str, base: str, title: str, body: str) -> PullRequest:
        """Open a merge request."""
        content = {"source_branch": head, "target_branch": base, "title": title, "description": body}
        return _read(self._api.send("POST", self._requests, content))

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Change a merge request."""
        return _read(self._api.send("PUT", f"{self._requests}/{number}", {"title": title, "description": body}))

    def comment(self, number: int, body: str) -> str:
        """Write a note. It has no address of its own."""
        self._api.send("POST", f"{self._requests}/{number}/notes", {"body": body})
        return self.get(number).url

    def head_reference(self, number: int) -> str:
        """Name its reference."""
        return f"refs/merge-requests/{number}/head"


def _read(content: Any) -> PullRequest:
    return read_pull_request(
        content, "iid", "web_url", lambda one: one["source_branch"], lambda one: one["target_branch"]
    )
