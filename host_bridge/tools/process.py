"""Looks after the commands that `terminal` started in the background."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from host_bridge.errors import InvalidCallError
from host_bridge.policy.model import TextResource
from host_bridge.tools.background import BackgroundProcess, BackgroundProcesses
from host_bridge.tools.interface import Call, CallContext, Session, SimpleCall, Tool, ToolOutput

_LOG_REPLY_BYTES = 4 * 2**20  # what one bulk frame holds
_QUICK_LOG_BYTES = 256 * 2**10
_QUICK = frozenset({"list", "poll"})


class Process(Tool):
    """List, watch, feed and end background processes.

    Whoever was allowed to start a process may look after it, so its rules name no process; a pattern is the action.
    """

    name = "process"
    summary = "Look after commands started with terminal(…, background=True)."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a kernel may say."""

        action: Literal["list", "poll", "log", "wait", "kill", "write", "submit", "close"]
        session_id: str | None = None
        data: str | None = None
        timeout: Annotated[float, Meta(ge=0, le=86_400)] | None = None
        offset: int = 0
        limit: Annotated[int, Meta(ge=0)] | None = None

    def quick_prepare(self, arguments: Arguments, session: Session) -> bool:
        """Always: it only looks at the arguments."""
        return True

    def prepare(self, arguments: Arguments, session: Session) -> Call:
        """Check that the action has what it needs."""
        _check(arguments)
        return SimpleCall(
            act=functools.partial(_ACTIONS[arguments.action], arguments),
            resources=(TextResource(arguments.action),),
            about=BackgroundProcesses.of(session).resources_of(arguments.session_id),
            shown=msgspec.to_builtins(msgspec.structs.asdict(arguments)),
            quick=arguments.action in _QUICK
            or (arguments.action == "log" and (arguments.limit or _LOG_REPLY_BYTES) <= _QUICK_LOG_BYTES),
        )


def _check(arguments: Process.Arguments) -> None:
    if arguments.action != "list" and not arguments.session_id:
        raise InvalidCallError(
            f"process({arguments.action!r}) needs session_id, as terminal(…, background=True) gave it"
        )
    if arguments.action in ("write", "submit") and arguments.data is None:
        raise InvalidCallError(f"process({arguments.action!r}) needs data")


def _list(_arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    processes = BackgroundProcesses.of(context.session).all()
    return ToolOutput({"processes": [process.state() for process in processes]})


def _poll(arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    return ToolOutput(_find(arguments, context).state())


def _log(arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    process = _find(arguments, context)
    limit = _LOG_REPLY_BYTES if arguments.limit is None else min(arguments.limit, _LOG_REPLY_BYTES)
    output, start = process.log(arguments.offset, limit)
    value = process.state() | {"offset": start, "next_offset": start + len(output)}
    return ToolOutput(value, {"output": output})


def _wait(arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    process = _find(arguments, context)
    process.wait(_seconds(arguments, context), context.check)
    context.check()
    return ToolOutput(process.state())


def _kill(arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    process = _find(arguments, context)
    process.end()
    process.wait(_seconds(arguments, context), context.check)
    return ToolOutput(process.state())


def _write(arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    process = _find(arguments, context)
    text = (arguments.data or "") + ("\n" if arguments.action == "submit" else "")
    patience = BackgroundProcesses.of(context.session).settings.write_seconds
    seconds = patience if arguments.timeout is None else arguments.timeout
    process.write(text.encode(), min(seconds, context.remaining_seconds()), context.check)
    return ToolOutput(process.state())


def _close(arguments: Process.Arguments, context: CallContext) -> ToolOutput:
    process = _find(arguments, context)
    process.close_input()
    return ToolOutput(process.state())


def _find(arguments: Process.Arguments, context: CallContext) -> BackgroundProcess:
    return BackgroundProcesses.of(context.session).find(arguments.session_id or "")


def _seconds(arguments: Process.Arguments, context: CallContext) -> float:
    left = context.remaining_seconds()
    return left if arguments.timeout is None else min(arguments.timeout, left)


_ACTIONS: dict[str, Callable[[Process.Arguments, CallContext], ToolOutput]] = {
    "list": _list,
    "poll": _poll,
    "log": _log,
    "wait": _wait,
    "kill": _kill,
    "write": _write,
    "submit": _write,
    "close": _close,
}
