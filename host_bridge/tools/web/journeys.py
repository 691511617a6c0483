"""A request's way through its redirects: each hop is decided about like the first, and there is an end to them.

Both tools that reach the web walk it; what they ask for on the way is their own.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, DeniedError, InvalidCallError
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import join_url, url_text
from host_bridge.tools.interface import CallContext
from host_bridge.tools.web.places import Places

CHECK_SECONDS = 0.1
"""How often whoever waits for a worker looks whether the call is over."""

_LATE_SECONDS = 1.0  # a worker keeps its own time; one that doesn't answer soon after is not waited for
_REPLY_SECONDS = 0.5  # kept back from the call's time, so that what came in time, or the reason, arrives
_MAX_SHOWN_CHARACTERS = 500


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the settings of tools that reach the web share.

    Attributes:
        ports: Which ports may be used.
        allow_private: `host:port` of services that may be used though they are on this machine or network.
        max_redirects: How many redirects are followed for one URL.
        timeout_seconds: How long one URL may take, redirects included.
        user_agent: How we introduce ourselves.
        worker_memory_bytes: How much memory the process that does it may take.
    """

    tool: ClassVar[str]

    ports: tuple[Annotated[int, Meta(ge=1, le=65_535)], ...] = (80, 443)
    allow_private: tuple[str, ...] = ()
    max_redirects: Annotated[int, Meta(ge=0, le=100)] = 5
    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    user_agent: Annotated[str, Meta(pattern=r"\A[ -~]{1,200}\Z")] = "hermes-runtime"
    worker_memory_bytes: Annotated[int, Meta(ge=256 * 2**20)] = 1 * 2**30

    @property
    def places(self) -> Places:
        """Where they may go."""
        return Places(self.tool, self.ports, self.allow_private)


@dataclasses.dataclass(frozen=True, slots=True)
class Hop:
    """One redirect: what was asked, and how it was answered."""

    status: int
    url: UrlResource
    location: str


class Journey:
    """One request on its way. Begins when it is made.

    Args:
        url: Where it goes first; that is decided about already.
        settings: The tool's.
        context: The call's.

    Attributes:
        url: Where it is now.
        hops: The redirects that were followed, in order.
        started: When it began, on the monotonic clock.
    """

    def __init__(self, url: UrlResource, settings: WebSettings, context: CallContext) -> None:
        self.url = url
        self.hops: list[Hop] = []
        self.started = time.monotonic()
        self._settings = settings
        left = max(0.0, context.remaining_seconds() - _REPLY_SECONDS)
        self._deadline = self.started + min(settings.timeout_seconds, left)

    def seconds_left(self) -> float:
        """Until its time is up; 0 or less when it is."""
        return self._deadline - time.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether it is not worth waiting for a worker any more."""
        return self.seconds_left() < -_LATE_SECONDS

    def target(self, location: str, status: int) -> UrlResource:
        """Read what a redirect points at.

        Raises:
            CallError: It is no place, or there were too many of them.
        """
        if len(self.hops) >= self._settings.max_redirects:
            raise CallError(f"it redirects more than {self._settings.max_redirects} times")
        try:
            target = join_url(self.url, location)
        except InvalidCallError as error:
            raise CallError(f"it redirects to what can't be asked: {error}") from None
        method = self.url.method
        return dataclasses.replace(target, method=_method_after(status, method)) if method else target

    def go_on(self, target: UrlResource, status: int, context: CallContext) -> None:
        """Follow a redirect, if that is allowed.

        Raises:
            DeniedError: It isn't.
        """
        try:
            self._settings.places.check(target)
            context.authorise(target)
        except DeniedError as error:
            text = f"it redirects to {shown_place(target)}: {error}"
            raise DeniedError(text, rule_id=error.rule_id, remedy=error.remedy) from None
        self.hops.append(Hop(status, self.url, url_text(target)))
        self.url = target


def is_elsewhere(one: UrlResource, other: UrlResource) -> bool:
    """Whether two URLs are of different places: another scheme, host or port."""
    return (one.scheme, one.host, one.port) != (other.scheme, other.host, other.port)


def shown_place(url: UrlResource) -> str:
    """Give a URL as it stands in an error."""
    return url_text(url)[:_MAX_SHOWN_CHARACTERS]


def _method_after(status: int, method: str) -> str:
    """Give the method that a redirect asks for, as browsers do it (RFC 9110, 15.4)."""
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        return "GET"
    return method
