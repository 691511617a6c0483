"""From what an audit log kept of a run to the calls it made. Where a log kept too little of a call, no rule is guessed at."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from host_bridge.audit.log import find
from host_bridge.audit.reading import read
from host_bridge.audit.redaction import REPLACEMENT
from host_bridge.declarations.learning import ObservedCall
from host_bridge.errors import AuditError, InvalidCallError
from host_bridge.policy import commands
from host_bridge.policy.model import Access, Resource, TextResource
from host_bridge.policy.origins import parse_url
from host_bridge.policy.patterns import KINDS_BY_TOOL, Kind
from host_bridge.policy.subjects import path_resource

_WRITING = frozenset(("write_file", "patch"))
_MAX_TEXT_CHARACTERS = 4096  # what a log keeps of a text as it is: `host_bridge.audit.redaction`
_KEPT_CHARACTERS = 1024  # of a longer one, before a mark and its digest


class UnreadableCallError(ValueError):
    """A record that doesn't say enough about its call."""


@dataclasses.dataclass(slots=True)
class ObservedRun:
    """What logs tell of one run.

    Attributes:
        notebook: Its path, absolute; empty where none was known.
        notebook_digest: The source that ran; empty where it wasn't known, or where two different ones ran.
        calls: What was allowed.
        denied: How many calls were not.
        unreadable: What was allowed and can't be told exactly, for people.
    """

    session_id: str = ""
    run_id: str = ""
    principal: str = ""
    notebook: str = ""
    notebook_digest: str = ""
    calls: list[ObservedCall] = dataclasses.field(default_factory=list)
    denied: int = 0
    unreadable: list[str] = dataclasses.field(default_factory=list)


def find_logs(named: str, folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Give the logs of a session or run, or the log that a path names; the earliest first.

    Raises:
        AuditError: There is none.
    """
    if "/" in named or Path(named).is_file():
        return (named,)
    found = find(folder, session=named) or find(folder, run=named)
    if not found:
        raise AuditError(
            f"there is no audit log of a session or run {named!r} in {os.fspath(folder)}; "
            "`hermes-runtime audit list` shows what there is"
        )
    return tuple(one.path for one in reversed(found))


def observe(paths: Iterable[str]) -> ObservedRun:
    """Read the logs of one run.

    Raises:
        AuditError: One can't be read, or holds no session.
    """
    run = ObservedRun()
    for path in paths:
        _observe(path, run)
    return run


def _observe(path: str, run: ObservedRun) -> None:
    workspace = ""
    pending: dict[str, ObservedCall] = {}
    for entry in read(path):
        fields = entry.fields
        if entry.type == "session_opened":
            workspace = _text(fields, "workspace")
            _take_session(run, fields)
        elif entry.type == "call_decided" and workspace:
            if fields.get("effect") != "allow":
                run.denied += 1
                continue
            try:
                pending[_text(fields, "call_id")] = _call(fields, workspace)
            except UnreadableCallError as error:
                run.unreadable.append(f"{fields.get('tool')}: {error}")
        elif entry.type == "call_settled":
            call = pending.pop(_text(fields, "call_id"), None)
            if call is not None:
                size = fields.get("result_bytes")
                run.calls.append(dataclasses.replace(call, result_bytes=size if isinstance(size, int) else 0))
    run.calls += pending.values()  # allowed, and cut off by the session's end
    if not workspace:
        raise AuditError(f"{path}: is no audit log of a session")


def _take_session(run: ObservedRun, fields: Mapping[str, Any]) -> None:
    digest = _text(fields, "notebook_digest")
    run.notebook_digest = digest if run.notebook_digest in ("", digest) else ""
    run.session_id, run.run_id = _text(fields, "session_id"), _text(fields, "run_id")
    run.principal, run.notebook = _text(fields, "principal"), _text(fields, "notebook")


def _call(fields: Mapping[str, Any], workspace: str) -> ObservedCall:
    tool = _text(fields, "tool")
    arguments = fields.get("arguments")
    kind = KINDS_BY_TOOL.get(tool)
    if kind is None:
        return ObservedCall(tool)  # a tool of the host application's, whose calls are about nothing but themselves
    if not isinstance(arguments, Mapping):
        raise UnreadableCallError("its arguments were not kept (audit.arguments is 'digest')")
    found = tuple(_resources(tool, kind, arguments, workspace))
    recursive = tool == "search_files" or (tool == "list_files" and arguments.get("recursive") is True)
    return ObservedCall(tool, found, recursive)


def _resources(tool: str, kind: Kind, arguments: Mapping[str, Any], workspace: str) -> Iterator[Resource]:
    match kind:
        case Kind.PATH:
            access = Access.WRITE if tool in _WRITING else Access.READ
            yield from (path_resource(path, access, workspace) for path in _paths(arguments))
        case Kind.COMMAND:
            yield from commands.resources(_kept(arguments.get("command")), _kept(arguments.get("workdir", workspace)))
        case Kind.URL:
            for url in _listed(arguments.get("urls")):
                try:
                    yield parse_url(_kept(url))
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
