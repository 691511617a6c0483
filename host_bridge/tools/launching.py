"""What to start, and what it starts with: its folder, its variables, its limits."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
from collections.abc import Iterator, Mapping
from typing import Any, Literal

# What would make a shell run, or take for a command, something that is not in the line that was approved.
_SHELL_STARTUP = frozenset(
    {"BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "CDPATH", "GLOBIGNORE"}
)
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command to start.

    Attributes:
        argv: What execve gets.
        executable: The file to execute; absolute, or with a slash and relative to `folder`.
        folder: The working directory's path, as the command sees it.
        descriptor: An open descriptor of that folder: it is entered even if the path leads elsewhere by now.
        input: Where its standard input comes from; `"none"` is the null device.
        merged: Whether standard error goes where standard output does.
        terminal: Whether both are a pseudo terminal.
        environment: Its variables, where they are not the session's: for processes of our own.
        descriptors: What it inherits besides its standard streams.
        dies_with_starter: Whether the system ends it with the thread that starts it, which must then be one that lasts.
    """

    argv: tuple[str, ...]
    executable: str
    folder: str
    descriptor: int | None = None
    input: Literal["none", "pipe"] = "none"
    merged: bool = False
    terminal: bool = False
    environment: Mapping[str, str] | None = None
    descriptors: tuple[int, ...] = ()
    dies_with_starter: bool = False


def find_executable(name: str, search_path: str) -> str | None:
    """Give the file a bare command name stands for, None if there is none."""
    for folder in search_path.split(":"):
        path = f"{folder}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):  # noqa: PTH113 - every command comes through here
            return path
    return None


def command_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Give the variables of a session's commands: those the host chose, less what would change what a line means."""
    environment = {
        name: value
        for name, value in given.items()
        if name not in _SHELL_STARTUP and not name.startswith("BASH_FUNC_") and name != "OLDPWD"
    }
    # A relative folder would look commands up in the workspace, where anybody may have put them.
    folders = [folder for folder in given.get("PATH", _DEFAULT_PATH).split(":") if folder.startswith("/")]
    return {**environment, "PATH": ":".join(folders) or _DEFAULT_PATH}


def soft_limits(given: Mapping[int | str, Any]) -> dict[int, int]:
    """Read the soft limits to give back to commands, by number; names such as `"RLIMIT_DATA"` are taken too."""
    return {
        getattr(resource, name) if isinstance(name, str) else name: limits if isinstance(limits, int) else limits[0]
        for name, limits in given.items()
    }


@contextlib.contextmanager
def limits_lifted(limits: Mapping[int, int]) -> Iterator[None]:
    """Let children started inside inherit the soft limits this process had before it limited itself.

    Set before the child exists rather than on it afterwards: by then it may have children of its own.
    """
    before = {number: resource.getrlimit(number) for number in limits}
    try:
        for number, wanted in limits.items():
            hard = before[number][1]
            possible = wanted if hard == resource.RLIM_INFINITY or -1 < wanted < hard else hard
            resource.setrlimit(number, (possible, hard))
        yield
    finally:
        for number, pair in before.items():
            resource.setrlimit(number, pair)
