"""All that a host application and one bridge session may say to each other, but for questions and answers."""

from __future__ import annotations

from typing import Any

from host_bridge.control.message import ControlMessage
from host_bridge.control.opening import SessionConfig
from host_bridge.control.questions import Answer, Asked, QuestionOver

# host application -> session


class Open(ControlMessage, frozen=True, tag="open"):
    """The first message."""

    config: SessionConfig


class KernelStarting(ControlMessage, frozen=True, tag="kernel_starting"):
    """A kernel process is about to start with this CURVE public key (Z85). Earlier keys are worth nothing from now on, and
    calls made under them are cancelled."""

    public_key: str


class CellStarted(ControlMessage, frozen=True, tag="cell_started"):
    """A cell is about to be executed. Sent before its execution request, so it is read before any of its calls.

    `narrow` are rules: the cell's calls are allowed nothing else. Empty leaves them what they have.
    """

    index: int
    cell_id: str = ""
    narrow: tuple[str, ...] = ()
    source_digest: str = ""


class CellSettled(ControlMessage, frozen=True, tag="cell_settled"):
    """The cell is done. With `cancel`, calls it left open are cancelled (a timed-out or interrupted cell)."""

    index: int
    cancel: bool = False


class HostToolReply(ControlMessage, frozen=True, tag="host_tool_reply"):
    """The result of a tool the host application provides, or why there is none."""

    call_id: str
    value: Any = None
    failure: str = ""


class SecretReply(ControlMessage, frozen=True, tag="secret_reply"):
    """A secret's value, or why there is none."""

    name: str
    value: str = ""
    failure: str = ""

    def __repr__(self) -> str:
        return f"SecretReply(name={self.name!r}, failure={self.failure!r})"  # a repr ends up in logs


class ProvideTools(ControlMessage, frozen=True, tag="provide_tools"):
    """The host application offers tools of its own: `(name, summary)` by the wire's description of a tool."""

    tools: tuple[dict[str, Any], ...] = ()


class End(ControlMessage, frozen=True, tag="end"):
    """Finish: cancel what runs, write the last record, remove the endpoint, say `Ended`, exit."""


# session -> host application


class Ready(ControlMessage, frozen=True, tag="ready"):
    """The endpoint is bound, or dialled. `endpoint` has the real port where `*` was asked for."""

    endpoint: str


class Refused(ControlMessage, frozen=True, tag="refused"):
    """The session can't start: a policy that doesn't load, an audit file that can't be written. The process exits.

    `error` names a class of `host_bridge.errors`.
    """

    error: str
    message: str
    path: str = ""
    key: str = ""


class CallSettled(ControlMessage, frozen=True, tag="call_settled"):
    """A call is over. `outcome` is `"ok"` or the wire's error code."""

    call_id: str
    tool: str
    outcome: str
    cell_index: int | None = None
    duration_seconds: float = 0.0
    rule_id: str = ""


class HostToolRequest(ControlMessage, frozen=True, tag="host_tool_request"):
    """Run a tool that the host application provides. It has been decided and recorded."""

    call_id: str
    tool: str
    arguments: dict[str, Any]
    timeout_seconds: float


class HostToolCancel(ControlMessage, frozen=True, tag="host_tool_cancel"):
    """The call is over for the kernel; stop working on it."""

    call_id: str


class SecretRequest(ControlMessage, frozen=True, tag="secret_request"):
    """Read a secret from its source: a call that may have it has been decided and recorded."""

    name: str


class Ended(ControlMessage, frozen=True, tag="ended"):
    """The session's last words: why it ended (empty when asked to), its totals, and what came of its tapes.

    Attributes:
        tape_root: The finished tape's root hash; empty where none was recorded, or its end couldn't be.
        divergences: What a replay found to be otherwise than on the tape.
    """

    reason: str = ""
    calls: int = 0
    denied: int = 0
    tape_root: str = ""
    divergences: tuple[str, ...] = ()


ToSession = (
    Open | KernelStarting | CellStarted | CellSettled | Answer | HostToolReply | SecretReply | ProvideTools | End
)
ToHost = Ready | Refused | Asked | QuestionOver | CallSettled | HostToolRequest | HostToolCancel | SecretRequest | Ended
