"""What is asked, and one asking of it.

An *operation* says what to send and what to make of the answer; it knows nothing of sockets, threads or event loops, so the
blocking and the asynchronous face run the same ones. A *call* is one operation on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from hermes_protocol.frames import MAX_BULK_FRAME_BYTES, Frame
from hermes_protocol.messages import (
    CallSite,
    Limits,
    SecretMark,
    StatusReply,
    StatusRequest,
    ToolReply,
    ToolRequest,
    Welcome,
)
from hermes_runtime._errors import HermesError, InvalidToolRequestError, UnknownToolError, suggestion
from hermes_runtime._narrowing import ACTIVE, Levels

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

INLINE_BYTES = 1 * 2**20  # bytes up to this ride in the request; more are uploaded under the bridge's credit


class Waiter(Protocol):
    """How whoever waits for a call is told that there is something for it. Called with the client's lock held."""

    def wake(self) -> None:
        """Have the call stepped again."""


class Operation(Generic[R_co]):
    """One thing to ask of the bridge: a tool's call. Subclasses say what the answer means.

    Attributes:
        tool: The tool's name; empty for what asks about the session itself.
        arguments: Plain data by name.
        contents: Arguments that are bytes, by name.
        timeout_seconds: How long the bridge may take.
        window_bytes: How many bytes of chunks may be on their way.
        secrets: Where in the arguments secrets are meant.
    """

    __slots__ = ("arguments", "contents", "secrets", "timeout_seconds", "tool", "window_bytes")

    def __init__(
        self,
        tool: str,
        arguments: dict[str, Any],
        timeout_seconds: float,
        *,
        contents: Mapping[str, memoryview] | None = None,
        window_bytes: int = 0,
        secrets: tuple[SecretMark, ...] = (),
    ) -> None:
        self.tool = tool
        self.arguments = arguments
        self.contents = contents
        self.timeout_seconds = timeout_seconds
        self.window_bytes = window_bytes
        self.secrets = secrets

    def take(self, stream: str, data: Frame) -> None:
        """Take a chunk. `data` is the operation's own from now on."""
        raise NotImplementedError

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> R_co:
        """Make the value from the reply."""
        raise NotImplementedError

    def fail(self, error: HermesError, welcome: Welcome | None) -> HermesError:
        """Give the error to raise, given the one the reply means."""
        known = [] if welcome is None else [tool.name for tool in welcome.tools]
        if isinstance(error, UnknownToolError) and welcome is not None and self.tool not in known:
            # In our own words: a host names the nearest too, or doesn't, and said twice it reads like two errors.
            hint = suggestion(self.tool, known)
            return type(error)(f"there is no tool {self.tool!r}{hint or '; hermes.tools() lists what there is'}")
        return error

    def request(self, call_id: int, seconds: float, limits: Limits, site: CallSite | None, narrow: Levels) -> Request:
        """Give what to send, of which bytes are sent inline as far as they fit."""
        inline: dict[str, memoryview] = {}
        upload: tuple[str, memoryview] | None = None
        if self.contents:
            inline, upload = self._split(min(INLINE_BYTES, limits.frame_bytes, MAX_BULK_FRAME_BYTES))
        message = ToolRequest(
            id=call_id,
            tool=self.tool,
            arguments=self.arguments,
            timeout_seconds=seconds,
            window_bytes=self.window_bytes,
            bulk=tuple(inline),
            upload=upload[0] if upload else "",
            site=site,
            secrets=self.secrets,
            narrow=narrow,
        )
        return message, tuple(inline.values()), upload[1] if upload else None

    def _split(self, most: int) -> tuple[dict[str, memoryview], tuple[str, memoryview] | None]:
        inline = dict(self.contents or {})
        large = [name for name, content in inline.items() if len(content) > most]
        if len(large) > 1:
            raise InvalidToolRequestError(
                f"only one argument of a call may be larger than {most:,} bytes; these are: {', '.join(large)}"
            )
        return inline, (large[0], inline.pop(large[0])) if large else None


Request = tuple[ToolRequest, tuple[memoryview, ...], memoryview | None]


class StatusOperation(Operation[R]):
    """Asks what this session is and what is left of its budgets.

    Args:
        make: Makes the value of the answers.
        narrow: A narrowing to ask about, instead of the one in force.
    """

    __slots__ = ("_make", "_narrow")

    def __init__(
        self, timeout_seconds: float, make: Callable[[Welcome, StatusReply], R], *, narrow: Levels | None = None
    ) -> None:
        super().__init__("", {}, timeout_seconds)
        self._make = make
        self._narrow = narrow

    def question(self, call_id: int, narrow: Levels) -> StatusRequest:
        """Give what to send."""
        return StatusRequest(id=call_id, narrow=narrow if self._narrow is None else self._narrow)

    def answer(self, welcome: Welcome, reply: StatusReply) -> R:
        """Make the value."""
        return self._make(welcome, reply)


class Call:
    """One operation on its way. Everything but `chunks` and `operation` belongs to the client's lock.

    Attributes:
        waiter: Whom to wake; `waiting` says whether that is wanted.
        blocking: Whether a thread waits in a poll, so that it could lead (see `_client`).
        deadline: When to give up on an answer, by `time.monotonic()`.
        narrow: What the code that makes it is narrowed to.
        link: The connection it is on, None until it is queued on one.
        id: Its id there, 0 until it has been sent.
        arrived: Chunks that came in; `chunks` is what the last step handed out.
        consumed_bytes: What was handed out and not yet given back as credit.
        upload: What is still to be uploaded, None when nothing is.
        reply: What settled it; `error` is why nothing could.
        is_done: Whether it was settled when the last step handed out `chunks`, which then were the last.
    """

    __slots__ = (
        "arrived",
        "blocking",
        "bulk",
        "chunks",
        "consumed_bytes",
        "deadline",
        "error",
        "id",
        "is_done",
        "link",
        "narrow",
        "operation",
        "reply",
        "site",
        "upload",
        "wait_until",
        "waiter",
        "waiting",
    )

    def __init__(
        self, operation: Operation[Any], waiter: Waiter, deadline: float, site: CallSite | None, *, blocking: bool
    ) -> None:
        self.operation = operation
        self.waiter = waiter
        self.waiting = False
        self.blocking = blocking
        self.deadline = deadline
        self.wait_until = deadline
        self.site = site
        self.narrow = ACTIVE.get()
        self.link: Any = None
        self.id = 0
        self.arrived: list[tuple[str, Frame]] = []
        self.chunks: list[tuple[str, Frame]] = []
        self.consumed_bytes = 0
        self.upload: memoryview | None = None
        self.reply: ToolReply | StatusReply | None = None
        self.bulk: tuple[Frame, ...] = ()
        self.error: HermesError | None = None
        self.is_done = False

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will come."""
        return self.reply is not None or self.error is not None

    def wake(self) -> None:
        """Tell whoever waits, once."""
        if self.waiting:
            self.waiting = False
            self.waiter.wake()
