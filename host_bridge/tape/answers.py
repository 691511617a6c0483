"""A recorded call as a call that can be run: it streams what was streamed and ends as it ended."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import Failure
from host_bridge.errors import CallError, TapeError
from host_bridge.tape.reader import Recorded, TapeReader
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput

FOREIGN = "a tape of elsewhere"
MAX_SOURCE_CHARACTERS = 1000  # it is shown to people
QUICK_BYTES = 65_536  # more than this in a value is decoded on a worker


class RecordedError(CallError):
    """The failure of a recorded call, or why there is no answer from the tape."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, rule_id=failure.rule_id, remedy=failure.remedy)
        self.code = failure.code


class RecordedTool(Tool):
    """Stands for the tool of a recorded call; the tool itself need not be there."""

    Arguments = msgspec.Struct
    takes_anything = True

    def __init__(self, name: str, recorded: Call) -> None:
        self.name = name  # type: ignore[misc] # each instance has its own
        self.gives_untrusted = bool(recorded.untrusted)  # type: ignore[misc]

    def prepare(self, arguments: Any, session: Session) -> Call:
        """A recorded call is prepared already."""
        raise NotImplementedError


class RecordedCall(Call):
    """A call whose outcome is on a tape.

    Args:
        tape: Where its content is.
        recorded: The call; it has an outcome.
        has_upload: Whether the kernel sends bytes for it, which have to be those that were sent.
        is_foreign: Whether anybody may have written the tape, whatever it says of where its content is from.
    """

    def __init__(self, tape: TapeReader, recorded: Recorded, *, has_upload: bool, is_foreign: bool = False) -> None:
        assert recorded.outcome is not None
        self._tape = tape
        self._recorded = recorded
        self._outcome = recorded.outcome
        self._has_upload = has_upload
        self.shown = _decoded(recorded.row.canonical)
        self.acts = recorded.row.acts
        self.untrusted = recorded.row.untrusted[:MAX_SOURCE_CHARACTERS] or (FOREIGN if is_foreign else "")
        # What streams has to wait for the kernel's credit, and what is large for the disk.
        self.quick = not has_upload and tape.content_bytes(recorded) < QUICK_BYTES

    def run(self, context: CallContext) -> ToolOutput:
        """Give what was given then."""
        if self._has_upload:
            self._compare_upload(context)
        bulk = {}
        try:
            for piece in self._tape.pieces(self._recorded.row.seq):
                if piece.kind == "bulk":
                    bulk[piece.name] = piece.data
                elif piece.data:
                    context.emit(piece.name, piece.data)
            if self._outcome.outcome == "ok":
                return ToolOutput(self._tape.value(self._recorded), bulk)
            failure = msgspec.json.decode(self._outcome.failure, type=Failure)
        except (TapeError, msgspec.MsgspecError) as error:
            raise CallError(f"{self._recorded.row.tool}: {error}") from None
        raise RecordedError(failure)

    def _compare_upload(self, context: CallContext) -> None:
        digest = hashlib.sha256(usedforsecurity=False)
        for piece in context.body():
            digest.update(piece)
        expected = self._outcome.upload_digest
        if expected and digest.hexdigest() != expected:
            row = self._recorded.row
            raise CallError(
                f"the replay differs from the tape: cell {row.cell_index}, line {row.line}: {row.tool} was given other bytes: "
                f"expected sha256 {expected[:12]}…, got {digest.hexdigest()[:12]}…"
            )


class Refusal(Call):
    """A call that can't be answered."""

    quick = True

    def __init__(self, message: str, shown: dict[str, Any], *, remedy: str = "") -> None:
        self._failure = Failure(code=ErrorCode.FAILED, message=message[:16_000], remedy=remedy)
        self.shown = shown

    def run(self, context: CallContext) -> ToolOutput:
        """Say why."""
        raise RecordedError(self._failure)


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}
