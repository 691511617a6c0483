"""A control channel with the process at its other end: bytes, threads and exit codes, nothing of what is said.

One thread per channel reads messages and the process's standard error. The process is ended by its own number, step by step:
closing the channel is the request, TERM the reminder, KILL the end.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO

from host_bridge import control
from host_bridge.control import ControlMessage
from host_bridge.errors import SessionError
from host_bridge.provisioning.spawning import connect_supervisor, start_session_process
from host_bridge.tools.orphans import end_left_behind

MAX_STDERR_BYTES = 16 * 2**10  # the end of it; a traceback is a few KiB
SEND_SECONDS = 10.0  # a session process that reads nothing for so long won't read again
EXIT_SECONDS = 1.0  # between the channel's end and the process's
TERMINATE_SECONDS = 2.0
KILL_SECONDS = 5.0  # a killed process waits at most for a disk

_READ_BYTES = 2**16
_log = logging.getLogger(__name__)


class SessionChannel:
    """A session process and the line to it.

    Args:
        supervisor: Path of the supervisor's socket that starts the process; empty to start it from here.
        on_message: Called with every message, in the reading thread.
        on_closed: Called once, in the reading thread, when nothing more will come: with what is known about why.

    Raises:
        SessionError: The process can't be started.
    """

    def __init__(
        self, supervisor: str, *, on_message: Callable[[ControlMessage], None], on_closed: Callable[[str], None]
    ) -> None:
        self._supervisor = supervisor
        self._on_message = on_message
        self._on_closed = on_closed
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr_end = b""
        self._problem = ""
        self._lock = threading.Lock()
        self._socket = connect_supervisor(supervisor) if supervisor else self._spawn()
        self._socket.settimeout(SEND_SECONDS)
        self._reader = threading.Thread(target=self._read, name="hermes-session", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """The session process, if it is this process's child."""
        return self._process.pid if self._process else None

    @property
    def last_output(self) -> str:
        """The end of what the process wrote to standard error."""
        return self._stderr_end.decode(errors="replace").strip()

    def send(self, message: ControlMessage) -> None:
        """Send one message whole. Thread-safe.

        Raises:
            SessionError: The other end is gone, or reads nothing.
        """
        with self._lock:
            try:
                control.send(self._socket, message)
            except SessionError as error:
                if isinstance(error.__cause__, OSError):
                    self._shut()  # half a message may have left: nothing after it could be understood
                raise

    def close(self) -> None:
        """Close the channel and see the process gone. Bounded; may be called again."""
        self._shut()
        self._end_process()
        if self._reader is not threading.current_thread():
            self._reader.join(EXIT_SECONDS + KILL_SECONDS)
        self._socket.close()

    def _spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = start_session_process(theirs, stderr=subprocess.PIPE)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            _log.debug("the control channel was closed already: %s", error)

    def _end_process(self) -> None:
        process = self._process
        if process is None or _exits(process, EXIT_SECONDS):
            return
        _log.warning("the session process %d outlives its channel; sending TERM", process.pid)
        process.terminate()
        if not _exits(process, TERMINATE_SECONDS):
            process.kill()
            _exits(process, KILL_SECONDS)

    # the reading thread ------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # a defect in a listener must not look like silence
            _log.exception("the control channel can't be read any more")
            self._problem = f"{type(error).__name__}: {error}"
            self._shut()
        end = self._describe_end()
        self._end_commands()
        self._on_closed(end)

    def _read_all(self) -> None:
        """Read messages until the channel ends, and standard error until it ends or shortly after the channel did."""
        decoder = control.Decoder()
        stderr = self._process.stderr if self._process else None
        deadline: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            if stderr is not None:
                selector.register(stderr, selectors.EVENT_READ)
            while selector.get_map():
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    break  # something the process started holds its standard error open
                for key, _ in selector.select(remaining):
                    more = self._read_messages(decoder) if key.fileobj is self._socket else self._read_stderr(key.fd)
                    if not more:
                        selector.unregister(key.fileobj)
                        if key.fileobj is self._socket:
                            deadline = time.monotonic() + EXIT_SECONDS
        _close(stderr)

    def _read_messages(self, decoder: control.Decoder) -> bool:
        try:
            data = self._socket.recv(_READ_BYTES)
            messages = decoder.feed(data)
        except ConnectionResetError:
            return False
        except SessionError as error:
            self._problem = str(error)
            self._shut()
            return False
        for message in messages:
            self._on_message(message)
        return bool(data)

    def _read_stderr(self, descriptor: int) -> bool:
        data = os.read(descriptor, _READ_BYTES)
        self._stderr_end = (self._stderr_end + data)[-MAX_STDERR_BYTES:]
        return bool(data)

    def _end_commands(self) -> None:
        """End what the session process could not: it was killed, or ended itself in a hurry."""
        process = self._process
        if process is not None and process.returncode:
            end_left_behind(process.pid)

    def _describe_end(self) -> str:
        known = [self._problem] if self._problem else []
        process = self._process
        if process is not None and _exits(process, EXIT_SECONDS):
            known.append(_describe_exit(process.returncode))
        if self.last_output:
            known.append(f"it wrote: {self.last_output}")
        if not known and self._supervisor:
            return f"the supervisor at {self._supervisor} closed the connection; its standard error says why"
        return "; ".join(known) or "the control channel was closed"


def _exits(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"the process exited with status {code}"
    try:
        return f"the process was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process was killed by signal {-code}"


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()
