"""What a call is about, from text alone: for a policy's own tests, where there is no workspace to look into.

Texts become resources as in a real call as far as that needs no look at anything: command lines by the same grammar, URLs by
the same reader, paths from a workspace in which nothing is a link.
"""

from __future__ import annotations

import posixpath

from host_bridge.policy import commands
from host_bridge.policy.methods import METHOD_TOOLS, parse_request
from host_bridge.policy.model import Access, PathResource, Resource, TextResource
from host_bridge.policy.origins import parse_url
from host_bridge.policy.patterns import KINDS_BY_TOOL, Kind

WORKSPACE = "/workspace"
"""A name for it where there is none."""

_WRITING_TOOLS = frozenset(("write_file", "patch"))


def resources_of(tool: str, subject: str | None, workspace: str = WORKSPACE) -> tuple[Resource, ...]:
    """Give what a call of a tool would be about.

    Args:
        tool: The tool's name.
        subject: A command line, a path, a URL (of a tool with methods, after one) or a text, whichever the tool takes; None
            for a call about nothing.
        workspace: Where relative paths start and commands run.

    Raises:
        InvalidCallError: A URL that the real call would refuse to read.
    """
    if subject is None:
        return ()
    match KINDS_BY_TOOL.get(tool) or _looks_like(subject):
        case Kind.COMMAND:
            return commands.resources(subject, workspace)
        case Kind.PATH:
            return (path_resource(subject, Access.WRITE if tool in _WRITING_TOOLS else Access.READ, workspace),)
        case Kind.URL:
            return (parse_request(subject) if tool in METHOD_TOOLS else parse_url(subject),)
        case _:
            return (TextResource(subject),)


def path_resource(path: str, access: Access, workspace: str = WORKSPACE) -> PathResource:
    """Give the file of that name where nothing is a link."""
    absolute = posixpath.normpath(posixpath.join(workspace, path))
    absolute = "/" + absolute.lstrip("/")  # two slashes in front would stay two
    if absolute == workspace:
        return PathResource(absolute, "", access)
    below = f"{workspace.rstrip('/')}/"
    return PathResource(absolute, absolute.removeprefix(below) if absolute.startswith(below) else None, access)


def _looks_like(subject: str) -> Kind:
    """What a tool of somebody's own is about, by how its subject begins: as its rules say it."""
    if subject.startswith(("http://", "https://")):
        return Kind.URL
    return Kind.PATH if subject.startswith(("./", "/")) else Kind.TEXT
