"""Tools that the host application itself provides: decided and recorded here like any other, run over there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from host_bridge.control import ControlMessage, HostToolCancel, HostToolReply, HostToolRequest
from host_bridge.errors import CallError
from host_bridge.tools.interface import Call, CallContext, Session, SimpleCall, Tool, ToolOutput


class HostCalls:
    """The calls that wait for the host application.

    Args:
        send: Puts a message on the control channel; thread-safe.
    """

    def __init__(self, send: Callable[[ControlMessage], None]) -> None:
        self._send = send
        self._waiting: dict[str, tuple[threading.Event, list[HostToolReply]]] = {}

    def call(self, tool: str, arguments: dict[str, Any], context: CallContext) -> ToolOutput:
        """Have the host application run a tool, and wait for its answer or the call's end."""
        answered, replies = self._waiting[context.call_id] = threading.Event(), []
        context.on_end(answered.set)
        try:
            self._send(
                HostToolRequest(
                    call_id=context.call_id, tool=tool, arguments=arguments, timeout_seconds=context.remaining_seconds()
                )
            )
            answered.wait(context.remaining_seconds())
        finally:
            del self._waiting[context.call_id]
        if not replies:
            self._send(HostToolCancel(call_id=context.call_id))
            context.check()
            raise CallError(f"the host application gave no answer for {tool}; see its log")
        if replies[0].failure:
            raise CallError(replies[0].failure)
        return ToolOutput(replies[0].value)

    def answer(self, reply: HostToolReply) -> None:
        """Take an answer; one that comes too late is nobody's any more."""
        waiting = self._waiting.get(reply.call_id)
        if waiting is not None:
            waiting[1].append(reply)
            waiting[0].set()


class HostTool(Tool):
    """One tool of the host application. Its arguments are whatever it takes: the application checks them."""

    class Arguments(msgspec.Struct):
        """Nothing is declared here; see `takes_anything`."""

    takes_anything = True
    secret_arguments = None  # the application is trusted with what its user names for it

    def __init__(self, name: str, summary: str, calls: HostCalls, *, gives_untrusted: bool = False) -> None:
        self.name = name  # type: ignore[misc]
        self.summary = summary  # type: ignore[misc]
        self.gives_untrusted = gives_untrusted  # type: ignore[misc]
        self._calls = calls

    def prepare(self, arguments: dict[str, Any], session: Session) -> Call:
        """Give a call that the host application runs."""
        return SimpleCall(
            shown=arguments,
            act=lambda context: self._calls.call(self.name, context.reveal(arguments), context),
            quick=False,
        )
