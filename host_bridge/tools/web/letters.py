"""What a request sends, besides its method and URL: as decided about, and sealed for one place with the values of secrets.

Letter.of             what a call says; secrets stand in it by name
Letter.seal           for the place where it goes now: the one place where values are put in
Letter.for_elsewhere  what is left of it when a redirect leads to another place; it is sealed without values from then on
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from host_bridge.policy.model import UrlResource
from host_bridge.tools.interface import CallContext
from host_bridge.tools.web.bodies import Body, Content
from host_bridge.tools.web.headers import Credentials, check_values, for_elsewhere, without_body


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    """A letter for one place.

    Attributes:
        content: The body's bytes, None for none.
        has_secret: Whether a secret is in it, credentials included.
        is_bound: Whether one is in its headers or body, so that it can't go on to another place.
    """

    headers: dict[str, str]
    content: Content | None
    has_secret: bool
    is_bound: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """What is sent.

    Attributes:
        headers: By lower-case name; secrets by name.
        auth: Who asks; None once it has left the place it was for.
        is_away: Whether it has left that place: then it carries no secret.
    """

    headers: dict[str, str]
    body: Body
    auth: Credentials | None = None
    is_away: bool = False

    @classmethod
    def of(cls, headers: Mapping[str, str], body: Body, auth: Credentials | None, *, user_agent: str) -> Letter:
        """Give what a call says, with what it doesn't say and servers want to know."""
        said = {"user-agent": user_agent, "accept": "*/*"} | {name.lower(): value for name, value in headers.items()}
        if body.content_type:
            said.setdefault("content-type", body.content_type)
        return cls(said, body, auth)

    def seal(self, context: CallContext, url: UrlResource, upload: Content | None) -> Sealed:
        """Put the values of secrets in, for a request to one URL.

        Args:
            context: The call's.
            url: Where it goes now.
            upload: The body's bytes, where they were uploaded.

        Raises:
            CallError: A secret may not go there, can't be had, or can't be sent.
        """
        body, auth = self.body, self.auth
        plain = None if body.kind == "upload" else body.value
        given: list[Any] = [self.headers, plain, list(auth.parts) if auth is not None else None]
        headers, value, parts = given if self.is_away else context.reveal(given, url)
        check_values(headers)
        is_bound = [headers, value] != given[:2]
        if auth is not None:
            headers = {**headers, "authorization": auth.header(parts)}
        content = upload if body.kind == "upload" else None
        if body.kind not in ("upload", "none"):
            content = Content.of(body.encoded(value))
        return Sealed(headers, content, is_bound or auth is not None, is_bound)

    def for_elsewhere(self) -> Letter:
        """Give what another place gets to see. Not for a letter that was bound to its place."""
        return dataclasses.replace(self, headers=for_elsewhere(self.headers), auth=None, is_away=True)

    def without_body(self) -> Letter:
        """Give what is sent where a redirect turns the request into one that gets."""
        return dataclasses.replace(self, headers=without_body(self.headers), body=Body("none"))
