"""Reading what forges answer: nothing of it is believed to have a shape before that was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from host_bridge.repository.forges.interface import ForgeError, PullRequest


def read_pull_request(
    content: Any,
    *,
    number: str,
    url: str,
    head: Callable[[Any], Any],
    base: Callable[[Any], Any],
    is_fork: Callable[[Any], bool],
) -> PullRequest:
    """Read a pull request, given where its parts are.

    Raises:
        ForgeError: It has another shape.
    """
    try:
        return PullRequest(
            int(content[number]),
            str(content[url]),
            str(content["title"]),
            str(head(content)),
            str(base(content)),
            is_fork(content),
        )
    except (KeyError, TypeError, ValueError, IndexError):
        raise ForgeError("the forge's answer is no pull request; is its address right, and its kind?") from None


def choose(listed: Iterable[Any], head: str, base: str, read: Callable[[Any], PullRequest]) -> PullRequest | None:
    """Choose the pull request between two branches of one repository: a fork may have a branch of the same name."""
    found = map(read, listed)
    return next((one for one in found if (one.head, one.base) == (head, base) and not one.is_fork), None)
