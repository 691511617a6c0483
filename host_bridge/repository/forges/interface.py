"""What a forge has to be able to do: read this to add one.

A forge is where a repository's pull requests live: Gitea, GitHub, GitLab. It gets an `Api`, which holds the token and speaks
HTTP, and says what its own paths and fields are. One file per forge, one line in `choice.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from host_bridge.errors import HostBridgeError


class ForgeError(HostBridgeError):
    """A forge that could not be asked, or said no.

    Attributes:
        status: The HTTP status; None if there was no answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request (GitLab: merge request).

    Attributes:
        number: What people call it by.
        url: Its page.
        head: The branch with the change.
        base: The branch it is for.
        is_fork: Whether the head is in another repository.
    """

    number: int
    url: str
    title: str
    head: str
    base: str
    is_fork: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Comment:
    """A comment on a pull request.

    Attributes:
        id: What the forge calls it by.
        author: The id of whoever wrote it; None if they are gone.
    """

    id: int
    author: int | None
    body: str


class Forge(Protocol):
    """One repository on a forge. Every method raises `ForgeError` when it can't do what it says."""

    def find(self, head: str, base: str) -> PullRequest | None:
        """Give the open pull request from one branch to the other, both of this repository; None if there is none."""

    def get(self, number: int) -> PullRequest:
        """Give a pull request by its number."""

    def create(self, head: str, base: str, title: str, body: str) -> PullRequest:
        """Open a pull request. The head has been pushed."""

    def update(self, number: int, title: str, body: str) -> PullRequest:
        """Give a pull request another title and text."""

    def comment(self, number: int, body: str) -> str:
        """Write a comment, and give its address."""

    def find_comment(self, number: int, mark: str) -> Comment | None:
        """Give the comment that begins with a mark and is the token's own; None if there is none, or that can't be known.

        Anybody can write the mark. Whose comment it is, who can change its text later: so it has to be ours.
        """

    def update_comment(self, number: int, comment: Comment, body: str) -> str:
        """Give a comment another text, and give its address."""

    def head_reference(self, number: int) -> str:
        """Name the reference under which the forge keeps a pull request's commits, for `git fetch`."""
