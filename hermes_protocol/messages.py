"""The messages, one frozen struct each. Everything that may travel is declared here and nothing else is accepted.

`kernel` and `bridge` below name the two sides. A call is one `ToolRequest` and the one `ToolReply` that settles it; between
the two, `Chunk` and `Credit` travel both ways and `Cancel` from the kernel. Calls are independent of each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .errors import ErrorCode

PROTOCOL_VERSIONS = (1, 2)
"""What both sides here can speak. The bridge chooses the highest that the kernel offers too."""
PROTOCOL_VERSION = PROTOCOL_VERSIONS[-1]
NARROWING_SINCE = 2
"""The version that brought `narrow`, and what a `StatusReply` says of it and of untrusted content. An older bridge can't keep
to a narrowing, so it is never sent one."""
SECRETS_SINCE = 2
"""The version that brought `secrets`, in a request and in the `Welcome`."""

MAX_CALL_ID = 2**53 - 1  # what every language's numbers can hold exactly (JavaScript's is the smallest)
MAX_TIMEOUT_SECONDS = 86_400.0  # a day; longer work belongs in a background process
MAX_WINDOW_BYTES = 64 * 2**20
MAX_NARROWING_LEVELS = 16  # blocks inside blocks; Python itself allows 20
MAX_NARROWING_RULES = 32  # somebody writes them into a cell
MAX_RULE_CHARACTERS = 1024

CallId = Annotated[int, Meta(ge=1, le=MAX_CALL_ID)]
ToolName = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,63}\Z")]
ByteCount = Annotated[int, Meta(ge=0, le=MAX_CALL_ID)]
ShortText = Annotated[str, Meta(max_length=256)]
LongText = Annotated[str, Meta(max_length=16_384)]
SecretName = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,63}\Z")]
FieldNames = Annotated[tuple[ToolName, ...], Meta(max_length=60)]
RuleText = Annotated[str, Meta(min_length=1, max_length=MAX_RULE_CHARACTERS)]
RuleTexts = Annotated[tuple[RuleText, ...], Meta(max_length=MAX_NARROWING_RULES)]
Narrowing = Annotated[tuple[RuleTexts, ...], Meta(max_length=MAX_NARROWING_LEVELS)]
"""Levels, outermost first. Each is a list of rules and denies what none of them allows; a call must pass all of them, so a
further level only takes away. A level without rules allows nothing."""


class Message(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """What all messages share: immutable, tagged by `type`, and strict about what they don't know."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A shape that only travels inside a message."""


class CallSite(Part, frozen=True):
    """Where in the notebook a call was made, as the kernel says it: a hint for people, never a ground for a decision.

    Attributes:
        cell: The Jupyter message id of the execution request, empty outside a cell.
        line: The line within the cell's source, counted from 1; 0 when unknown.
    """

    cell: ShortText = ""
    line: Annotated[int, Meta(ge=0, le=10_000_000)] = 0


class SecretMark(Part, frozen=True):
    """Says of one place in a request's arguments that what stands there is a secret's handle and not text.

    The text there is `secret_text(name)`, which is also what is shown, hashed and recorded. Text that merely looks like it
    stays text: what is marked travels beside the arguments, so nothing that a notebook has read can become a handle.

    Attributes:
        argument: The way to the text: an argument's name, then keys and indices.
        offset: Where in the text the handle begins, in characters.
    """

    name: SecretName
    argument: Annotated[tuple[str | int, ...], Meta(min_length=1, max_length=32)]
    offset: ByteCount = 0


def secret_text(name: str) -> str:
    """Give what stands in a text where a secret is meant."""
    return f"[secret {name}]"


class Parameter(Part, frozen=True):
    """One argument of a tool, as shown in `help()` and completion.

    Attributes:
        type: The annotation in Python's spelling, such as `"str | None"`.
        default: The default in Python's spelling; empty when `required`.
    """

    name: ToolName
    type: ShortText = "Any"
    required: bool = False
    default: ShortText = ""


class ToolDescription(Part, frozen=True):
    """A tool this session may know of. Being listed doesn't mean being allowed."""

    name: ToolName
    summary: LongText = ""
    parameters: Annotated[tuple[Parameter, ...], Meta(max_length=64)] = ()


class Limits(Part, frozen=True):
    """What the bridge accepts from this kernel. A well-behaved client keeps to them and so never meets a refusal."""

    open_calls: Annotated[int, Meta(ge=1, le=100_000)]
    frame_bytes: ByteCount
    upload_window_bytes: ByteCount
    """How many bytes of `Chunk` may be on their way to the bridge for one call before it grants `Credit`."""
    heartbeat_seconds: Annotated[float, Meta(gt=0, le=3600)]
    """A side that waits for an answer sends a `Heartbeat` after this much silence."""


class Failure(Part, frozen=True):
    """Why a call did not give a result.

    Attributes:
        message: For people: what happened and what to do. Contains no host path outside the workspace.
        rule_id: The policy rule that decided, empty where none did.
        remedy: A command or setting a person may use to change the answer, empty where there is none.
    """

    code: ErrorCode
    message: LongText
    rule_id: ShortText = ""
    remedy: LongText = ""


# kernel -> bridge ------------------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """The first message. Offers the versions the kernel side can speak."""

    versions: Annotated[tuple[Annotated[int, Meta(ge=1, le=65_535)], ...], Meta(min_length=1, max_length=16)]
    client: ShortText = ""


class ToolRequest(Message, frozen=True, tag="tool_request"):
    """Asks for one call.

    Attributes:
        id: Chosen by the kernel; larger than every id before it on this connection.
        arguments: Plain data by argument name. Bytes are not allowed in it: see `bulk` and `upload`.
        bulk: Names of arguments whose values are the message's bulk frames, in their order.
        upload: Name of the argument whose value follows as `Chunk`s of the stream `"body"`, empty for none.
        timeout_seconds: How long the kernel will wait; the bridge ends the call then and says so.
        window_bytes: How many bytes of `Chunk` the kernel can hold for this call; `Credit` adds to it.
        secrets: Where in `arguments` secrets are meant; the bridge puts them in, if they may go there. Since version 2.
        narrow: What the caller still wants to be allowed, on top of what it is allowed anyway. Since version 2.
    """

    id: CallId
    tool: ToolName
    arguments: dict[str, Any]
    timeout_seconds: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_SECONDS)]
    window_bytes: Annotated[int, Meta(ge=0, le=MAX_WINDOW_BYTES)] = 0
    bulk: FieldNames = ()
    upload: Annotated[str, Meta(max_length=64)] = ""
    site: CallSite | None = None
    secrets: Annotated[tuple[SecretMark, ...], Meta(max_length=64)] = ()
    narrow: Narrowing = ()


class Cancel(Message, frozen=True, tag="cancel"):
    """Asks the bridge to stop a call. The call is still settled by its `ToolReply`."""

    id: CallId


class StatusRequest(Message, frozen=True, tag="status_request"):
    """Asks what is left of the session's budget. `id` comes from the same sequence as calls.

    Attributes:
        narrow: A narrowing to look at: the reply says whether it can be meant. Since version 2.
    """

    id: CallId
    narrow: Narrowing = ()


# bridge -> kernel ------------------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """Answers `Hello`: the version chosen, and what this session is."""

    version: Annotated[int, Meta(ge=1, le=65_535)]
    session_id: ShortText
    principal: ShortText
    profile: ShortText
    workspace: LongText
    """The folder relative paths start from, as the kernel would spell it."""
    confinement: ShortText
    limits: Limits
    kernel_limits: ShortText = ""
    """What of the machine the kernel may use, for people; `limits` are those of messages."""
    tools: Annotated[tuple[ToolDescription, ...], Meta(max_length=1000)] = ()
    secrets: Annotated[tuple[SecretName, ...], Meta(max_length=1000)] = ()
    """The names of the secrets this session may use, somewhere. Since version 2."""


class ToolReply(Message, frozen=True, tag="tool_reply"):
    """Settles a call: exactly one for each `ToolRequest`.

    Attributes:
        result: Plain data, present when `failure` is not.
        bulk: Names of fields of the result whose values are the message's bulk frames, in their order.
    """

    id: CallId
    result: Any = None
    failure: Failure | None = None
    bulk: FieldNames = ()


class Pending(Message, frozen=True, tag="pending"):
    """The call waits for what isn't its own work, such as a person's answer. Meanwhile its clock stands still.

    Attributes:
        seconds: How much later than its `timeout_seconds` said the call may be settled.
        reason: For people.
    """

    id: CallId
    seconds: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_SECONDS)]
    reason: LongText = ""


class Budget(Part, frozen=True):
    """One thing that is counted. `limit` is None where nothing is set."""

    name: ShortText
    used: float
    limit: float | None = None


class StatusReply(Message, frozen=True, tag="status_reply"):
    """Answers `StatusRequest`.

    Attributes:
        failure: Why the request's `narrow` can't be used, None when it can. Since version 2, as all that follows.
        narrow: What a call with that narrowing would have to pass: what the running cell's tags say comes first.
        untrusted: Where the session's first untrusted content came from, empty while it has received none.
        untrusted_count: How many calls have given such content.
    """

    id: CallId
    budgets: Annotated[tuple[Budget, ...], Meta(max_length=1000)] = ()
    open_calls: ByteCount = 0
    failure: Failure | None = None
    narrow: Annotated[tuple[RuleTexts, ...], Meta(max_length=MAX_NARROWING_LEVELS + 1)] = ()
    untrusted: ShortText = ""
    untrusted_count: ByteCount = 0


# both ways -------------------------------------------------------------------------------------------------------------


class Chunk(Message, frozen=True, tag="chunk"):
    """A piece of a call's stream; its bytes are the message's one bulk frame.

    `stdout` and `stderr` travel to the kernel, `body` both ways (a file read, or an upload). Never sent beyond the credit.
    """

    id: CallId
    stream: Literal["stdout", "stderr", "body"]
    end: bool = False
    """The last of its stream. An upload must end with one; its frame may be empty."""


class Credit(Message, frozen=True, tag="credit"):
    """The sender can hold this many more bytes of `Chunk` for a call."""

    id: CallId
    bytes: Annotated[int, Meta(ge=1, le=MAX_WINDOW_BYTES)]


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """Asks whether the other side is alive (`reply` false), or says so (`reply` true)."""

    reply: bool = False


class Goodbye(Message, frozen=True, tag="goodbye"):
    """The sender closes the connection. Open calls are cancelled; `code` is None for an orderly end."""

    code: ErrorCode | None = None
    message: LongText = ""


AnyMessage = (
    Hello
    | Welcome
    | ToolRequest
    | ToolReply
    | Pending
    | Chunk
    | Credit
    | Cancel
    | StatusRequest
    | StatusReply
    | Heartbeat
    | Goodbye
)

MESSAGE_TYPES: dict[str, type[AnyMessage]] = {kind.__struct_config__.tag: kind for kind in AnyMessage.__args__}
"""Each message's struct by its tag."""
