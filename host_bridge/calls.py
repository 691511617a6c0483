"""One call while it lives: its clock, its end, and the bytes that travel for it. Implements `tools.interface.CallContext`."""

from __future__ import annotations

import collections
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import ToolRequest
from host_bridge.errors import (
    CallCancelledError,
    CallError,
    CallTimeoutError,
    InvalidCallError,
    RecordError,
    TapeError,
)
from host_bridge.policy.layers import Layer
from host_bridge.policy.model import Resource, UrlResource
from host_bridge.secrets.veil import VeiledStream
from host_bridge.sessions import SessionState
from host_bridge.tape.recording import Recording
from host_bridge.tools.interface import Bytes

MAX_CHUNK_BYTES = 1 * 2**20  # per-message costs vanish, and a cancelled call has little on its way


class Line(Protocol):
    """How a call reaches its kernel from any thread: the server implements it."""

    def send_chunk(self, call: RunningCall, stream: str, data: Bytes) -> None:
        """Queue one chunk, waiting for room in the server's outbox; gives up when the call ends."""

    def send_credit(self, call: RunningCall, size: int) -> None:
        """Tell the kernel that it may upload so many bytes more."""


class RunningCall:
    """See `CallContext`, whose methods are documented there.

    Attributes:
        peer: Whatever the server knows the kernel's connection by.
        ended: Why the call is over for the kernel, None while it isn't. Set once.
        settled: Whether the reply has left; from then on nothing may be sent for it.
        running: Whether its tool has been given control.
        waited_seconds: How long it waited for a person, which no budget for work is charged with.
        reserved: Whether it holds a place in the session's budgets.
        narrowing: What it has to pass besides the policy's layers.
        untrusted: Where the contents it is about to give come from, if that isn't trusted; empty from when that was noted.
        late: What it ends as when its time is up: for lack of time of its own, or of the session's.
        emitted_bytes: What was streamed so far.
        secrets: The names of the secrets it was admitted with.
        recording: What is written of it to the run's tape, None where there is none.
        doubt: Why a person should be asked even though the policy allows it, empty for no reason.
    """

    def __init__(
        self,
        request: ToolRequest,
        *,
        call_id: str,
        peer: object,
        session: SessionState,
        line: Line,
        authorise: Callable[[RunningCall, tuple[Resource, ...]], None],
        note_untrusted: Callable[[RunningCall], None],
    ) -> None:
        self.request = request
        self.call_id = call_id
        self.peer = peer
        self.session = session
        self.started = time.monotonic()
        self.waited_seconds = 0.0
        left = session.budgets.seconds_left()
        self.late = ErrorCode.TIMED_OUT if request.timeout_seconds <= left else ErrorCode.BUDGET_EXHAUSTED
        self.deadline = self.started + min(request.timeout_seconds, left)
        self.cell_index = session.cell_index
        self.ended: ErrorCode | None = None
        self.settled = False
        self.running = False
        self.reserved = False
        self.emitted_bytes = 0
        self.secrets: tuple[str, ...] = ()
        self._veiled: dict[str, VeiledStream] = {}
        self.narrowing: tuple[Layer, ...] = ()
        self.untrusted = ""
        self.recording: Recording | None = None
        self.doubt = ""
        self.result_hash = hashlib.sha256(usedforsecurity=False)
        self._line = line
        self._authorise = authorise
        self._note_untrusted = note_untrusted
        self._credit = request.window_bytes
        self._pieces: collections.deque[tuple[bytes, bool]] = collections.deque()
        self._callbacks: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._claims = [True]

    # what tools call, on the worker's thread

    def remaining_seconds(self) -> float:
        """See `CallContext`."""
        return max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """See `CallContext`."""
        if time.monotonic() >= self.deadline:
            self.end(self.late)
        if self.ended is not None:
            raise self.ending()

    def on_end(self, callback: Callable[[], None]) -> None:
        """See `CallContext`."""
        with self._changed:
            if self.ended is None:
                self._callbacks.append(callback)
                return
        callback()

    def emit(self, stream: str, data: Bytes) -> None:
        """See `CallContext`."""
        if self.session.vault.veil is not None:
            data = self._veiled.setdefault(stream, VeiledStream(self.session.vault.values)).feed(data)
        self._emit(stream, data)

    def _emit(self, stream: str, data: Bytes) -> None:
        view = memoryview(data)
        while view:
            wanted = self._take_credit(len(view))
            size = self.session.budgets.take_out(wanted)
            if size and self.untrusted:
                self._note_untrusted(self)
            # bytes() copies only what a caller could change under the socket's feet
            piece = data if size == len(data) and type(data) is bytes else bytes(view[:size])
            if size:
                self.result_hash.update(piece)
                self.emitted_bytes += size
                if self.recording is not None:
                    self._record_chunk(self.recording, stream, piece)
                self._line.send_chunk(self, stream, piece)
                view = view[size:]
            if size < wanted:
                raise self.session.budgets.out_error()

    def body(self) -> Iterator[bytes]:
        """See `CallContext`."""
        if not self.request.upload:
            raise InvalidCallError("no bytes were sent with this call: give them as an upload")
        last = False
        while not last:
            with self._changed:
                while not self._pieces:
                    self._wait()
                piece, last = self._pieces.popleft()
            self.session.budgets.take_in(len(piece))
            if self.recording is not None:
                self.recording.uploaded(piece, last)
            yield piece
            if piece and not last:
                self._line.send_credit(self, len(piece))

    def authorise(self, *resources: Resource) -> None:
        """See `CallContext`."""
        self._authorise(self, resources)

    def reveal(self, value: Any, url: UrlResource | None = None) -> Any:
        """See `CallContext`."""
        if not self.secrets:
            return value
        if url is not None:
            for name in self.secrets:
                # By all of its rules: a redirect within a host may leave the path, or the method, that they name.
                self.session.vault.use(name).check(self.request.tool, (url,))
        return self.session.vault.put_in(value, self.secrets, self)

    @property
    def keep_image(self) -> Callable[[str, int, str], Callable[[], None]] | None:
        """See `CallContext`."""
        return None if self.recording is None else self._keep_image

    def _keep_image(self, path: str, folder: int, name: str) -> Callable[[], None]:
        assert self.recording is not None
        try:
            is_changed = self.recording.keep_image(path, folder, name)
        except TapeError as error:
            raise RecordError(f"what is there could not be kept, so nothing was changed: {error}") from error

        def note_change() -> None:
            try:
                is_changed()
            except TapeError as error:
                raise RecordError(f"{path} was changed, and that could not be recorded: {error}") from error

        return note_change

    # what the dispatcher calls, on the same thread

    def finish_streams(self) -> None:
        """Send what was held back because it might have been the beginning of a secret."""
        for stream, veiled in self._veiled.items():
            self._emit(stream, veiled.finish())

    # what the server calls, on its own thread

    def end(self, code: ErrorCode) -> None:
        """End the call for the kernel, whatever its tool is doing. The first reason counts."""
        with self._changed:
            if self.ended is not None:
                return
            self.ended = code
            callbacks, self._callbacks = self._callbacks, []
            self._pieces.clear()
            self._changed.notify_all()
        for callback in callbacks:
            callback()

    def ending(self) -> CallError:
        """Say why the call is over, as the error its kernel gets."""
        if self.ended is ErrorCode.CANCELLED:
            return CallCancelledError(f"{self.request.tool} was cancelled")
        if self.ended is ErrorCode.SESSION_ENDED:
            return CallCancelledError(f"the session ended before {self.request.tool} did")
        if self.ended is ErrorCode.BUDGET_EXHAUSTED:
            return self.session.budgets.time_error()
        return CallTimeoutError(
            f"{self.request.tool} did not end within {self.request.timeout_seconds:g} s; give it a larger timeout"
        )

    def claim(self) -> bool:
        """Whether the caller is the one who settles this call: true for the first to ask, false for all others."""
        try:
            return self._claims.pop()  # a list's pop is atomic, and a tenth of a lock's cost
        except IndexError:
            return False

    def add_credit(self, size: int) -> None:
        """The kernel can hold so many bytes more."""
        with self._changed:
            self._credit += size
            self._changed.notify_all()

    def add_piece(self, data: bytes, last: bool) -> None:
        """A piece of the upload arrived."""
        with self._changed:
            if self.ended is None:
                self._pieces.append((data, last))
                self._changed.notify_all()

    def extend(self, seconds: float) -> None:
        """Give back time that the call spent waiting for somebody else."""
        self.deadline += seconds

    @staticmethod
    def _record_chunk(recording: Recording, stream: str, piece: Bytes) -> None:
        try:
            recording.chunk(stream, piece)
        except TapeError as error:
            raise RecordError(f"what the call gave could not be recorded, so it was stopped: {error}") from error

    def _take_credit(self, wanted: int) -> int:
        with self._changed:
            while self._credit == 0:
                self._wait()
            if self.ended is not None:
                raise self.ending()
            size = min(wanted, self._credit, MAX_CHUNK_BYTES)
            self._credit -= size
            return size

    def _wait(self) -> None:
        """Wait for a change, with the lock held. Raises when the call is over."""
        if self.ended is not None:
            raise self.ending()
        # A little past the deadline, which the server's clock turns into an end.
        self._changed.wait(max(0.0, self.deadline - time.monotonic()) + 1.0)
