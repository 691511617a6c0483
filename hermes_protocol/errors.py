"""What can go wrong between the two sides, as values a program can act on.

The wire carries an `ErrorCode`; the text beside it is for people and is never parsed.
"""

from __future__ import annotations

import enum


class ErrorCode(enum.StrEnum):
    """Why a call, or a whole connection, was ended. One table in the kernel-side package maps each to a class."""

    # A call: the connection goes on.
    INVALID_REQUEST = "invalid_request"
    """The arguments don't fit the tool's declared ones."""
    UNKNOWN_TOOL = "unknown_tool"
    DENIED = "denied"
    """The policy, or the person asked, said no."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    NOT_FOUND = "not_found"
    """The file, process or document named doesn't exist."""
    FAILED = "failed"
    """The tool ran and could not do its work."""
    NOT_CONFIGURED = "not_configured"
    """The host lacks something the tool needs, such as a search provider."""
    AUDIT_FAILED = "audit_failed"
    """The record could not be written, so the act was not done."""
    INTERNAL = "internal"
    """A defect of the host; nothing of it is shown to the kernel."""

    # A connection: it is closed.
    VERSION_MISMATCH = "version_mismatch"
    MALFORMED = "malformed"
    """The frames could not be decoded into a message."""
    TOO_LARGE = "too_large"
    """A frame, or the number of frames, is over the limit."""
    OUT_OF_TURN = "out_of_turn"
    """A well-formed message that its sender may not send now, such as a reused request id."""
    SESSION_ENDED = "session_ended"


class ProtocolError(Exception):
    """A message that breaks the contract. Raised as one of its two subclasses, which say whose fault it is.

    Attributes:
        code: What was broken.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.OUT_OF_TURN) -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError: a reader needs to know whose fault it is")
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type, tuple[str, ErrorCode]]:
        return type(self), (str(self), self.code)


class LocalProtocolError(ProtocolError):
    """This side tried to send what it may not: a defect here, found before anything left."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what it may not: nothing it sends afterwards can be trusted to mean anything."""
