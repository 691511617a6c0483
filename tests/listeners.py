"""Sockets on the host that must hear nothing: TCP, UDP, Unix sockets by path and by abstract name."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import threading
from pathlib import Path

from waiting import until


class Listeners:
    """Listens at everything a process on this machine could reach, and notes who came.

    Attributes:
        heard: What came, in order: the listener's name and the first bytes.
        ports: Of the internet sockets, by name.
        paths: Of the Unix sockets.
        abstract: Names of the abstract ones.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.ports: dict[str, int] = {}
        self.paths: list[str] = []
        self.abstract: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._internet()
        self._unix(folders)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _internet(self) -> None:
        for name, family, kind, address in (
            ("tcp4", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
            ("tcp_all", socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0"),
            ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, "::1"),
            ("udp4", socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0"),
            ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
        ):
            self.ports[name] = 9  # for a machine without IPv6
            with contextlib.suppress(OSError):
                self.ports[name] = self._add(name, family, kind, (address, 0)).getsockname()[1]

    def _unix(self, folders: list[Path]) -> None:
        for kind, suffix in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_DGRAM, "datagram")):
            for folder in folders:
                path = str(folder / f"agent-{suffix}")
                self._add(path, socket.AF_UNIX, kind, path)
                self.paths.append(path)
            name = f"hermes-test-{secrets.token_hex(8)}"
            self._add(name, socket.AF_UNIX, kind, f"\0{name}")
            self.abstract.append(name)

    def _add(self, name: str, family: int, kind: int, address: object) -> socket.socket:
        made = socket.socket(family, kind)
        try:
            made.bind(address)  # type: ignore[arg-type]
            if kind == socket.SOCK_STREAM:
                made.listen()
        except OSError:
            made.close()
            raise
        self._selector.register(made, selectors.EVENT_READ, name)
        return made

    def _listen(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock.type == socket.SOCK_STREAM:
                    connection, _ = sock.accept()
                    connection.close()
                    self.heard.append((key.data, b""))
                else:
                    self.heard.append((key.data, sock.recv(100)))

    def names(self) -> set[str]:
        """Give the names of all that listen."""
        return {key.data for key in self._selector.get_map().values() if key.data}

    def knock(self) -> None:
        """Come to each of them from this process, and wait until they have heard it."""
        for key in list(self._selector.get_map().values()):
            if key.data:
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                with socket.socket(listener.family, listener.type) as made:
                    made.connect(listener.getsockname())
                    if listener.type == socket.SOCK_DGRAM:
                        made.send(b"knock")
        until(lambda: {name for name, _ in self.heard} >= self.names())

    def close(self) -> None:
        """End."""
        self._wake.send(b"x")
        self._thread.join(10)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._wake.close()
        self._selector.close()
