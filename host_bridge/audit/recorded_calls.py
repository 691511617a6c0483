"""From what a log kept of a call to what the policy looked at. Where it kept too little, nothing is guessed at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from host_bridge.audit.reading import Entry
from host_bridge.audit.redaction import REPLACEMENT
from host_bridge.errors import InvalidCallError
from host_bridge.policy import commands
from host_bridge.policy.methods import METHOD_TOOLS, request_to
from host_bridge.policy.model import Access, CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.origins import parse_url
from host_bridge.policy.patterns import KINDS_BY_TOOL, Kind
from host_bridge.policy.rehearsal import PastCall
from host_bridge.policy.subjects import path_resource

_WRITING = frozenset(("write_file", "patch"))
_MAX_TEXT_CHARACTERS = 4096  # what a log keeps of a text as it is: `host_bridge.audit.redaction`
_KEPT_CHARACTERS = 1024  # of a longer one, before a mark and its digest


_PROCESS = "process"
_KINDS: dict[str, type[Resource]] = {
    "path": PathResource,
    "command": CommandResource,
    "url": UrlResource,
    "text": TextResource,
}
_KIND_NAMES = {kind: name for name, kind in _KINDS.items()}


class UnreadableCallError(ValueError):
    """A record that doesn't say enough about its call."""


def recorded_resources(tool: str, arguments: Any, workspace: str) -> tuple[Resource, ...]:
    """Give what a recorded call was about.

    Args:
        tool: A built-in tool.
        arguments: As the record has them: canonical, and the very ones that ran.
        workspace: The session's.

    Raises:
        UnreadableCallError: The record doesn't say enough.
    """
    if not isinstance(arguments, Mapping):
        raise UnreadableCallError("its arguments were not kept (audit.arguments is 'digest')")
    if tool == _PROCESS:
        return (TextResource(_kept(arguments.get("action"))),)
    return tuple(_resources(tool, KINDS_BY_TOOL[tool], arguments, workspace))


def past_calls(entries: Iterable[Entry], place: str) -> Iterator[PastCall]:
    """Give the calls a log tells of, for a rehearsal.

    Args:
        entries: The log's records.
        place: Names the log.
    """
    opened: Mapping[str, Any] = {}
    untrusted = ""
    for entry in entries:
        fields = entry.fields
        if entry.type == "session_opened":
            opened, untrusted = fields, ""
        elif entry.type == "session_tainted":
            untrusted = _text(fields, "source") or "an unnamed source"
        elif entry.type == "call_decided":
            tool = _text(fields, "tool")
            try:
                about, problem = _about(tool, fields, _text(opened, "workspace")), ""
            except UnreadableCallError as error:
                about, problem = (), str(error)
            yield PastCall(
                principal=_text(fields, "principal"),
                tool=tool,
                resources=about,
                effect=_text(fields, "effect"),
                rule_id=_text(fields, "rule_id"),
                answer=_text(fields, "answer"),
                untrusted=untrusted,
                problem=problem,
                profile=_text(opened, "profile"),
                workspace=_text(opened, "workspace"),
                place=f"{place}:{entry.line}",
            )


def about(tool: str, resources: Iterable[Resource]) -> tuple[dict[str, Any], ...] | None:
    """Give what a record says of a call's resources: nothing where the arguments say it already."""
    if tool in KINDS_BY_TOOL or tool == _PROCESS:
        return None
    return tuple({"kind": _KIND_NAMES[type(one)], **msgspec.to_builtins(one)} for one in resources) or None


def _about(tool: str, fields: Mapping[str, Any], workspace: str) -> tuple[Resource, ...]:
    arguments = fields.get("arguments")
    if tool in KINDS_BY_TOOL or tool == _PROCESS or not isinstance(arguments, Mapping):
        return recorded_resources(tool, arguments, workspace)
    return tuple(map(_resource, fields.get("about") or ()))


def _resource(fields: Any) -> Resource:
    try:
        said = dict(fields)
        for text in said.values():
            if isinstance(text, str):
                _kept(text)
        return msgspec.convert(said, type=_KINDS[said.pop("kind")])
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, UnreadableCallError):
            raise
        raise UnreadableCallError("its record is too short to tell what it was about") from None


def _resources(tool: str, kind: Kind, arguments: Mapping[str, Any], workspace: str) -> Iterator[Resource]:
    match kind:
        case Kind.PATH:
            access = Access.WRITE if tool in _WRITING else Access.READ
            yield from (path_resource(path, access, workspace) for path in _paths(arguments))
        case Kind.COMMAND:
            yield from commands.resources(_kept(arguments.get("command")), _kept(arguments.get("workdir", workspace)))
        case Kind.URL:
            try:
                if tool in METHOD_TOOLS:
                    yield request_to(_kept(arguments.get("method")), _kept(arguments.get("url")))
                    if "save_to" in arguments:
                        yield path_resource(_kept(arguments["save_to"]), Access.WRITE, workspace)
                else:
                    yield from (parse_url(_kept(url)) for url in _listed(arguments.get("urls")))
            except InvalidCallError as error:
                raise UnreadableCallError(str(error)) from None
        case Kind.TEXT:
            yield TextResource(_kept(arguments.get("query")))


def _paths(arguments: Mapping[str, Any]) -> Iterator[str]:
    if "files" not in arguments:
        yield _kept(arguments.get("path"))
        return
    for step in _listed(arguments["files"]):
        yield from map(_kept, _listed(step.get("paths") if isinstance(step, Mapping) else None))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UnreadableCallError("its record is too short to tell what it was about")
    return value


def _kept(text: Any) -> str:
    """Give a text that the log kept whole."""
    if not isinstance(text, str):
        raise UnreadableCallError("its record is too short to tell what it was about")
    if REPLACEMENT in text:  # not a secret that was given by its name: that stands in the call as it is decided about
        raise UnreadableCallError("what it was about held a secret, which the log doesn't have")
    if len(text) > _MAX_TEXT_CHARACTERS or text[_KEPT_CHARACTERS : _KEPT_CHARACTERS + 2] == "… ":
        raise UnreadableCallError("what it was about is longer than the log keeps")
    return text


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
