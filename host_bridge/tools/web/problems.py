"""Why the web gave nothing, as exceptions inside a worker; each becomes a `jobs.Problem`."""

from __future__ import annotations

from typing import ClassVar, Literal


class WebError(Exception):
    """The other side, or the way to it, failed. The text is for the kernel: it names no address of the host's network."""

    kind: ClassVar[Literal["failed", "timed_out", "denied", "not_configured"]] = "failed"


class WebTimeoutError(WebError):
    """It took too long."""

    kind = "timed_out"


class WebDeniedError(WebError):
    """The address is not one that may be reached."""

    kind = "denied"


class WebNotConfiguredError(WebError):
    """The host's configuration lacks something; the text says what."""

    kind = "not_configured"
