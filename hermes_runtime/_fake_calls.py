"""One call that a `testing.FakeHost` got, as the function that plays the tool sees it."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hermes_protocol.frames import MAX_BULK_FRAME_BYTES, Frame
from hermes_protocol.messages import AnyMessage, CallSite, Chunk, Credit, ToolRequest
from hermes_runtime._errors import ToolCancelledError

Post = Callable[[bytes, AnyMessage, Sequence[Frame]], None]


class FakeCall:
    """One call that a `FakeHost` got.

    Attributes:
        tool: The tool's name.
        arguments: What it was called with; bytes that came as an upload are not in it.
        secrets: The names of the secrets whose handles were among them, where `[secret NAME]` stands now.
        site: Where in the notebook it was made, None outside one.
        timeout_seconds: How long the kernel gave it.
        narrow: What the code that made it had narrowed itself to: lists of rules, outermost block first.
        emitted: How many bytes were sent so far, by stream.
    """

    def __init__(self, post: Post, peer: bytes, request: ToolRequest, contents: Mapping[str, bytes]) -> None:
        self.tool = request.tool
        self.arguments: dict[str, Any] = {**request.arguments, **contents}
        self.secrets = tuple(sorted({mark.name for mark in request.secrets}))
        self.site: CallSite | None = request.site
        self.timeout_seconds = request.timeout_seconds
        self.narrow = request.narrow
        self.emitted: collections.Counter[str] = collections.Counter()
        self._post = post
        self._peer = peer
        self._id = request.id
        self._deadline = time.monotonic() + request.timeout_seconds
        self._credit = request.window_bytes
        self._pieces: collections.deque[tuple[bytes, bool]] = collections.deque()
        self._changed = threading.Condition()
        self._is_over = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the kernel doesn't wait for it any more: it cancelled, or its time was up."""
        return self._is_over

    def wait_cancelled(self, seconds: float) -> bool:
        """Wait until it is cancelled, at most so long; gives whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_over, seconds)

    def emit(self, stream: str, data: bytes) -> None:
        """Send bytes on `"stdout"`, `"stderr"` or `"body"`, waiting until the kernel can hold them.

        Raises:
            ToolCancelledError: The kernel doesn't wait any more.
        """
        view = memoryview(data)
        while view:
            with self._changed:
                self._changed.wait_for(lambda: self._credit or self._is_over)
                if self._is_over:
                    raise ToolCancelledError(f"{self.tool} was cancelled")
                size = min(len(view), self._credit, MAX_BULK_FRAME_BYTES)
                self._credit -= size
            self.emitted[stream] += size
            self._post(self._peer, Chunk(id=self._id, stream=stream), [bytes(view[:size])])  # type: ignore[arg-type]
            view = view[size:]

    def body(self) -> Iterator[bytes]:
        """Give the upload, piece by piece.

        Raises:
            ToolCancelledError: The kernel doesn't wait any more.
        """
        last = False
        while not last:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._is_over)
                if self._is_over:
                    raise ToolCancelledError(f"{self.tool} was cancelled")
                piece, last = self._pieces.popleft()
            yield piece
            if piece and not last:
                self._post(self._peer, Credit(id=self._id, bytes=len(piece)), ())

    def _end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def __repr__(self) -> str:
        return f"FakeCall({self.tool}, {self.arguments!r:.200})"
