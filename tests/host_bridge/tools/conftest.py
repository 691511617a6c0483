"""A session and a call's context without a bridge: what a tool is given, and a record of what it did with it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from host_bridge.errors import CallCancelledError, CallError, CallTimeoutError, DeniedError
from host_bridge.policy.model import Resource

_TIME_IS_UP = CallTimeoutError("the call's time is up")


@dataclasses.dataclass
class FakeSession:
    """A session with a workspace of its own. Change `settings` and `environment` freely before the first call."""

    workspace: str
    settings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    )
    resources: dict[str, Any] = dataclasses.field(default_factory=dict)

    def close(self) -> None:
        """Close what tools kept, as a real session does at its end."""
        for thing in list(self.resources.values()):
            if hasattr(thing, "close"):
                thing.close()
        self.resources.clear()


class FakeContext:
    """A call's context that records what was emitted and decides by a function.

    Attributes:
        chunks: What was emitted, in order, as `(stream, bytes)`.
        asked: The resources given to `authorise`, in order.
    """

    call_id = "call-1"

    def __init__(
        self,
        session: FakeSession,
        *,
        timeout: float = 30.0,
        credit: int | None = None,
        upload: Sequence[bytes] = (),
        allow: Callable[[Resource], bool] = lambda resource: True,
    ) -> None:
        self.session = session
        self.chunks: list[tuple[str, bytes]] = []
        self.asked: list[Resource] = []
        self._deadline = time.monotonic() + timeout
        self._changed = threading.Condition()
        self._credit = credit
        self._upload = upload
        self._allow = allow
        self._error: CallError | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._timer = threading.Timer(timeout, self._end, [_TIME_IS_UP])
        self._timer.daemon = True
        self._timer.start()

    # what a tool uses

    def remaining_seconds(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        if time.monotonic() >= self._deadline:
            self._end(_TIME_IS_UP)
        if self._error is not None:
            raise self._error

    def on_end(self, callback: Callable[[], None]) -> None:
        with self._changed:
            if self._error is None:
                self._callbacks.append(callback)
                return
        callback()

    def emit(self, stream: str, data: bytes | bytearray | memoryview) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._credit is None or self._credit >= len(data))
            self.check()
            if self._credit is not None:
                self._credit -= len(data)
            self.chunks.append((stream, bytes(data)))
            self._changed.notify_all()

    def body(self) -> Iterator[bytes]:
        for piece in self._upload:
            self.check()
            yield piece

    def authorise(self, *resources: Resource) -> None:
        self.asked.extend(resources)
        for resource in resources:
            if not self._allow(resource):
                raise DeniedError("no rule allows it", rule_id="test")

    # what a test uses

    def bytes_of(self, stream: str) -> bytes:
        """All that was emitted on a stream."""
        return b"".join(data for name, data in self.chunks if name == stream)

    def wait_for(self, condition: Callable[[FakeContext], bool], timeout: float = 10.0) -> None:
        """Wait until something that was emitted makes `condition` true."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout), "it never became true"

    def grant(self, count: int) -> None:
        """Let `count` more bytes be emitted."""
        with self._changed:
            self._credit = (self._credit or 0) + count
            self._changed.notify_all()

    def cancel(self) -> None:
        """End the call as a kernel's cancel does: callbacks run in the calling thread, not the tool's."""
        self._end(CallCancelledError("the call was cancelled"))

    def stop(self) -> None:
        """Let go of the timer."""
        self._timer.cancel()

    def _end(self, error: CallError) -> None:
        with self._changed:
            if self._error is not None:
                return
            self._error = error
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[FakeSession]:
    """A session whose workspace is an empty folder; closed afterwards."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    session = FakeSession(workspace=str(workspace.resolve()))
    yield session
    session.close()


@pytest.fixture
def make_context(session: FakeSession) -> Iterator[Callable[..., FakeContext]]:
    """Make contexts for calls of `session`: `make_context(timeout=…, credit=…, upload=[…], allow=…)`."""
    contexts: list[FakeContext] = []

    def make(**options: Any) -> FakeContext:
        context = FakeContext(session, **options)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.stop()
