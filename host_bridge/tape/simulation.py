"""What a call would give back if it had been done and all went well."""

from __future__ import annotations

from typing import Any

import msgspec

from host_bridge.tape.answers import Refusal
from host_bridge.tools.interface import Call, CallContext, SimpleCall, ToolOutput


def simulated_result(tool: str, canonical: str) -> Call:
    """Give a call that does nothing, and says what the real one would have said.

    Args:
        tool: Its name.
        canonical: Its canonical arguments, as JSON.
    """
    shown = msgspec.json.decode(canonical)
    shown = shown if isinstance(shown, dict) else {}
    value = _value(tool, shown)
    if value is None:
        message = f"{tool} was skipped, and what it would have given back can't be made up: catch this, or make the call again"
        return Refusal(message, shown, remedy="--on-unknown redo")

    def act(context: CallContext) -> ToolOutput:
        return ToolOutput(value, {"stdout_tail": b"", "stderr_tail": b""} if tool == "terminal" else {})

    return SimpleCall(act=act, shown=shown, quick=True)


def _value(tool: str, shown: dict[str, Any]) -> dict[str, Any] | None:
    if tool == "write_file":
        content = shown.get("content")
        size = content.get("size_bytes", 0) if isinstance(content, dict) else 0
        return {"bytes_written": size, "created": False}
    if tool == "terminal" and not shown.get("background"):
        nothing = {f"{stream}_{what}": 0 for stream in ("stdout", "stderr") for what in ("bytes", "omitted")}
        return {"exit_code": 0, "duration_seconds": 0.0, **nothing}
    return None
