"""A session for a kernel that runs elsewhere: it listens on TCP, and the kernel's ticket travels by other means.

The connection is authenticated and encrypted by CURVE both ways, so the network between need not be trusted; the ticket has
to be: whoever holds it is the kernel.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import TracebackType

from hermes_protocol.ticket import Ticket
from host_bridge.config import HostConfig
from host_bridge.errors import SessionError
from host_bridge.provisioning.keys import new_keys
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.provisioning.session import BridgeSession
from host_bridge.provisioning.session_config import Circumstances, session_config

ANY_ADDRESS = frozenset({"*", "0.0.0.0", "::", "[::]"})


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteSession:
    """A session and the ticket for its kernel. Close it (or leave its `with` block) to end the session."""

    session: BridgeSession
    ticket: Ticket

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def __enter__(self) -> RemoteSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_remote_session(
    config: HostConfig,
    options: LaunchOptions | None = None,
    *,
    listen: str = "127.0.0.1",
    port: int | None = None,
    advertise: str = "",
) -> RemoteSession:
    """Open a session that a kernel elsewhere may connect to.

    Args:
        config: The user's configuration.
        options: What else is known about the kernel; its `workspace` is a folder of this machine.
        listen: The local address to listen on; `*` for all of them.
        port: The port; None for any that is free.
        advertise: How the kernel reaches this machine; needed when `listen` is `*`, otherwise the same.

    Raises:
        HostBridgeError: The session can't be opened; see `BridgeSession.wait_ready`.
    """
    host = advertise or listen
    if host in ANY_ADDRESS:
        raise SessionError("the kernel needs an address to connect to: give the name of this machine as `advertise`")
    options = options or LaunchOptions()
    server_public, server_secret = new_keys()
    public, secret = new_keys()
    given = Circumstances(
        endpoint=f"tcp://{listen}:{'*' if port is None else port}",
        server_keys=(server_public, server_secret),
        cwd=str(Path.cwd()),
        interactive=options.prompter is not None,
    )
    session = BridgeSession(prompter=options.prompter, on_call=options.on_call, tools=options.tools)
    try:
        session.start(session_config(config, options, given, os.environ), supervisor=config.bridge.socket)
        session.kernel_starting(public)
        bound = session.wait_ready(config.session.ready_timeout_seconds)
    except BaseException:
        session.close()
        raise
    return RemoteSession(
        session,
        Ticket(
            session_id=session.session_id,
            endpoint=f"tcp://{host}:{bound.rpartition(':')[2]}",
            server_public_key=server_public,
            public_key=public,
            secret_key=secret,
        ),
    )
