"""Reading what forges answer: nothing of it is believed to have a shape before that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host_bridge.repository.forges.interface import ForgeError, PullRequest


def read_pull_request(
    content: Any, number: str, url: str, head: Callable[[Any], Any], base: Callable[[Any], Any]
) -> PullRequest:
    """Read a pull request, given where its parts are.

    Raises:
        ForgeError: It has another shape.
    """
    try:
        return PullRequest(
            int(content[number]), str(content[url]), str(content["title"]), str(head(content)), str(base(content))
        )
    except (KeyError, TypeError, ValueError, IndexError):
        raise ForgeError("the forge's answer is no pull request; is its address right, and its kind?") from None


def choose(listed: Any, head: str, base: str, read: Callable[[Any], PullRequest]) -> PullRequest | None:
    """Choose the pull request between two branches out of a list.

    Raises:
        ForgeError: It is no list.
    """
    if not isinstance(listed, list):
        raise ForgeError("the forge's answer is no list of pull requests; is its address right, and its kind?")
    found = map(read, listed)
    return next((one for one in found if (one.head, one.base) == (head, base)), None)
