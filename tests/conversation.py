"""Two ends joined by a link that delays but never reorders, for tests that read as a conversation."""

from __future__ import annotations

import collections

from hermes_protocol import Connection, Role
from hermes_protocol.frames import Frame
from hermes_protocol.messages import AnyMessage, Hello, Limits, ToolRequest, Welcome

LIMITS = Limits(open_calls=8, frame_bytes=4096, upload_window_bytes=1000, heartbeat_seconds=5)
WELCOME = Welcome(
    version=1, session_id="s", principal="p", profile="workspace", workspace="/w", confinement="none", limits=LIMITS
)


class Link:
    """A kernel's and a bridge's connection, with messages on their way in between."""

    def __init__(self) -> None:
        self.ends = {role: Connection(role) for role in Role}
        self.on_the_way: dict[Role, collections.deque[list[Frame]]] = {role: collections.deque() for role in Role}

    def say(self, speaker: Role, message: AnyMessage, *bulk: bytes) -> None:
        """Send; it arrives when the other end hears it."""
        self.on_the_way[other(speaker)].append(self.ends[speaker].send(message, bulk))

    def hear(self, listener: Role) -> AnyMessage | None:
        """Let the oldest message on its way to `listener` arrive."""
        return self.ends[listener].receive(self.on_the_way[listener].popleft())[0]

    def tell(self, speaker: Role, message: AnyMessage, *bulk: bytes) -> AnyMessage | None:
        """Send, and have it arrive at once."""
        self.say(speaker, message, *bulk)
        return self.hear(other(speaker))


def other(role: Role) -> Role:
    return Role.BRIDGE if role is Role.KERNEL else Role.KERNEL


def open_link() -> Link:
    """Give a link whose two ends have greeted each other."""
    link = Link()
    link.tell(Role.KERNEL, Hello(versions=(1,)))
    link.tell(Role.BRIDGE, WELCOME)
    return link


def request(call_id: int, **fields: object) -> ToolRequest:
    """Give a request; only what matters to the test is spelled out there."""
    return ToolRequest(
        **{"id": call_id, "tool": "read_file", "arguments": {"path": "a"}, "timeout_seconds": 5.0, **fields}  # type: ignore[arg-type]
    )
