"""What a call may say in its headers, and who it may say it as: pure.

A header that could be read in two ways is refused rather than repaired, and so is one that speaks of the connection, which
is made by somebody else.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from host_bridge.errors import InvalidCallError

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 2**10  # of all together: many servers accept no more

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_OURS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
    )
)
"""What belongs to the connection, and so is said by whoever makes it."""
_SAYING_NOTHING = frozenset(("accept", "accept-language", "content-type", "content-language", "user-agent"))
"""What another place than the one that was asked gets to see too."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that could be read in two ways, or that speak of the connection.

    Raises:
        InvalidCallError: Names the header.
    """
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            raise InvalidCallError(f"{name[:100]!a} can't be a header's name")
        if lower in _OURS or lower.startswith("proxy-"):
            raise InvalidCallError(f"the header {name} belongs to the connection, and the host sends it; leave it out")
        if lower in seen:
            raise InvalidCallError(f"the header {name} is given twice")
        seen.add(lower)
        if not _VALUE.fullmatch(value) or not value.isprintable():
            raise InvalidCallError(f"the header {name} has a line break, an invisible character, or blanks at an end")
    size = sum(len(name) + len(value.encode(errors="replace")) for name, value in headers.items())
    if size > MAX_HEADER_BYTES:
        raise InvalidCallError(f"the headers have {size} bytes, over the limit of {MAX_HEADER_BYTES}")


def check_values(headers: Mapping[str, str]) -> None:
    """Refuse values that no header can hold, now that secrets are in them.

    Raises:
        InvalidCallError: Names the header, and nothing of its value.
    """
    for name, value in headers.items():
        if not _VALUE.fullmatch(value):
            raise InvalidCallError(
                f"the secret in the header {name} has a line break or another character that no header can hold"
            )


def for_elsewhere(headers: Mapping[str, str]) -> dict[str, str]:
    """Give what another place gets to see: nothing that says who asks."""
    return {name: value for name, value in headers.items() if name in _SAYING_NOTHING}


def without_body(headers: Mapping[str, str]) -> dict[str, str]:
    """Give what is left to say where the body is not sent again."""
    return {name: value for name, value in headers.items() if not name.startswith("content-")}


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks: a user with a password (Basic, RFC 7617), or a token (Bearer, RFC 6750).

    Attributes:
        parts: The two, or the one; secrets by name until they are revealed.
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, auth: str | tuple[str, str], headers: Mapping[str, str]) -> Credentials:
        """Read what a call says of it.

        Raises:
            InvalidCallError: It says it twice, or what can't be sent.
        """
        if any(name.lower() == "authorization" for name in headers):
            raise InvalidCallError("give auth or the header Authorization, not both")
        parts = (auth,) if isinstance(auth, str) else auth
        if sum(map(len, parts)) > MAX_HEADER_BYTES:
            raise InvalidCallError(f"auth is longer than any header, {MAX_HEADER_BYTES} bytes")
        return cls(parts)

    def shown(self) -> dict[str, Any]:
        """Give it as decided about."""
        return dict(zip(("user", "password"), self.parts, strict=True)) if self._is_basic else {"token": self.parts[0]}

    def header(self, revealed: list[str]) -> str:
        """Give the value of the header, for the one request that it is sent with.

        Args:
            revealed: The parts, with the values of secrets.

        Raises:
            InvalidCallError: None of them was a secret, or they can't be sent.
        """
        if tuple(revealed) == self.parts:
            raise InvalidCallError("auth is for secrets: give hermes.secret(…); a header takes what is none")
        if not self._is_basic:
            if not _TOKEN.fullmatch(revealed[0]):
                raise InvalidCallError("the secret in auth has a blank or another character that no token can hold")
            return f"Bearer {revealed[0]}"
        user, password = revealed
        if ":" in user or not (user + password).isprintable():
            raise InvalidCallError(
                "auth can't be sent: a user can't have a colon, and neither user nor password a line break or another "
                "invisible character"
            )
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    @property
    def _is_basic(self) -> bool:
        return len(self.parts) == 2
