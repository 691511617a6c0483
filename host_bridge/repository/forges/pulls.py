"""Pull requests as GitHub has them, and Gitea after it: the same paths and fields, at another address."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any

from host_bridge.repository.forges.comments import choose_comment, own_id, read_comment
from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import Comment, PullRequest
from host_bridge.repository.forges.places import Place
from host_bridge.repository.forges.shapes import choose, read_pull_request


class Pulls(abc.ABC):
    """A repository's pull requests: all that a `Forge` does, but for how they and their comments are listed.

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
        return _address(self._api.send("POST", f"{self._repository}/issues/{number}/comments", {"body": body}))

    def find_comment(self, number: int, mark: str) -> Comment | None:
        """Look through the comments for the token's own."""
        me = own_id(self._api)
        return None if me is None else choose_comment(self._comments(number), me, mark, _read_comment)

    def update_comment(self, number: int, comment: Comment, body: str) -> str:
        """Change a comment. Its id is the repository's, so the pull request's number isn't needed."""
        return _address(self._api.send("PATCH", f"{self._repository}/issues/comments/{comment.id}", {"body": body}))

    def head_reference(self, number: int) -> str:
        """Name its reference."""
        return f"refs/pull/{number}/head"

    @abc.abstractmethod
    def _comments(self, number: int) -> Iterable[Any]:
        """List the comments of a pull request, oldest first."""

    @staticmethod
    def _choose(listed: Iterable[Any], head: str, base: str) -> PullRequest | None:
        return choose(listed, head, base, _read)


def _read(content: Any) -> PullRequest:
    return read_pull_request(
        content,
        number="number",
        url="html_url",
        head=lambda one: one["head"]["ref"],
        base=lambda one: one["base"]["ref"],
        is_fork=lambda one: _repository_of(one["head"]) != _repository_of(one["base"]),
    )


def _repository_of(side: Any) -> int | None:
    return None if side["repo"] is None else int(side["repo"]["id"])  # None: a fork that is gone


def _read_comment(content: Any) -> Comment:
    return read_comment(content, "user")


def _address(comment: Any) -> str:
    return str(comment.get("html_url", "")) if isinstance(comment, dict) else ""
