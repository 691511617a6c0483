"""What a kernel needs to find its bridge and be believed: made by whoever starts the kernel, read once by the SDK."""

from __future__ import annotations

import msgspec

TICKET_FILE_VARIABLE = "HERMES_RUNTIME_SESSION_FILE"
"""Names a file that holds a ticket. The reader removes the file and the variable."""

TICKET_VARIABLE = "HERMES_RUNTIME_SESSION"
"""Holds a ticket itself, where no file can be given (a kernel on another machine). The reader removes the variable."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address of a bridge session, and the key pair that this kernel, and no other, is known by.

    Attributes:
        endpoint: The ZeroMQ address to connect to; with `bridge_dials` the one to bind.
        server_public_key: The bridge's CURVE key, Z85 text; a server without it is not the bridge.
        public_key: The kernel's own CURVE key, Z85 text.
        secret_key: The secret half of it.
        bridge_dials: Whether the kernel binds the endpoint, an `ipc://` one, and the bridge connects: for a kernel that is
            confined so that it can't connect to anything. The bridge is the CURVE server all the same.
    """

    session_id: str
    endpoint: str
    server_public_key: str
    public_key: str
    secret_key: str
    bridge_dials: bool = False

    def __repr__(self) -> str:
        # A ticket ends up in tracebacks and notebook outputs sooner or later; its key must not.
        return f"Ticket(session_id={self.session_id!r}, endpoint={self.endpoint!r})"


def encode_ticket(ticket: Ticket) -> str:
    """Give the text form, JSON."""
    return msgspec.json.encode(ticket).decode()


def decode_ticket(text: str | bytes) -> Ticket:
    """Read the text form.

    Raises:
        ValueError: It isn't one.
    """
    try:
        return msgspec.json.decode(text, type=Ticket)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a session ticket: {error}") from None
