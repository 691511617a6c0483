"""Finding one's own comment again, so that it is changed and not written twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import Comment, ForgeError

_MAY_NOT_SAY = (403, 404)  # a token for one repository only, or a workflow's


def own_id(api: Api) -> int | None:
    """Ask whose the token is; None if it may not say."""
    try:
        return int(api.get("/user")["id"])
    except ForgeError as error:
        if error.status in _MAY_NOT_SAY:
            return None
        raise
    except (KeyError, TypeError, ValueError):
        raise ForgeError("the forge's answer is no user; is its address right, and its kind?") from None


def read_comment(content: Any, author: str) -> Comment:
    """Read a comment, given which field has its author.

    Raises:
        ForgeError: It has another shape.
    """
    try:
        writer = content[author]
        return Comment(int(content["id"]), None if writer is None else int(writer["id"]), str(content["body"]))
    except (KeyError, TypeError, ValueError):
        raise ForgeError("the forge's answer is no comment; is its address right, and its kind?") from None


def choose_comment(listed: Iterable[Any], me: int, mark: str, read: Callable[[Any], Comment]) -> Comment | None:
    """Choose the comment of one's own that begins with a mark. Who quotes it has it further down."""
    found = map(read, listed)
    return next((one for one in found if one.author == me and one.body.startswith(mark)), None)
