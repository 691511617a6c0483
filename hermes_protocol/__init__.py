"""The contract between a kernel and its bridge: messages, frames, and who may say what. Pure; does no I/O.

Five nouns: a *message* is one declared struct; its *frames* are how it travels; a *call* is a request and the one reply that
settles it; a *connection* keeps the rules of one conversation; *credit* is how many bytes a side has said it can hold.
"""

from .connection import Connection, Role, State
from .errors import ErrorCode, LocalProtocolError, ProtocolError, RemoteProtocolError

__all__ = [
    "Connection",
    "ErrorCode",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "Role",
    "State",
]
