"""The session's ticket: read once when the package is imported, then removed from the file system and the environment.

What is left of it is in this process's memory only, so neither `os.environ`, a subprocess nor a saved output shows it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from hermes_protocol.ticket import TICKET_FILE_VARIABLE, TICKET_VARIABLE, Ticket, decode_ticket

HOW_TO_GET_A_BRIDGE = (
    "Tools need a host: choose the kernel `hermes` (in Jupyter: Kernel > Change Kernel; `papermill -k hermes …`; "
    "`hermes-runtime run …`). If it is not in the list, run `pip install hermes-runtime`; if it is and this goes on, run "
    "`hermes-runtime doctor`."
)

_ticket: Ticket | None = None
_problem = ""
_owner = 0


def load() -> None:
    """Take this process's ticket out of its environment, if there is one. Further calls find nothing and change nothing.

    Raises:
        ValueError: A ticket was given and can't be used; said again at every call.
    """
    global _ticket, _problem, _owner
    ticket, problem = take_ticket(os.environ)
    if ticket is not None or problem:
        _ticket, _problem, _owner = ticket, problem, os.getpid()
    if _problem:
        raise ValueError(_problem)


def session_ticket() -> tuple[Ticket | None, str]:
    """Give the ticket, or None and why there is none (empty when none was ever given)."""
    return _ticket, _problem


def owner() -> int:
    """The process that took the ticket; 0 if none was given. A forked one has it too, but isn't whom it was for."""
    return _owner


def take_ticket(environment: MutableMapping[str, str]) -> tuple[Ticket | None, str]:
    """Read a ticket and remove every trace of it.

    Returns:
        The ticket, or None and why there is none (empty when none was given).
    """
    path = environment.pop(TICKET_FILE_VARIABLE, "")
    text: str | bytes = environment.pop(TICKET_VARIABLE, "")
    try:
        if path:
            text = _read_once(Path(path))
        return (decode_ticket(text), "") if text else (None, "")
    except (OSError, ValueError) as error:
        return None, f"the ticket given to this kernel can't be used: {error}"


def _read_once(path: Path) -> bytes:
    try:
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
