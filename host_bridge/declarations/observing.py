"""From what an audit log kept of a run to the calls it made. Where too little of a call was kept, no rule is guessed at."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from host_bridge.audit.log import find
from host_bridge.audit.reading import read
from host_bridge.audit.recorded_calls import UnreadableCallError, recorded_resources
from host_bridge.declarations.learning import ObservedCall
from host_bridge.errors import AuditError
from host_bridge.policy.patterns import KINDS_BY_TOOL


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
                call = observed_call(_text(fields, "tool"), fields.get("arguments"), workspace)
                pending[_text(fields, "call_id")] = call
            except UnreadableCallError as error:
                run.unreadable.append(f"{fields.get('tool')}: {error}")
        elif entry.type == "call_settled" and (settled := pending.pop(_text(fields, "call_id"), None)) is not None:
            size = fields.get("result_bytes")
            run.calls.append(dataclasses.replace(settled, result_bytes=size if isinstance(size, int) else 0))
    run.calls += pending.values()  # allowed, and cut off by the session's end
    if not workspace:
        raise AuditError(f"{path}: is no audit log of a session")


def _take_session(run: ObservedRun, fields: Mapping[str, Any]) -> None:
    digest = _text(fields, "notebook_digest")
    run.notebook_digest = digest if run.notebook_digest in ("", digest) else ""
    run.session_id, run.run_id = _text(fields, "session_id"), _text(fields, "run_id")
    run.principal, run.notebook = _text(fields, "principal"), _text(fields, "notebook")


def observed_call(tool: str, arguments: Any, workspace: str) -> ObservedCall:
    """Give a call as the policy saw it, from its normalised arguments.

    Args:
        tool: Its name.
        arguments: As they were kept: plain data of any shape.
        workspace: Where relative paths start.

    Raises:
        UnreadableCallError: Too little was kept.
    """
    if tool not in KINDS_BY_TOOL:
        return ObservedCall(tool)  # a tool of the host application's, whose calls are about nothing but themselves
    found = recorded_resources(tool, arguments, workspace)
    recursive = tool == "search_files" or (
        tool == "list_files" and isinstance(arguments, Mapping) and arguments.get("recursive") is True
    )
    return ObservedCall(tool, found, recursive)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
