"""Things that go wrong with a call, put into a replay where the tape says it went well."""

from __future__ import annotations

from typing import Any

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import Failure
from host_bridge.control import TapeFault
from host_bridge.tape.answers import RecordedError
from host_bridge.tape.matching import Question
from host_bridge.tools.interface import Bytes, Call, CallContext, ToolOutput

KINDS = ("timeout", "denied", "provider", "truncated")
_FAILURES = {
    "timeout": Failure(code=ErrorCode.TIMED_OUT, message="the call did not end in time; give it a larger timeout"),
    "denied": Failure(
        code=ErrorCode.DENIED, message="the call is denied (a fault put in on purpose)", rule_id="faults"
    ),
    "provider": Failure(code=ErrorCode.FAILED, message="the provider answered 429 Too Many Requests; try again later"),
}


class FaultSource:
    """Puts one fault into a replay, at the first call of its site. What is called again then gets the tape's answer."""

    def __init__(self, fault: TapeFault) -> None:
        self._fault = fault
        self._is_left = True

    def take(self, question: Question) -> str:
        """Give the kind of fault that a call has; empty for none."""
        fault = self._fault
        here = (question.cell_index, question.line, question.tool) == (fault.cell_index, fault.line, fault.tool)
        if not here or not self._is_left:
            return ""
        self._is_left = False
        return fault.kind


class FaultyCall(Call):
    """A call that goes wrong.

    Args:
        recorded: What the tape has for it.
        kind: One of `KINDS`.
    """

    def __init__(self, recorded: Call, kind: str) -> None:
        self._recorded = recorded
        self._kind = kind
        self.shown = recorded.shown
        self.quick = recorded.quick

    def run(self, context: CallContext) -> ToolOutput:
        """Fail, or give half of what was given."""
        if self._kind in _FAILURES:
            raise RecordedError(_FAILURES[self._kind])
        half = _HalfContext(context)
        output = self._recorded.run(half)
        half.finish()
        bulk = {name: bytes(content)[: len(content) // 2] for name, content in output.bulk.items()}
        return ToolOutput(_halved(output.value), bulk)


class _HalfContext:
    """Passes on the first half of each stream."""

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._pieces: dict[str, list[bytes]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def emit(self, stream: str, data: Bytes) -> None:
        self._pieces.setdefault(stream, []).append(bytes(data))

    def finish(self) -> None:
        for stream, pieces in self._pieces.items():
            whole = b"".join(pieces)
            if half := whole[: len(whole) // 2]:
                self._context.emit(stream, half)


def _halved(value: Any) -> Any:
    """Cut lists, and long texts, in half."""
    if isinstance(value, str):
        return value[: len(value) // 2] if len(value) > 64 else value
    if isinstance(value, list):
        return [_halved(item) for item in value[: (len(value) + 1) // 2 if len(value) == 1 else len(value) // 2]]
    if isinstance(value, dict):
        return {key: _halved(item) for key, item in value.items()}
    return value
