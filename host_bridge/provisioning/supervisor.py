"""A daemon that starts session processes for host applications: `hermes-runtime bridge serve`.

It listens on a socket that is private to the user. Each connection becomes the control channel of a session process of its
own, handed over unread: nothing a host application says is parsed here, and nothing that happens in a session reaches another.
A session ends with its connection, so the daemon's own end (TERM or INT) only has to end those that are left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO

from host_bridge.errors import SessionError
from host_bridge.provisioning.spawning import start_session_process
from host_bridge.rundirs.rundir import MAX_SOCKET_PATH_BYTES
from host_bridge.tools.orphans import end_left_behind

MAX_SESSIONS = 256  # about 40 MiB each; more is a mistake or an attack
BACKLOG = 64
SOCKET_NAME = "bridge.sock"
LOCK_SECONDS = 0.3
END_SECONDS = 8.0  # as a host application grants a session

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def default_socket_path() -> Path:
    """Where a supervisor listens when nobody says: in the user's runtime folder, or a private one under `/tmp`."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "hermes-runtime" if runtime else Path(f"/tmp/hermes-runtime-{os.getuid()}")
    return folder / SOCKET_NAME


def serve(socket_path: str | os.PathLike[str] = "", *, max_sessions: int = MAX_SESSIONS) -> None:
    """Start sessions for whoever of this user connects, until TERM or INT. Must run in the main thread.

    Args:
        socket_path: Where to listen; `default_socket_path()` when empty. Its folder is made, and must be the user's alone.
        max_sessions: How many sessions may run at once.

    Raises:
        SessionError: Another supervisor listens there, or the place isn't private.
    """
    path = Path(socket_path) if socket_path else default_socket_path()
    with _listening(path.absolute()) as listener, _signals() as woken:
        _report(f"listening at {path}")
        Supervisor(listener, woken, max_sessions).run()
    _report("ended")


class Supervisor:
    """The loop of `serve`.

    Args:
        listener: The listening socket.
        woken: Readable whenever a signal has arrived; holds its number.
        max_sessions: How many sessions may run at once.
    """

    def __init__(self, listener: socket.socket, woken: socket.socket, max_sessions: int) -> None:
        self._listener = listener
        self._woken = woken
        self._max_sessions = max_sessions
        self._sessions: list[subprocess.Popen[bytes]] = []
        self._stopping = False

    def run(self) -> None:
        """Serve until a signal says otherwise, then end what is left."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, self._accept)
            selector.register(self._woken, selectors.EVENT_READ, self._on_signals)
            while not self._stopping:
                for key, _ in selector.select():
                    key.data()
        self._end_sessions()

    def _accept(self) -> None:
        try:
            channel, _ = self._listener.accept()
        except OSError as error:  # the peer gave up, or descriptors ran out; both pass
            _report(f"a connection was lost: {error.strerror}")
            return
        with channel:
            if (problem := self._objection(channel)) is not None:
                _report(f"refused a connection: {problem}")
                return
            try:
                # The process inherits the connection; here it is closed, so that its end is the session's.
                process = start_session_process(channel, stderr=None)
            except SessionError as error:
                _report(str(error))
                return
        self._sessions.append(process)
        _report(f"session process {process.pid} started; {len(self._sessions)} running")

    def _objection(self, channel: socket.socket) -> str | None:
        user = peer_user(channel)
        if user not in (None, os.getuid()):
            return f"it comes from user {user}"
        if len(self._sessions) >= self._max_sessions:
            return f"{self._max_sessions} sessions are running"
        return None

    def _on_signals(self) -> None:
        arrived = set(self._woken.recv(4096))
        if arrived & {signal.SIGTERM, signal.SIGINT}:
            self._stopping = True
        self._reap()

    def _reap(self) -> None:
        for process in list(self._sessions):
            if process.poll() is not None:
                self._sessions.remove(process)
                if process.returncode:  # it could not end its commands itself
                    end_left_behind(process.pid)
                _report(f"session process {process.pid} ended with {process.returncode}; {len(self._sessions)} running")

    def _end_sessions(self) -> None:
        for process in self._sessions:
            process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for process in list(self._sessions):
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _report(f"session process {process.pid} did not end; killing it")
                process.kill()
                process.wait()
        self._reap()


def running_supervisor(socket_path: str | os.PathLike[str]) -> int | None:
    """Give the process number of the supervisor that listens at a path; None when none does."""
    path = Path(socket_path)
    try:
        with open(_lock_path(path)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read(32))
    except (OSError, ValueError):
        return None
    return None


def peer_user(channel: socket.socket) -> int | None:
    """Give the user id at the other end of a Unix socket; None where the system doesn't say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None  # macOS: the folder's mode is what keeps others out
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, alone, and remove it afterwards."""
    _private_folder(path)
    with open(os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+") as lock:
        if not _lock(lock, fcntl.LOCK_EX):
            owner = lock.read(32).strip() or "unknown"
            raise SessionError(
                f"a supervisor (process {owner}) already listens at {path}; use it, end it, or choose another --socket"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        # Whoever held the lock is gone, so what is left of its socket is stale.
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            _bind_private(listener, path)
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)
    # The lock's file stays: removing it would let two others each lock a file of that name.


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _lock(file: IO[str], kind: int) -> bool:
    """Take a lock. Tries for a moment, since somebody may be looking whether it is taken."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOCK_SECONDS / 10)
        else:
            return True


def _private_folder(path: Path) -> None:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise SessionError(f"{path} is over {MAX_SOCKET_PATH_BYTES} bytes, too long for a socket; choose a shorter one")
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise SessionError(f"{folder} can't be used for the supervisor's socket: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise SessionError(f"{folder} must be a folder of yours that nobody else may enter; run: chmod 700 {folder}")


def _bind_private(listener: socket.socket, path: Path) -> None:
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise SessionError(f"can't listen at {path}: {error.strerror}") from error
    finally:
        os.umask(previous)
    listener.listen(BACKLOG)
    listener.setblocking(False)  # a peer that gives up between select and accept must not block the others


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Have signals arrive as bytes on a socket, so that they are handled between two steps and never within one."""
    woken, writer = socket.socketpair()
    with woken, writer:
        woken.setblocking(False)
        writer.setblocking(False)
        previous_wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        previous = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        try:
            yield woken
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_wakeup)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; the wake-up socket has the signal's number."""


def _report(text: str) -> None:
    print(f"hermes-runtime bridge: {text}", file=sys.stderr, flush=True)
