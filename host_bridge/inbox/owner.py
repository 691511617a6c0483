"""Who asked a question, and whether they can still hear the answer."""

from __future__ import annotations

import os
import socket

import msgspec

from host_bridge.rundirs.processes import ProcessIdentity, identify, is_running, machine_state

BEAT_SECONDS = 10.0
"""How often whoever waits shows that it does, for those who can't look at its process: another container or machine."""
SILENT_SECONDS = 120.0  # many beats, and more than clocks of machines that share a folder differ


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The process that waits for an answer.

    Attributes:
        process: Its number and when it began.
        machine_state: Where and when that number means anything.
        host: The machine's name.
    """

    process: ProcessIdentity
    machine_state: str
    host: str


def this_process() -> Owner:
    """Give this process as an owner."""
    pid = os.getpid()
    return Owner(identify(pid) or ProcessIdentity(pid), machine_state(), socket.gethostname())


def lives(owner: Owner, silent_seconds: float) -> bool:
    """Whether an owner can be expected to hear an answer.

    Args:
        owner: Who asked.
        silent_seconds: How long ago it last showed that it waits.
    """
    here = machine_state()
    if owner.host == socket.gethostname():
        if owner.machine_state == here:
            return is_running(owner.process)
        if here and owner.machine_state.split(" ")[0] != here.split(" ")[0]:
            return False  # the machine was started anew since
    # Its process can't be seen from here, so its silence has to do.
    return silent_seconds < SILENT_SECONDS
