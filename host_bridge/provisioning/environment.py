"""Which of the host's variables go where: to the commands tools run, to the session process, to the kernel."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from pathlib import Path

from hermes_protocol.confinement import CONFINEMENT_VARIABLE
from hermes_protocol.ticket import TICKET_FILE_VARIABLE, TICKET_VARIABLE
from host_bridge.config import CONFIG_VARIABLE, PRINCIPAL_VARIABLE, EnvironmentSettings, SandboxSettings, sounds_secret

COMMAND_VARIABLES = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLUMNS", "LINES", "TMPDIR",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
)  # fmt: skip
"""What commands get of the host's environment without being asked: where things are and how to speak, never what opens them."""

CONFINED_VARIABLES = (
    "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLORTERM", "NO_COLOR", "MPLBACKEND", "PYTHONUTF8", "PYTHONHASHSEED",
    "*_NUM_THREADS", "PYDEVD_*", "IPY_*", "HERMES_RUNTIME_OUTPUT_BYTES",
)  # fmt: skip
"""What a confined kernel gets of the host's environment without being asked."""

OUTPUT_VARIABLE = "HERMES_RUNTIME_OUTPUT_BYTES"
"""Tells a kernel what one cell may print, and again display."""

_INTERPRETER_VARIABLES = (*COMMAND_VARIABLES, "LD_LIBRARY_PATH", "PYTHONHOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OURS = (TICKET_FILE_VARIABLE, TICKET_VARIABLE, CONFIG_VARIABLE, PRINCIPAL_VARIABLE)


def command_environment(host: Mapping[str, str], settings: EnvironmentSettings) -> dict[str, str]:
    """Give the variables for commands: the harmless ones, those the user names, those the user sets."""
    chosen = _select(host, (*COMMAND_VARIABLES, *settings.pass_names))
    return {**chosen, **settings.set}


def session_environment(host: Mapping[str, str]) -> dict[str, str]:
    """Give the variables for a session process: enough for its interpreter to start and find this package."""
    chosen = _select(host, _INTERPRETER_VARIABLES)
    if search_path := host.get("PYTHONPATH"):
        # The process starts in another folder, where relative entries would mean something else.
        chosen["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in search_path.split(os.pathsep))
    return chosen


def kernel_environment(given: Mapping[str, str], ticket_path: str) -> dict[str, str]:
    """Give an unconfined kernel's variables: what it would have anyway, without ours, and where its ticket lies."""
    kept = {name: value for name, value in given.items() if name not in _OURS}
    return {**kept, TICKET_FILE_VARIABLE: ticket_path, CONFINEMENT_VARIABLE: "none"}


def confined_environment(
    given: Mapping[str, str], settings: SandboxSettings, *, interpreter: str, ticket_path: str, home: str, backend: str
) -> dict[str, str]:
    """Give a confined kernel's variables: a short list, since whatever is in it a cell can read.

    Args:
        given: What the kernel would have unconfined: the host's variables and its kernel spec's.
        settings: What the user adds.
        interpreter: The kernel's Python, whose folder comes first in the search path.
        ticket_path: Where its ticket lies, as it sees it.
        home: Its home folder, as it sees it.
        backend: How it is confined.
    """
    chosen = _select(given, (*CONFINED_VARIABLES, *settings.pass_names))
    return {
        "LANG": "C.UTF-8",
        **chosen,
        **settings.set,
        "PATH": f"{Path(interpreter).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": "/tmp" if backend == "bubblewrap" else home,
        # ipykernel ends itself when its parent is number 1 and it was told of another.
        **({"JPY_PARENT_PID": "1"} if backend == "bubblewrap" else {}),
        CONFINEMENT_VARIABLE: backend,
        TICKET_FILE_VARIABLE: ticket_path,
    }


def _select(host: Mapping[str, str], patterns: tuple[str, ...]) -> dict[str, str]:
    return {
        name: value
        for name, value in host.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns) and not sounds_secret(name)
    }
