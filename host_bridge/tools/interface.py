"""What to implement to add a tool.

A tool turns arguments into a prepared `Call`; the dispatcher decides about it, records it, and only then runs it:

    arguments (dict from the kernel)
      -> Tool.Arguments        a msgspec struct; unknown or ill-typed fields never reach the tool
      -> Tool.prepare()        -> Call: its canonical resources, what is shown and hashed, and how to run it
      -> policy, audit
      -> Call.run(context)     -> ToolOutput, or a CallError
      -> Call.close()          always, whatever happened

A distribution adds a tool by an entry point in the group `hermes_runtime.tools` that names its `Tool` subclass.

Example:
    >>> class Shout(Tool):
    ...     name = "shout"
    ...     summary = "Give text in capitals."
    ...     class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    ...         text: str
    ...     def prepare(self, arguments, session):
    ...         return SimpleCall(shown={"text": arguments.text}, act=lambda context: ToolOutput(arguments.text.upper()))
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from host_bridge.policy.model import Resource, UrlResource

Bytes = bytes | bytearray | memoryview


@dataclasses.dataclass(frozen=True, slots=True)
class ToolOutput:
    """A call's result: plain data (what JSON can say), and bulk bytes by field name, each at most 4 MiB.

    Larger bytes go through `CallContext.emit` while the call runs.
    """

    value: Any = None
    bulk: Mapping[str, Bytes] = dataclasses.field(default_factory=dict)


class Session(Protocol):
    """What a tool may know of the session it works for."""

    @property
    def workspace(self) -> str:
        """The folder relative paths start from: absolute and canonical."""

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The host's `[tools.<name>]` tables, by name. Read yours with `settings.get(name, {})`."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables a command started for this session gets; holds no secret of the host."""

    @property
    def resources(self) -> dict[str, Any]:
        """Things a tool keeps for the whole session, by a key of its own (the table of background processes).

        A value with a `close()` method is closed when the session ends.
        """


class CallContext(Protocol):
    """What a running call has at hand. Its methods may be called from the thread that runs the call only."""

    @property
    def session(self) -> Session:
        """The session the call belongs to."""

    @property
    def call_id(self) -> str:
        """Names the call in the audit log."""

    def remaining_seconds(self) -> float:
        """Until the deadline; never below 0."""

    def check(self) -> None:
        """Raise `CallCancelledError` or `CallTimeoutError` if the call is over. Call it in every long loop."""

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, from another thread and at most once, when the call is cancelled or its time is up.

        It is called at once if that has happened already. It must be quick and must not raise: killing a process group is
        what it is for.
        """

    def emit(self, stream: str, data: Bytes) -> None:
        """Send bytes to the kernel on `"stdout"`, `"stderr"` or `"body"`, waiting until it can hold them.

        Raises:
            CallCancelledError, CallTimeoutError: The call ended while waiting.
        """

    def body(self) -> Iterator[bytes]:
        """The uploaded argument, piece by piece; ends after the last piece.

        Raises:
            CallCancelledError, CallTimeoutError: The call ended before the upload did.
        """

    def reveal(self, value: Any, url: UrlResource | None = None) -> Any:
        """Give arguments with the values of the secrets they name, for the one place where these are needed.

        Args:
            value: The call's arguments or a part of them: text, or lists and dicts of it.
            url: Where the value will be sent, if it is: each hop has to be told.

        Raises:
            DeniedError: A secret may not be sent there.
            NotConfiguredError: A secret can't be read where it is kept.
        """

    @property
    def keep_image(self) -> Callable[[str, int, str], Callable[[], None]] | None:
        """What a tool that changes files has to call before (`tools.atomic.KeepImage`), None where nothing is kept."""

    def authorise(self, *resources: Resource) -> None:
        """Have the policy decide about what only turned up while running, such as a redirect's target.

        Raises:
            DeniedError: It said no (an `ask` counts as no here).
        """


class Call(abc.ABC):
    """One prepared call: what was approved is exactly what `run` does.

    Attributes:
        resources: What the policy looks at.
        shown: The normalised arguments: shown to people, hashed, and recorded. Plain data; large bytes as digest and size.
        about: What an earlier call was allowed that this one is about, such as a background process's commands. The policy's
            rules don't look at it; what a cell narrowed itself to does, and so does what counts as untrusted content.
        untrusted: Where its content comes from, if that is not trusted and the resources don't say so.
        quick: Whether `run` ends within about a millisecond and waits for nothing. Such a call may run on the thread that
            serves the socket; all others get a worker.
    """

    resources: tuple[Resource, ...] = ()
    about: tuple[Resource, ...] = ()
    untrusted: str = ""
    shown: Mapping[str, Any]
    quick: bool = False

    @abc.abstractmethod
    def run(self, context: CallContext) -> ToolOutput:
        """Do it.

        Raises:
            CallError: Any outcome that is not a result.
        """

    def close(self) -> None:  # noqa: B027 - most calls hold nothing
        """Release what `prepare` opened. Called once, whether or not the call ran."""


class SimpleCall(Call):
    """A call that is one function."""

    def __init__(
        self,
        *,
        act: Callable[[CallContext], ToolOutput],
        shown: Mapping[str, Any],
        resources: tuple[Resource, ...] = (),
        about: tuple[Resource, ...] = (),
        quick: bool = False,
    ) -> None:
        self._act = act
        self.shown = shown
        self.resources = resources
        self.about = about
        self.quick = quick

    def run(self, context: CallContext) -> ToolOutput:
        """Call the function."""
        return self._act(context)


class Tool(abc.ABC):
    """A tool. One instance serves all calls of a session, from several threads at once.

    Attributes:
        name: As the kernel calls it.
        summary: One line for people; the class docstring has the rest.
        Arguments: A `msgspec.Struct` with `forbid_unknown_fields=True`; a field with a default is optional. An argument that
            arrives as bulk bytes or as an upload is declared `bytes | Upload`.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    Arguments: ClassVar[type[msgspec.Struct]]
    gives_untrusted: ClassVar[bool] = False
    """Whether what it gives, errors included, may have been written by anybody: a search engine's answers, a mailbox. Once such
    content was given, the policy's brake asks before the session acts. Otherwise a call's resources decide: URLs and files
    outside of the workspace give untrusted content (`host_bridge.policy.provenance`)."""
    takes_anything: ClassVar[bool] = False
    """Whether `prepare` gets the plain dict instead: for tools whose arguments are checked elsewhere."""
    secret_arguments: ClassVar[frozenset[str] | None] = frozenset()
    """The arguments in which it takes secrets by handle, None for any. There `[secret NAME]` stands until
    `CallContext.reveal` gives the value; a tool that names an argument here must let no value out by another way."""

    def quick_prepare(self, arguments: Any, session: Session) -> bool:
        """Whether `prepare` touches nothing slow (network, remote file systems) for these arguments."""
        return False

    @abc.abstractmethod
    def prepare(self, arguments: Any, session: Session) -> Call:
        """Normalise a call. Must not act: it may look at the file system, and nothing else.

        Raises:
            CallError: The arguments can't be meant.
        """


class Upload(msgspec.Struct, frozen=True):
    """Stands in `Arguments` for bytes that arrive as chunks: read them with `CallContext.body()` while running."""
