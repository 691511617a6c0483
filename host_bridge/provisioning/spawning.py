"""How a session process comes to be: started here, or by a supervisor that listens on a socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import IO

from host_bridge.errors import SessionError
from host_bridge.provisioning.environment import session_environment

BRIDGE_MODULE = "host_bridge.bridge"
CONNECT_SECONDS = 5.0


def start_session_process(control: socket.socket, *, stderr: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start a session process that serves `control`, which stays the caller's to close.

    Args:
        control: Its end of the control channel.
        stderr: As for `subprocess.Popen`; a session process writes nothing to standard output.

    Raises:
        SessionError: It can't be started.
    """
    if not sys.executable:
        raise SessionError("this Python doesn't know its own executable, so no session process can be started")
    descriptor = control.fileno()
    # -P: the current folder must not be able to replace a module of the trusted side.
    command = [sys.executable, "-P", "-m", BRIDGE_MODULE, "--control-fd", str(descriptor)]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(descriptor,),
            cwd="/",
            env=session_environment(os.environ),
            start_new_session=True,  # a Ctrl-C in the host's terminal is for the host to pass on
        )
    except OSError as error:
        raise SessionError(f"the session process can't be started: {error}") from error


def connect_supervisor(path: str) -> socket.socket:
    """Open a control channel to a session that the supervisor at `path` starts.

    Raises:
        SessionError: Nobody listens there.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.settimeout(CONNECT_SECONDS)
    try:
        channel.connect(path)
    except OSError as error:
        channel.close()
        raise SessionError(
            f"no bridge supervisor answers at {path} ({error.strerror or error}); start one with "
            f"`hermes-runtime bridge serve`, or remove `socket` from [bridge] in the configuration"
        ) from error
    return channel
