"""Says what a person could do about a denial: the narrowest sensible rule that would allow the call, and sentences.

What is written here reaches the kernel, so it shows no path of the host that the kernel could not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from host_bridge.policy.display import escaped, one_line
from host_bridge.policy.hazards import HABITS, find_hazards
from host_bridge.policy.model import CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS

_SAFE_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./^~-]+")
_SUBCOMMAND = re.compile(r"[a-z][a-z0-9-]*")
_WILD = re.compile(r"[][?*{}\\]")
# Where things lie on every machine: naming them tells nothing about this one.
_PUBLIC_PLACES = ("/proc/", "/sys/", "/etc/", "/usr/", "/var/log/", "/dev/")
MAX_REMEDY_CHARACTERS = 1000  # longer than that is no rule to copy from a denial


def remedy(tool: str, denied: Iterable[Resource | None]) -> str:
    """Give the line to add to a policy's `[rules]`; empty where no single line would do."""
    rules = dict.fromkeys(rule_for(tool, resource) for resource in denied)
    if not rules or "" in rules:
        return ""
    text = f"allow = [{', '.join(_toml_string(rule) for rule in rules)}]"
    return text if len(text) <= MAX_REMEDY_CHARACTERS else ""


def rule_for(tool: str, resource: Resource | None) -> str:
    """Give the narrowest sensible rule that allows a tool to use a resource; empty where there is none to recommend."""
    match resource:
        case PathResource():
            return _path_rule(tool, resource)
        case CommandResource(argv=None):
            return ""
        case CommandResource():
            return _command_rule(tool, resource.argv or ())
        case UrlResource():
            return f"{tool}({_url_pattern(resource)})"
        case TextResource() | None:
            return tool


def describe(tool: str, resource: Resource | None) -> str:
    """Name what was asked for, for the middle of a sentence."""
    match resource:
        case PathResource(relative=None):
            return f"{tool} of {one_line(resource.path)}" if _is_public(resource) else f"{tool} outside the workspace"
        case PathResource():
            return f"{tool} of ./{one_line(resource.relative or '')}"
        case CommandResource(argv=None):
            return "this command line"
        case CommandResource():
            return f"the command `{one_line(' '.join(map(quoted, resource.argv or ())))}`"
        case UrlResource():
            return f"{tool} of {one_line(f'{resource.scheme}://{resource.host}')}"
        case TextResource() | None:
            return tool


def quoted(word: str) -> str:
    """Write a word so that a rule, and a shell, take it literally."""
    return word if _SAFE_WORD.fullmatch(word) else "'" + word.replace("'", "'\"'\"'") + "'"


def _path_rule(tool: str, resource: PathResource) -> str:
    if resource.relative is None:
        path = resource.path if _is_public(resource) else ""
    else:
        path = f"./{resource.relative}" if resource.relative else "."
    if not path or not path.isprintable():
        return ""
    return f"{tool}({_WILD.sub(_escape, path)})"


def _escape(match: re.Match[str]) -> str:
    return "\\" + match[0]


def _is_public(resource: PathResource) -> bool:
    return resource.path.startswith(_PUBLIC_PLACES)


def _command_rule(tool: str, argv: tuple[str, ...]) -> str:
    words = [quoted(word) for word in argv]
    if not all(map(str.isprintable, words)):
        return ""
    habit = HABITS.get(argv[0])
    has_subcommands = habit is not None and habit.first_operand and not habit.runs
    if has_subcommands and len(argv) > 1 and _SUBCOMMAND.fullmatch(argv[1]):
        hazards = find_hazards(argv)
        if not hazards.whole and all(index <= 1 for index in hazards.indices):
            words = [*words[:2], "*"]
    return f"{tool}({' '.join(words)})"


def _url_pattern(url: UrlResource) -> str:
    if url.port == DEFAULT_PORTS.get(url.scheme):
        return f"domain:{url.host}"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"url:{url.scheme}://{host}:{url.port}/**"


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown_rule(text: str) -> str:
    """A rule's text inside a sentence."""
    return escaped(text) if len(text) <= 200 else one_line(text, 200)
