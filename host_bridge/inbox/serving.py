"""Serving the HTTP API, on this machine only: a loopback port or a private socket, until INT or TERM."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tornado.httpserver import HTTPServer

from host_bridge.errors import QuestionError
from host_bridge.inbox.api import Api
from host_bridge.inbox.feed import Feed
from host_bridge.inbox.folder import Inbox

LOOK_SECONDS = 0.25
BACKLOG = 64
MAX_DRAINED_BYTES = 16 * 2**20  # of a body that is too large: read to its end, so that the client reads the answer
HEADER_SECONDS = 20.0  # for a request to be there, and how long an idle connection is kept
BODY_SECONDS = 20.0
CLOSE_SECONDS = 2.0
MAX_HEADER_BYTES = 16 * 2**10
MIN_TOKEN_CHARACTERS = 16
_TOKEN_BYTES = 32
_MAX_TOKEN_BYTES = 4096
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def serve(
    inbox: Inbox,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    socket_path: str = "",
    token: str,
    ready: Callable[[str], None],
) -> None:
    """Serve the API until INT or TERM. Must run in the main thread.

    Args:
        inbox: Whose questions.
        host: A loopback address.
        port: 0 for any that is free.
        socket_path: A Unix socket to serve instead of a port; made 0600, and removed at the end.
        token: Whoever has it may answer.
        ready: Told the address once it is served.

    Raises:
        QuestionError: It can't listen there, or there would be more than this machine to hear it.
    """
    with _listening_socket(Path(socket_path)) if socket_path else _listening_port(host, port) as (listener, address):
        asyncio.run(_serve(inbox, listener, address, token, ready))


def read_token(path: Path) -> str:
    """Give the token a private file holds; a missing file is made, with a new token.

    Raises:
        QuestionError: Others can read it, or it holds nothing fit to be a token.
    """
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            token = new_token()
            file.write(f"{token}\n")
            return token
    except FileExistsError:
        pass
    except OSError as error:
        raise QuestionError(f"the token file {path} can't be made: {error.strerror}") from error
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
                raise QuestionError(
                    f"the token file {path} has to be a file that you alone can read; run: chmod 600 {path}"
                )
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise QuestionError(f"the token file {path} can't be read: {error.strerror}") from error
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isprintable() or not token.isascii() or " " in token:
        raise QuestionError(
            f"the token file {path} holds no token: at least {MIN_TOKEN_CHARACTERS} characters without blanks; remove it to "
            "have a new one made"
        )
    return token


def new_token() -> str:
    """Give a token nobody can guess."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


async def _serve(inbox: Inbox, listener: socket.socket, address: str, token: str, ready: Callable[[str], None]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    api = Api(inbox, Feed(inbox), token, _hosts(listener))
    server = HTTPServer(
        api.application(),
        max_body_size=MAX_DRAINED_BYTES,
        max_header_size=MAX_HEADER_BYTES,
        idle_connection_timeout=HEADER_SECONDS,
        body_timeout=BODY_SECONDS,
    )
    server.add_sockets([listener])
    ready(address)
    try:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
            api.tell()
    finally:
        server.stop()
        api.end()
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), CLOSE_SECONDS)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _hosts(listener: socket.socket) -> frozenset[str]:
    """Give what a request may call this server. Any other name was made to lead here by somebody else."""
    if listener.family == socket.AF_UNIX:
        return frozenset(_LOOPBACK_NAMES)
    address, port = listener.getsockname()[:2]
    own = f"[{address}]" if listener.family == socket.AF_INET6 else address
    return frozenset(f"{name}:{port}" for name in {*_LOOPBACK_NAMES, own})


@contextlib.contextmanager
def _listening_port(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise QuestionError(
            f"{host} is not this machine's loopback: answers are given on this machine only. Use 127.0.0.1, and from elsewhere "
            "`ssh -L`"
        )
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((str(address), port))
        except OSError as error:
            raise QuestionError(
                f"can't listen at {host} port {port}: {error.strerror}; choose another --port"
            ) from error
        listener.listen(BACKLOG)
        listener.setblocking(False)
        shown = f"[{address}]" if family == socket.AF_INET6 else str(address)
        yield listener, f"http://{shown}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _listening_socket(path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _remove_stale(path)
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            reason = error.strerror or str(error)
            raise QuestionError(f"can't listen at {path}: {reason}; choose another --socket") from error
        finally:
            os.umask(previous)
        made = path.stat().st_ino
        try:
            listener.listen(BACKLOG)
            listener.setblocking(False)
            yield listener, f"unix:{path}"
        finally:
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == made:
                    path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that was killed."""
    try:
        status = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.getuid():
        raise QuestionError(f"{path} is there already, and no socket of yours; choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise QuestionError(f"{path} can't be used: {error.strerror}; choose another --socket") from error
    raise QuestionError(f"somebody listens at {path} already; end it, or choose another --socket")
