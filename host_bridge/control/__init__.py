"""The control channel between a host application and one bridge session: what they may say, and how it travels.

A connected Unix stream socket, inherited by the session process. The host application (through the provisioner) is the only one
at the other end, so this channel is trusted in who speaks, and still typed and bounded. When it closes, the session ends: that
is how a bridge dies with its host.

opening    what a session is told when it opens: its configuration, the orders for its tape
questions  what a person is asked, and what can be answered
messages   all else that is said, in either direction (`message` is what they share)
wire       how it travels

Both ends import from here: `control.Asked`.
"""

from host_bridge.control.message import ControlMessage
from host_bridge.control.messages import (
    CallSettled,
    CellSettled,
    CellStarted,
    End,
    Ended,
    HostToolCancel,
    HostToolReply,
    HostToolRequest,
    KernelStarting,
    Open,
    ProvideTools,
    Ready,
    Refused,
    SecretReply,
    SecretRequest,
)
from host_bridge.control.opening import SecretUse, SessionConfig, TapeFault, TapeOrders
from host_bridge.control.questions import ANSWERS, Answer, Asked, Pattern, QuestionOver, Sibling
from host_bridge.control.wire import Decoder, Writer, encode, send

__all__ = [
    "ANSWERS",
    "Answer",
    "Asked",
    "CallSettled",
    "CellSettled",
    "CellStarted",
    "ControlMessage",
    "Decoder",
    "End",
    "Ended",
    "HostToolCancel",
    "HostToolReply",
    "HostToolRequest",
    "KernelStarting",
    "Open",
    "Pattern",
    "ProvideTools",
    "QuestionOver",
    "Ready",
    "Refused",
    "SecretReply",
    "SecretRequest",
    "SecretUse",
    "SessionConfig",
    "Sibling",
    "TapeFault",
    "TapeOrders",
    "Writer",
    "encode",
    "send",
]
