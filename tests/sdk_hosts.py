"""Two hosts for the tests of the kernel-side SDK, alike from a notebook's side: a `FakeHost`, and a real bridge session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bare_kernel import open_host

from hermes_protocol.ticket import TICKET_VARIABLE, Ticket, encode_ticket
from hermes_runtime import _client
from hermes_runtime._errors import ToolCancelledError, ToolNotFoundError, ToolTimeoutError
from hermes_runtime._fake_tools import FakeFiles, Reply
from hermes_runtime.testing import FakeCall, FakeHost
from host_bridge import control

WAIT_SECONDS = 20.0


class Place:
    """A host that serves this process, and the folder its tools work in."""

    def __init__(self, kind: str, workspace: Path, ticket: Ticket, crash: Callable[[], None]) -> None:
        self.kind = kind
        self.workspace = workspace
        self.ticket = ticket
        self.crash = crash

    def write(self, name: str, content: bytes) -> None:
        (self.workspace / name).write_bytes(content)

    def read(self, name: str) -> bytes:
        return (self.workspace / name).read_bytes()

    def start_python(self, code: str, **options: Any) -> subprocess.Popen[str]:
        """Run code in a process that is served by this host too."""
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1", TICKET_VARIABLE: encode_ticket(self.ticket)}
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run_python(self, code: str) -> str:
        """Run code in such a process to its end, and give what it printed."""
        with self.start_python(code, start_new_session=True) as process:
            try:
                out, err = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGABRT)  # with PYTHONFAULTHANDLER, it then says where it hangs
                out, err = process.communicate()
        assert process.returncode == 0, err
        return out


@contextlib.contextmanager
def fake_place(folder: Path, **options: Any) -> Iterator[Place]:
    """A FakeHost whose tools work on a real folder and run real commands."""
    tools = {**_FolderFiles(folder).tools(), "terminal": _Terminal(folder).run}
    with FakeHost(tools, **options) as host:
        yield Place("fake", folder, host.ticket, host.crash)


@contextlib.contextmanager
def bridge_place(**options: Any) -> Iterator[Place]:
    """A session process, with a policy that allows everything."""
    with open_host(**{"profile": "full", **options}) as host:
        host.expect(control.Ready)
        public, secret = (key.decode() for key in host.new_key())
        ticket = Ticket(
            session_id="test",
            endpoint=host.config.endpoint,
            server_public_key=host.server_public,
            public_key=public,
            secret_key=secret,
        )
        previous = _client.replace(_client.Client(ticket))
        try:
            yield Place("bridge", Path(host.config.workspace), ticket, host.process.kill)
        finally:
            client = _client.replace(previous)
            assert client is not None
            client.close()


class _Terminal:
    """Enough of a `terminal`: a shell in a process group of its own, killed when the call is over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, call: FakeCall, command: str, timeout: float = 180, workdir: str | None = None) -> Any:
        started = time.monotonic()
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self._folder / (workdir or "."),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        killer = threading.Timer(timeout, _kill, [process])
        killer.start()
        watcher = threading.Thread(target=lambda: call.wait_cancelled(WAIT_SECONDS) and _kill(process))
        watcher.start()
        sizes = {"stdout": 0, "stderr": 0}
        pumps = [threading.Thread(target=self._pump, args=(call, process, name, sizes)) for name in sizes]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = process.wait()
        timed_out = not killer.is_alive()
        killer.cancel()
        if timed_out:
            raise ToolTimeoutError(f"the command did not end within {timeout:g} s")
        return Reply(
            {
                "exit_code": code if code >= 0 else 128 - code,
                "duration_seconds": time.monotonic() - started,
                **{f"{name}_bytes": size for name, size in sizes.items()},
                "stdout_omitted": 0,
                "stderr_omitted": 0,
            }
        )

    def _pump(self, call: FakeCall, process: subprocess.Popen[bytes], name: str, sizes: dict[str, int]) -> None:
        pipe = getattr(process, name)
        with pipe, contextlib.suppress(ToolCancelledError):
            while data := pipe.read1(65_536):
                sizes[name] += len(data)
                call.emit(name, data)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _FolderFiles(FakeFiles):
    """The fake file tools, over a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__({})
        self._folder = folder

    def read_file(self, call: FakeCall, path: str, **arguments: Any) -> Reply:
        try:
            status = (self._folder / path).stat()
            self.contents[path] = (self._folder / path).read_bytes()
        except OSError:
            raise ToolNotFoundError(f"{path} doesn't exist") from None
        self._versions[path] = status.st_mtime_ns
        return super().read_file(call, path, **arguments)

    def write_file(self, call: FakeCall, path: str, content: bytes | None = None, create_parents: bool = True) -> Any:
        result = super().write_file(call, path, content, create_parents)
        (self._folder / path).write_bytes(self.contents[path])
        return result


def is_running(process_id: int) -> bool:
    """Whether a process lives (a zombie doesn't)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
