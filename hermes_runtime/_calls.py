"""What is asked, and one asking of it.

An *operation* says what to send and what to make of the answer; it knows nothing of sockets, threads or event loops, so the
blocking and the asynchronous face run the same ones. A *call* is one operation on its way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from hermes_protocol.frames import MAX_BULK_FRAME_BYTES, Frame
from hermes_protocol.messages import MAX_TIMEOUT_SECONDS, CallSite, Limits, StatusReply, ToolReply, ToolRequest, Welcome
from hermes_runtime._errors import HermesError, InvalidToolRequestError, UnknownToolError, suggestion

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

INLINE_BYTES = 1 * 2**20  # bytes up to this ride in the request; more are uploaded under the bridge's credit
MAX_DEPTH = 30  # the wire allows 32, and the arguments' own map counts

_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_SCALARS = frozenset({str, int, bool, type(None)})
_BYTES = (bytes, bytearray, memoryview)


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
    """

    __slots__ = ("arguments", "contents", "timeout_seconds", "tool", "window_bytes")

    def __init__(
        self,
        tool: str,
        arguments: dict[str, Any],
        timeout_seconds: float,
        *,
        contents: Mapping[str, memoryview] | None = None,
        window_bytes: int = 0,
    ) -> None:
        self.tool = tool
        self.arguments = arguments
        self.contents = contents
        self.timeout_seconds = timeout_seconds
        self.window_bytes = window_bytes

    def take(self, stream: str, data: Frame) -> None:
        """Take a chunk. `data` is the operation's own from now on."""
        raise NotImplementedError

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> R_co:
        """Make the value from the reply."""
        raise NotImplementedError

    def fail(self, error: HermesError, welcome: Welcome | None) -> HermesError:
        """Give the error to raise, given the one the reply means."""
        if isinstance(error, UnknownToolError) and welcome is not None:
            hint = suggestion(self.tool, [tool.name for tool in welcome.tools])
            return type(error)(f"{error}{hint or '; hermes.tools() lists what there is'}")
        return error

    def request(self, call_id: int, seconds: float, limits: Limits, site: CallSite | None) -> Request:
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
    """

    __slots__ = ("_make",)

    def __init__(self, timeout_seconds: float, make: Callable[[Welcome, StatusReply], R]) -> None:
        super().__init__("", {}, timeout_seconds)
        self._make = make

    def answer(self, welcome: Welcome, reply: StatusReply) -> R:
        """Make the value."""
        return self._make(welcome, reply)


class Call:
    """One operation on its way. Everything but `chunks` and `operation` belongs to the client's lock.

    Attributes:
        waiter: Whom to wake; `waiting` says whether that is wanted.
        blocking: Whether a thread waits in a poll, so that it could lead (see `_client`).
        deadline: When to give up on an answer, by `time.monotonic()`.
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


def check_seconds(value: Any, name: str = "timeout") -> float:
    """Refuse a time that would be no limit.

    Raises:
        InvalidToolRequestError: It isn't a positive number of at most a day.
    """
    if type(value) is not float and type(value) is not int:
        try:
            number = math.nan if value is None or isinstance(value, bool | str) else float(value)
        except (TypeError, ValueError):
            number = math.nan
    else:
        number = value
    if 0 < number <= MAX_TIMEOUT_SECONDS:
        return float(number)
    raise InvalidToolRequestError(
        f"{name}={value!r}: give a positive number of seconds, at most {MAX_TIMEOUT_SECONDS:,.0f}; "
        "every call needs a limit, and longer work belongs in terminal(…, background=True)"
    )


def check_tool_name(name: Any) -> str:
    """Refuse what can't be a tool's name; on the wire it would end the connection.

    Raises:
        UnknownToolError: No tool can be called that.
    """
    if isinstance(name, str) and _TOOL_NAME.fullmatch(name):
        return name
    raise UnknownToolError(f"{name!r:.100} can't be a tool's name: those are lower case, like read_file")


def split_arguments(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """Separate plain values from bytes, which travel beside the request.

    Raises:
        InvalidToolRequestError: A value that can't be sent; the text says which and what can.
    """
    plain: dict[str, Any] = {}
    contents: dict[str, memoryview] = {}
    for name, value in arguments.items():
        if type(value) in _SCALARS:
            plain[name] = value
        elif isinstance(value, _BYTES):
            if not _TOOL_NAME.fullmatch(name):
                raise InvalidToolRequestError(f"{name!r:.100} can't name bytes: such arguments are lower case")
            contents[name] = view_bytes(value)
        else:
            plain[name] = to_plain(value, name)
    return plain, contents


def view_bytes(content: bytes | bytearray | memoryview) -> memoryview:
    """Give any bytes as a flat view without copying.

    Raises:
        InvalidToolRequestError: A view of scattered memory.
    """
    view = memoryview(content)
    if not view.c_contiguous:
        raise InvalidToolRequestError("the bytes must be contiguous: pass bytes(…) of them")
    return view.cast("B") if view.nbytes else memoryview(b"")


def to_plain(value: Any, name: str, depth: int = 0) -> Any:
    """Give a value as JSON could say it: tuples as lists, paths and text subclasses as text, numpy's numbers as Python's.

    Raises:
        InvalidToolRequestError: There is no such form.
    """
    if depth > MAX_DEPTH:
        raise InvalidToolRequestError(f"{name} is nested more than {MAX_DEPTH} deep")
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidToolRequestError(f"{name} holds {value}, which can't be sent: pass None or text instead")
        return float(value)
    if isinstance(value, Mapping):
        return {_plain_key(key, name): to_plain(item, f"{name}[{key!r:.50}]", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _plain_items(value, name, depth)
    if isinstance(value, str | int):
        return str.__str__(value) if isinstance(value, str) else int.__int__(value)
    if hasattr(value, "__fspath__"):
        return to_plain(value.__fspath__(), name, depth + 1)
    if not isinstance(value, _BYTES) and hasattr(value, "tolist"):  # numpy's scalars and arrays
        return to_plain(value.tolist(), name, depth + 1)
    raise InvalidToolRequestError(
        f"{name} is a {kind.__module__}.{kind.__qualname__}, which can't be sent: pass text, numbers, lists or dicts "
        "(bytes only as an argument of their own)"
    )


def _plain_items(values: Iterable[Any], name: str, depth: int) -> list[Any]:
    return [to_plain(item, f"{name}[{index}]", depth + 1) for index, item in enumerate(values)]


def _plain_key(key: Any, name: str) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise InvalidToolRequestError(f"{name} has the key {key!r:.50}, and only text can be one")
