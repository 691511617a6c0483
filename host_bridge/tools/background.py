"""The commands that outlive their call, by session."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from host_bridge.errors import BudgetError, CallError, NotFoundError
from host_bridge.policy.model import Resource
from host_bridge.secrets.vault import RESOURCE
from host_bridge.secrets.veil import Values, veiled
from host_bridge.tools.capture import Ring
from host_bridge.tools.children import Child, Children
from host_bridge.tools.interface import Session
from host_bridge.tools.settings import read_settings

_SHOWN_COMMAND_CHARACTERS = 1000  # a list of states must fit into one envelope
_MAX_MATCHES = 100
_MAX_LINE_BYTES = 4096
_CHECK_SECONDS = 0.1
_END_OF_INPUT = b"\x04"  # what a terminal takes for the end of its input, at the start of a line


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tools.process]`.

    Attributes:
        max_processes: How many may run at once.
        max_finished: How many that are over are remembered; the oldest are forgotten.
        log_bytes: How much of its output is kept for each: the last so many bytes.
        write_seconds: How long a process may take to accept input.
    """

    max_processes: Annotated[int, Meta(ge=1, le=1000)] = 16
    max_finished: Annotated[int, Meta(ge=0, le=1000)] = 16
    log_bytes: Annotated[int, Meta(ge=1024, le=256 * 2**20)] = 1 * 2**20
    write_seconds: Annotated[float, Meta(gt=0, le=3600)] = 10.0


class BackgroundProcess:
    """One command that runs, or ran, in the background.

    Attributes:
        session_id: What `process` knows it by; can't be guessed and means nothing in another session.
        resources: What was decided about when it was started.
    """

    def __init__(
        self,
        child: Child,
        *,
        values: Values | None,
        command: str,
        resources: tuple[Resource, ...],
        patterns: Sequence[str],
        notify: bool,
        log_bytes: int,
    ) -> None:
        self.session_id = f"bg-{secrets.token_hex(8)}"
        self.resources = resources
        self._child = child
        self._values = values
        self._command = command
        self._notify = notify
        self._log = Ring(log_bytes)
        self._watch = _Watch(patterns)
        self._exit_seen = False
        self._over = False
        self._failure = ""
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._pump, name=self.session_id, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it ended and its output is complete."""
        return self._over

    def state(self) -> dict[str, Any]:
        """Say how it stands.

        `matches` are lines that contained one of the watched patterns, the first hundred of them. `notified` is whether a
        process started with `notify_on_complete` has been reported as exited, which the first such state does.
        """
        with self._changed:
            state = {
                "session_id": self.session_id,
                "command": _cut(self._command, _SHOWN_COMMAND_CHARACTERS),
                "pid": self._child.pid,
                "state": "exited" if self._over else "running",
                "exit_code": self._child.exit_code if self._over else None,
                "duration_seconds": round(self._duration(), 6),
                "output_bytes": self._log.end,
            }
            if self._watch.patterns:
                state["matches"] = list(self._watch.matches)
            if self._notify:
                self._exit_seen = self._exit_seen or self._over
                state["notified"] = self._exit_seen
            if self._failure:
                state["failure"] = self._failure
            return state

    def log(self, offset: int, limit: int) -> tuple[bytes, int]:
        """Give output from byte `offset` on (from the end if negative), and the offset where it really begins.

        That is later than asked when the bytes are not kept any more, and the end when there are none yet.
        """
        with self._changed:
            start = offset if offset >= 0 else self._log.end + offset
            start = min(max(start, self._log.start), self._log.end)
            return self._log.read(start, limit), start

    def wait(self, seconds: float, check: Callable[[], None]) -> None:
        """Wait until it is over, at most so long. `check` may raise to give up."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._over and (left := deadline - time.monotonic()) > 0:
                check()
                self._changed.wait(min(left, _CHECK_SECONDS))

    def end(self) -> None:
        """Tell it to end; it is killed if it doesn't."""
        self._child.end()

    def write(self, data: bytes, seconds: float, check: Callable[[], None]) -> None:
        """Write to its standard input.

        Raises:
            CallError: It takes no input any more, or not in time; says how much it took.
        """
        deadline = time.monotonic() + seconds
        left = memoryview(data)
        with self._writing:
            while left:
                check()
                if self._child.exit_code is not None or self._child.input is None:
                    raise CallError(f"process {self.session_id} takes no input: it has ended or its input was closed")
                taken = self._write_some(self._child.input, left)
                left = left[taken:]
                if left and time.monotonic() > deadline:
                    raise CallError(
                        f"process {self.session_id} did not read its input within {seconds:g} s: it took "
                        f"{len(data) - len(left)} of {len(data)} bytes"
                    )

    def close_input(self) -> None:
        """Let its reads from the standard input end."""
        with self._writing:
            descriptor = self._child.input
            if descriptor is not None and os.isatty(descriptor):
                self._write_some(descriptor, memoryview(_END_OF_INPUT))
            elif descriptor is not None:
                self._child.close_input()

    def join(self) -> None:
        """Wait for the thread that reads its output; after the command was ended, that is soon."""
        self._thread.join(timeout=5)

    def _duration(self) -> float:
        return self._child.duration_seconds if self._over else time.monotonic() - self._child.started

    def _write_some(self, descriptor: int, data: memoryview) -> int:
        poller = select.poll()
        poller.register(descriptor, select.POLLOUT)
        if not poller.poll(_CHECK_SECONDS * 1000):
            return 0
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:
            raise CallError(f"process {self.session_id} takes no input: it has closed it, or ended") from None

    def _pump(self) -> None:
        try:
            # Before it is kept: a reader may ask for any piece of it.
            for _, data in veiled(self._values, self._child.output()):
                with self._changed:
                    self._log.append(data)
                    self._watch.feed(data)
        except CallError as error:
            self._failure = str(error)
        finally:
            with self._writing:  # nobody writes to a descriptor that is closed, or somebody else's by now
                self._child.close()
            with self._changed:
                self._over = True
                self._changed.notify_all()


class BackgroundProcesses:
    """All of a session's, running and remembered."""

    def __init__(self, session: Session) -> None:
        self.settings = read_settings(session, "process", ProcessSettings)
        self._children = Children.of(session)
        self._values: Values | None = session.resources.get(RESOURCE)
        self._table: dict[str, BackgroundProcess] = {}
        self._starting = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, session: Session) -> BackgroundProcesses:
        """Give the session's one instance."""
        found = session.resources.get("processes")
        if found is None:
            found = session.resources.setdefault("processes", cls(session))
        assert isinstance(found, cls)
        return found

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a process that is about to be started.

        Raises:
            BudgetError: Too many are running.
        """
        with self._lock:
            running = sum(not process.is_over for process in self._table.values()) + self._starting
            if running >= self.settings.max_processes:
                raise BudgetError(
                    f"{running} processes are running in the background already, the most this session may have; "
                    "end one with process('kill', session_id=…)",
                    remedy="raise max_processes in [tools.process] of the host's configuration",
                )
            self._starting += 1
        try:
            yield
        finally:
            with self._lock:
                self._starting -= 1

    def add(
        self, child: Child, *, command: str, resources: tuple[Resource, ...], patterns: Sequence[str], notify: bool
    ) -> BackgroundProcess:
        """Take over a command that was started."""
        process = BackgroundProcess(
            child,
            values=self._values,
            command=command,
            resources=resources,
            patterns=patterns,
            notify=notify,
            log_bytes=self.settings.log_bytes,
        )
        with self._lock:
            self._table[process.session_id] = process
            finished = [key for key, process in self._table.items() if process.is_over]
            for key in finished[: max(0, len(finished) - self.settings.max_finished)]:
                del self._table[key]
        return process

    def find(self, session_id: str) -> BackgroundProcess:
        """Give a process.

        Raises:
            NotFoundError: There is none of that name, or none any more.
        """
        with self._lock:
            process = self._table.get(session_id)
        if process is None:
            raise NotFoundError(
                f"there is no process {session_id[:100]!r} in this session; process('list') gives those there are"
            )
        return process

    def resources_of(self, session_id: str | None) -> tuple[Resource, ...]:
        """What was decided about when a process was started; nothing for one there isn't, and None for all processes."""
        with self._lock:
            chosen = self._table.values() if session_id is None else filter(None, [self._table.get(session_id)])
            return tuple(resource for process in chosen for resource in process.resources)

    def all(self) -> list[BackgroundProcess]:
        """All there are, oldest first."""
        with self._lock:
            return list(self._table.values())

    def close(self) -> None:
        """End them all."""
        processes = self.all()
        for process in processes:
            process.end()
        self._children.close()
        for process in processes:
            process.join()


class _Watch:
    """Looks for patterns (plain text) in the lines of a stream."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = [(pattern, pattern.encode()) for pattern in patterns]
        self.matches: list[dict[str, Any]] = []
        self._line = b""
        self._line_start = 0

    def feed(self, data: bytes) -> None:
        """Look at more of the stream. A line counts when it is complete, or longer than is looked at."""
        if not self.patterns or len(self.matches) >= _MAX_MATCHES:
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._look(line)
            self._line_start += len(line) + 1
        if len(self._line) > _MAX_LINE_BYTES:
            self._look(self._line)
            self._line_start += len(self._line)
            self._line = b""

    def _look(self, line: bytes) -> None:
        for pattern, wanted in self.patterns:
            if wanted in line and len(self.matches) < _MAX_MATCHES:
                text = line[:_MAX_LINE_BYTES].decode(errors="replace").rstrip("\r")
                self.matches.append({"pattern": pattern, "offset": self._line_start, "line": text})


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
