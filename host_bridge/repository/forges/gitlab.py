"""GitLab: https://docs.gitlab.com/api/merge_requests."""

from __future__ import annotations

from typing import Any

from host_bridge.repository.forges.comments import choose_comment, own_id, read_comment
from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import Comment, PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.shapes import choose, read_pull_request


class GitLab:
    """A project on GitLab."""

    def __init__(self, place: Place, token: str) -> None:
        self._api = Api(f"{place.site}/api/v4", {"Authorization": f"Bearer {token}"}, token)
        self._requests = f"/projects/{place.quoted_path.replace('/', '%2F')}/merge_requests"

    def find(self, head: str, base: str) -> PullRequest | None:
        """Ask for the merge requests of a branch."""
        listed = self._api.get_list(self._requests, state="opened", source_branch=head, target_branch=base)
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

    def find_comment(self, number: int, mark: str) -> Comment | None:
        """Look through the notes for the token's own."""
        me = own_id(self._api)
        if me is None:
            return None
        notes = self._api.walk(f"{self._requests}/{number}/notes", size="per_page", order_by="created_at", sort="asc")
        return choose_comment(notes, me, mark, _read_note)

    def update_comment(self, number: int, comment: Comment, body: str) -> str:
        """Change a note."""
        self._api.send("PUT", f"{self._requests}/{number}/notes/{comment.id}", {"body": body})
        return self.get(number).url

    def head_reference(self, number: int) -> str:
        """Name its reference."""
        return f"refs/merge-requests/{number}/head"


def _read(content: Any) -> PullRequest:
    return read_pull_request(
        content,
        number="iid",
        url="web_url",
        head=lambda one: one["source_branch"],
        base=lambda one: one["target_branch"],
        is_fork=lambda one: one["source_project_id"] != one["target_project_id"],
    )


def _read_note(content: Any) -> Comment:
    return read_comment(content, "author")
