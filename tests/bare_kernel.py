"""A bridge session started as a host application starts it, and a kernel's side written straight on the wire.

For tests about the bridge itself: nothing of the kernel-side SDK stands between the test and the protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import zmq

from hermes_protocol import Connection, Role
from hermes_protocol.frames import Frame
from hermes_protocol.messages import (
    PROTOCOL_VERSIONS,
    AnyMessage,
    Chunk,
    Goodbye,
    Hello,
    ToolReply,
    ToolRequest,
    Welcome,
)
from host_bridge import control

WAIT_SECONDS = 20.0
WIRE_FIELDS = ("window_bytes", "bulk", "upload", "narrow")


class Host:
    """The host application's end of one session process."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.server_public, server_secret = (key.decode() for key in zmq.curve_keypair())
        self.folder = folder
        self.config = control.SessionConfig(
            **{
                "session_id": "test",
                "endpoint": f"ipc://{folder}/bridge",
                "server_public_key": self.server_public,
                "server_secret_key": server_secret,
                "workspace": str(folder / "workspace"),
                "audit_path": str(folder / "audit.jsonl"),
                "host_tools": ("add",),
                "environment": {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"},
                **fields,
            }
        )
        Path(self.config.workspace).mkdir(exist_ok=True)
        self.channel, inherited = socket.socketpair()
        self.channel.settimeout(WAIT_SECONDS)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "host_bridge.bridge", "--control-fd", str(inherited.fileno())],
            pass_fds=[inherited.fileno()],
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        inherited.close()
        self.decoder = control.Decoder()
        self.inbox: list[control.ControlMessage] = []
        self.send(control.Open(config=self.config))

    def send(self, message: control.ControlMessage) -> None:
        control.send(self.channel, message)

    def expect(self, kind: type, **fields: Any) -> Any:
        """Give the next message of a kind (with these field values), keeping the others for later."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            for message in self.inbox:
                if isinstance(message, kind) and all(getattr(message, name) == value for name, value in fields.items()):
                    self.inbox.remove(message)
                    return message
            assert time.monotonic() < deadline, f"no {kind.__name__} {fields} came; got {self.inbox}"
            data = self.channel.recv(1 << 20)
            assert data, f"the session closed the channel before any {kind.__name__}: {self.inbox}, {self.errors()}"
            self.inbox += self.decoder.feed(data)

    def new_key(self) -> tuple[bytes, bytes]:
        """Announce a kernel and give its key pair."""
        pair = zmq.curve_keypair()
        self.send(control.KernelStarting(public_key=pair[0].decode()))
        return pair

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the workspace."""
        Path(self.config.workspace, name).write_bytes(content)

    def records(self, kind: str = "") -> list[dict[str, Any]]:
        """What the audit log has by now, of one kind or of all."""
        lines = map(json.loads, Path(self.config.audit_path).read_text().splitlines())
        return [line for line in lines if kind in ("", line["type"])]

    def wait(self) -> int:
        """Wait for the process to end by itself."""
        return self.process.wait(WAIT_SECONDS)

    def errors(self) -> str:
        """What the session wrote to its log, once it has ended."""
        self.process.wait(WAIT_SECONDS)
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def close(self) -> None:
        self.channel.close()
        try:
            self.process.wait(WAIT_SECONDS)
        finally:
            self.process.kill()
            assert self.process.stderr is not None
            self.process.stderr.close()


@contextlib.contextmanager
def open_host(**fields: Any) -> Iterator[Host]:
    """Start a session process; its folder is short enough for socket paths."""
    folder = Path(tempfile.mkdtemp(prefix="hb-", dir="/tmp"))
    host = Host(folder, **fields)
    try:
        yield host
    finally:
        host.close()
        shutil.rmtree(folder)


class BareKernel:
    """A kernel's connection, one message at a time."""

    def __init__(self, host: Host, keys: tuple[bytes, bytes] | None = None, endpoint: str = "") -> None:
        self.host = host
        self.connection = Connection(Role.KERNEL)
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_serverkey = host.server_public.encode()
        self.socket.curve_publickey, self.socket.curve_secretkey = keys or host.new_key()
        self.socket.connect(endpoint or host.config.endpoint)

    def greet(self, versions: tuple[int, ...] = PROTOCOL_VERSIONS) -> Welcome:
        self.say(Hello(versions=versions, client="test"))
        return self.hear(Welcome)

    def say(self, message: AnyMessage, *bulk: bytes) -> None:
        self.socket.send_multipart(self.connection.send(message, bulk))

    def say_raw(self, frames: Sequence[bytes]) -> None:
        self.socket.send_multipart(frames)

    def receive(self, seconds: float = WAIT_SECONDS) -> tuple[AnyMessage | None, Sequence[Frame]]:
        assert self.socket.poll(int(seconds * 1000)), "the bridge said nothing"
        return self.connection.receive(self.socket.recv_multipart())

    def is_silent(self, seconds: float = 0.5) -> bool:
        return not self.socket.poll(int(seconds * 1000))

    def hear(self, kind: type) -> Any:
        """Give the next message, which must be of a kind."""
        message, _ = self.receive()
        assert isinstance(message, kind), message
        return message

    def ask(self, tool: str, *, timeout: float = 15.0, **fields: Any) -> int:
        """Send a request: the keywords are the tool's, but `marks`, `contents` and those of `WIRE_FIELDS` the wire's."""
        contents = fields.pop("contents", ())
        wire = {name: fields.pop(name) for name in WIRE_FIELDS if name in fields}
        wire["secrets"] = fields.pop("marks", ())
        call_id = self.connection.next_id()
        self.say(
            ToolRequest(
                id=call_id, tool=tool, arguments=fields, timeout_seconds=timeout, **{"window_bytes": 1 << 20, **wire}
            ),
            *contents,
        )
        return call_id

    def answer(self, call_id: int) -> Answer:
        """Collect one call's chunks and reply; other calls' messages are an error here."""
        answer = Answer()
        while True:
            message, bulk = self.receive()
            if isinstance(message, Chunk) and message.id == call_id:
                answer.streams[message.stream] = answer.streams.get(message.stream, b"") + bytes(bulk[0])
            elif isinstance(message, ToolReply) and message.id == call_id:
                answer.reply = message
                answer.bulk = dict(zip(message.bulk, map(bytes, bulk), strict=True))
                return answer
            else:
                raise AssertionError(f"waiting for call {call_id}, got {message}")

    def call(self, tool: str, **fields: Any) -> Answer:
        return self.answer(self.ask(tool, **fields))

    def close(self) -> None:
        self.context.destroy(linger=0)


class Answer:
    """What a call came to."""

    reply: ToolReply

    def __init__(self) -> None:
        self.streams: dict[str, bytes] = {}
        self.bulk: dict[str, bytes] = {}

    @property
    def code(self) -> str:
        """The failure's code, `"ok"` for a result."""
        return self.reply.failure.code.value if self.reply.failure else "ok"

    @property
    def content(self) -> bytes:
        """A file's bytes, whichever way they came."""
        return self.bulk.get("content", b"") or self.streams.get("body", b"")


@contextlib.contextmanager
def open_kernel(host: Host, keys: tuple[bytes, bytes] | None = None, endpoint: str = "") -> Iterator[BareKernel]:
    kernel = BareKernel(host, keys, endpoint)
    try:
        yield kernel
    finally:
        kernel.close()


def is_goodbye(message: AnyMessage | None, code: str) -> bool:
    return isinstance(message, Goodbye) and message.code is not None and message.code.value == code


def readable(channel: socket.socket, seconds: float) -> bool:
    return bool(select.select([channel], [], [], seconds)[0])


def commands_like(text: str) -> list[psutil.Process]:
    """The processes, but for this one, that have a text in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if text in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return [process for process in found if process.pid != os.getpid()]
