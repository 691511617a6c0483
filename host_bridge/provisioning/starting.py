"""Starts a `Launch`: its inputs in memory files, its outputs in pipes that are drained, its first report read."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import fcntl
import json
import logging
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from host_bridge.errors import SandboxError
from host_bridge.rundirs.rundir import remove_anything
from host_bridge.sandbox.inputs import Inputs
from host_bridge.sandbox.spec import Launch

REPORT_SECONDS = 20.0  # bubblewrap reports within milliseconds
MAX_KEPT_OUTPUT = 16 * 2**10
MAX_FORWARDED_OUTPUT = 2**20  # of what a kernel writes past Jupyter, for the host's own log

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

# bubblewrap dies with the thread that started it, so that thread must live as long as this process does.
_starter = ThreadPoolExecutor(1, thread_name_prefix="hermes-kernel-starter")


async def in_lasting_thread(start: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine in the thread that kernels may depend on."""
    return await asyncio.wrap_future(_starter.submit(lambda: asyncio.run(start())))


class Start:
    """One start of a launch: give `keywords` to Popen, then call `started`.

    Attributes:
        argv: The command with the descriptors' numbers in place.
    """

    def __init__(self, launch: Launch) -> None:
        self._descriptors: list[int] = []
        self._reports = launch.reports
        self._report_reader, report_writer = self._pipe()
        for path, content in launch.files.items():
            self._write_file(path, content)
        self._inputs = Inputs(launch, {"info": report_writer})
        self.argv = self._inputs.argv
        self._output_reader, self._output_writer = self._pipe()
        self.keywords: dict[str, Any] = {
            "env": dict(launch.environment),
            "cwd": launch.working_folder,
            "stdin": subprocess.DEVNULL,
            # Pipes, never the host's own files: those could be opened again through /proc/self/fd and read or cut short.
            "stdout": self._output_writer,
            "stderr": self._output_writer,
            "pass_fds": (*self._inputs.descriptors, *self._descriptors),
        }
        self.output = Drain()

    def started(self) -> None:
        """Let go of what the process has now, and begin to read what it writes."""
        self._close_given()
        self.output.read(self._output_reader)

    def failed(self) -> None:
        """Let go of everything: there is no process."""
        self._close_given()
        for descriptor in (self._report_reader, self._output_reader):
            os.close(descriptor)

    def read_report(self) -> int | None:
        """Give the process number, on the host, of the sandbox's first process; None if it is the one that was started.

        Blocks for a bounded time.

        Raises:
            SandboxError: There is none, with what bubblewrap said.
        """
        if not self._reports:
            os.close(self._report_reader)
            return None
        text = b""
        deadline = time.monotonic() + REPORT_SECONDS
        try:
            while b"}" not in text:
                ready, _, _ = select.select([self._report_reader], [], [], max(0.0, deadline - time.monotonic()))
                piece = os.read(self._report_reader, 4096) if ready else b""
                if not piece:
                    break
                text += piece
        finally:
            os.close(self._report_reader)
        try:
            return int(json.loads(text)["child-pid"])
        except (ValueError, KeyError):
            self.output.wait(2.0)
            said = self.output.tail or "nothing"
            raise SandboxError(f"bubblewrap could not start the kernel; it said: {said}") from None

    def _write_file(self, path: str, content: bytes) -> None:
        remove_anything(path)  # a former kernel may have put whatever it liked there
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    def _pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._descriptors.append(writer)
        return reader, writer

    def _close_given(self) -> None:
        self._inputs.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


class Drain:
    """Reads what a kernel writes past Jupyter until it ends; keeps the end of it, and logs its beginning."""

    def __init__(self) -> None:
        self._kept: collections.deque[bytes] = collections.deque()
        self._kept_bytes = self._forwarded = 0
        self._thread: threading.Thread | None = None

    @property
    def tail(self) -> str:
        """The last of it, with control characters escaped."""
        text = b"".join(self._kept)[-MAX_KEPT_OUTPUT:].decode(errors="replace").strip()
        return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)

    def read(self, descriptor: int) -> None:
        """Begin to read, in a thread; the descriptor is closed at the end."""
        with contextlib.suppress(OSError):  # a larger pipe only saves turns
            fcntl.fcntl(descriptor, 1031, 2**20)  # F_SETPIPE_SZ
        self._thread = threading.Thread(target=self._run, args=(descriptor,), name="hermes-kernel-output", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, for a bounded time."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while piece := pipe.read(65_536):
                self._kept.append(piece)
                self._kept_bytes += len(piece)
                while self._kept_bytes - len(self._kept[0]) > MAX_KEPT_OUTPUT:
                    self._kept_bytes -= len(self._kept.popleft())
                if self._forwarded < MAX_FORWARDED_OUTPUT:
                    self._forwarded += len(piece)
                    _log.info("kernel: %s", piece.decode(errors="replace").rstrip())
