"""Jupyter applications that serve kernels over HTTP, and a client of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

WAIT_SECONDS = 60.0
# `python -m`, but for a grammar that jsonschema compiles at import if it is installed, for two seconds, and does without.
LAUNCH = """
import runpy, sys
sys.modules["rfc3987_syntax"] = None
del sys.argv[0]
runpy.run_module(sys.argv[0], None, "__main__", True)
"""


class Server:
    """A Jupyter application that serves kernels over HTTP.

    Args:
        command: What follows `python -m`.
        port: Where it is told to listen.
        root: Where its log goes.
        python: The interpreter, if need be with what runs it as somebody else.
        environment: Its variables; this process's when None.
        folder: Where it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        root: Path,
        *,
        python: Sequence[str] = (sys.executable,),
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.base = f"127.0.0.1:{port}"
        self.log = root / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*python, "-c", LAUNCH, *command], stdout=log, stderr=log, env=environment, cwd=folder
            )
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()

    def _answers(self) -> bool:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            socket.create_connection(("127.0.0.1", self.port)),
        ):
            return bool(self.request("GET", "/api/kernelspecs"))
        return False

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    def request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.base}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise AssertionError(f"{error}: {self.log.read_text()}") from None
        return json.loads(text) if text else None

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_SECONDS)


class Channels:
    """A kernel's channels over a websocket."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self.connection = connection
        self.sent = 0

    async def send(self, code: str) -> str:
        self.sent += 1
        header = {
            "msg_id": f"m{self.sent}",
            "msg_type": "execute_request",
            "username": "",
            "session": "s",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "allow_stdin": False, "stop_on_error": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await self.connection.write_message(json.dumps(message))
        return f"m{self.sent}"

    async def receive(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self.connection.read_message(), WAIT_SECONDS)
        assert text is not None, "the server closed the channels"
        message: dict[str, Any] = json.loads(text)
        return message

    async def settled(self, message_id: str) -> tuple[dict[str, Any], str]:
        """Wait until a request is over on both channels; give the reply and what was printed."""
        printed, reply, idle = "", None, False
        while reply is None or not idle:
            message = await self.receive()
            if message["parent_header"].get("msg_id") != message_id:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    printed += content["text"]
                case "status":
                    idle = content["execution_state"] == "idle"
                case "execute_reply":
                    reply = content
        return reply, printed

    async def run(self, code: str) -> str:
        _, printed = await self.settled(await self.send(code))
        return printed


@contextlib.asynccontextmanager
async def channels(server: Server, kernel_id: str) -> AsyncIterator[Channels]:
    connection = await websocket_connect(f"ws://{server.base}/api/kernels/{kernel_id}/channels")
    try:
        yield Channels(connection)
    finally:
        connection.close()
        async with asyncio.timeout(WAIT_SECONDS):  # or the loop ends before the socket is closed
            while await connection.read_message() is not None:
                pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
