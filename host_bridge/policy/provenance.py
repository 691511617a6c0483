"""Where what a call gives comes from, as far as somebody untrusted may have written it. Pure.

The workspace is trusted: it is what the session works on. So is the machine's own state: what its kernel counts, what its
administrator set, what is installed. Everything else may hold text of anybody's: pages, files outside, logs, whatever a command
fetches. For commands this is knowledge, not proof: a program not in the tables is believed to look at the workspace only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from host_bridge.policy.display import one_line
from host_bridge.policy.hazards import runs_its_arguments
from host_bridge.policy.model import Access, CommandResource, PathResource, Resource, UrlResource

_MACHINE = re.compile(
    r"/(?:etc|usr|sys)(?:/.*)?"
    # Not what a process says of itself: its command line, its variables, its name.
    r"|/proc(?:/(?!\d|self(?:/|$)|thread-self(?:/|$)|net(?:/|$)).*)?",
    re.DOTALL,
)


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_FETCHES = _words(
    "curl wget wget2 aria2c http https xh lynx w3m links elinks nc ncat netcat socat telnet ssh scp sftp rsync rclone ftp",
    "lftp dig host nslookup drill whois gh glab hub svn hg bzr npx kubectl helm aws gcloud az mail mutt fetchmail",
)
_LOGS = _words("journalctl dmesg last lastb lastlog logread")
_PACKAGE_MANAGERS = _words(
    "pip pip3 pipx uv npm yarn pnpm bun cargo go gem bundle composer apt apt-get aptitude dnf yum zypper apk pacman brew conda",
    "mamba snap flatpak docker podman nerdctl",
)
_PACKAGE_ACTIONS = _words(
    "install i ci add update upgrade download search view info show index fetch pull get logs run"
)
_SUBCOMMANDS = {
    "git": _words("fetch pull clone ls-remote submodule"),
    "systemctl": _words("status"),  # it shows the last lines of a service's log
    **dict.fromkeys(_PACKAGE_MANAGERS, _PACKAGE_ACTIONS),
}
# What they tell of files is names and sizes.
_MEASURING = _words("df du stat ls lsblk findmnt uptime free nproc lscpu vmstat uname date hostname id pwd which")
MAX_SHOWN_CHARACTERS = 80


def untrusted_source(tool: str, resources: Iterable[Resource], workspace: str) -> str:
    """Name where the content of a call comes from, for people; empty where it is trusted.

    Args:
        tool: The tool.
        resources: What it is called on, canonical.
        workspace: The session's, canonical.
    """
    for resource in resources:
        if source := _source(tool, resource, workspace):
            return source
    return ""


def _source(tool: str, resource: Resource, workspace: str) -> str:
    match resource:
        case UrlResource():
            return f"{resource.scheme}://{resource.host}"
        case PathResource(relative=None):
            # A patch shows the lines around it; a write shows nothing.
            gives = resource.access is Access.READ or tool == "patch"
            return resource.path if gives and not _MACHINE.fullmatch(resource.path) else ""
        case CommandResource():
            return _command_source(resource, workspace)
    return ""


def _command_source(command: CommandResource, workspace: str) -> str:
    argv = command.argv
    if argv is None:
        return f"the command line `{one_line(command.text, MAX_SHOWN_CHARACTERS)}`"
    if _fetches(argv) or (_name(argv[0]) not in _MEASURING and _reads_outside(command, argv, workspace)):
        return f"the command `{one_line(' '.join(argv), MAX_SHOWN_CHARACTERS)}`"
    return ""


def _fetches(argv: tuple[str, ...]) -> bool:
    name = _name(argv[0])
    if name in _FETCHES or name in _LOGS:
        return True
    if name in _SUBCOMMANDS:
        # Wherever it stands: options with values come before it.
        return not _SUBCOMMANDS[name].isdisjoint(argv[1:])
    if runs_its_arguments(argv):
        words = {_name(word) for argument in argv[1:] for word in re.split(r"[\s;|&()]+", argument)}
        return not words.isdisjoint(_FETCHES | _LOGS)
    return False


def _reads_outside(command: CommandResource, argv: tuple[str, ...], workspace: str) -> bool:
    return not _is_within(command.folder, workspace) or any(_names_outside(word, workspace) for word in argv[1:])


def _names_outside(argument: str, workspace: str) -> bool:
    """Whether an argument, or what stands behind its `=`, may name a file that is neither the workspace's nor the machine's."""
    for text in (argument, argument.partition("=")[2]):
        if text.startswith("~") or ".." in text.split("/"):
            return True
        if text.startswith("/") and not _MACHINE.fullmatch(text) and not _is_within(text, workspace):
            return True
    return False


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _name(word: str) -> str:
    return word.rpartition("/")[2]
