"""Applications that know nothing of this product: choosing the kernel is all it takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel_machine import Machine
from tornado.websocket import WebSocketClientConnection, websocket_connect

from host_bridge.provisioning.sweep import sweep

WAIT_SECONDS = 60.0
CALL = "import hermes_runtime\nprint(hermes_runtime.read_file('greeting.txt'), end='')"
# `python -m`, but for a grammar that jsonschema compiles at import if it is installed, for two seconds, and does without.
LAUNCH = """
import runpy, sys
sys.modules["rfc3987_syntax"] = None
del sys.argv[0]
runpy.run_module(sys.argv[0], None, "__main__", True)
"""
SPEC = {"name": "hermes", "display_name": "Hermes", "language": "python"}


@pytest.fixture
def notebook(machine: Machine) -> Path:
    (machine.workspace / "greeting.txt").write_text("hello")
    path = machine.workspace / "in.ipynb"
    cells = [nbformat.v4.new_code_cell(CALL), nbformat.v4.new_code_cell("import os; print(os.getcwd())")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": SPEC}), path)
    return path


def outputs(path: Path) -> list[str]:
    book = nbformat.read(path, as_version=4)
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in book.cells]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)


# programs that execute a notebook ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_papermill_runs_it(machine: Machine, notebook: Path) -> None:
    run(sys.executable, "-m", "papermill", "-k", "hermes", str(notebook), "out.ipynb", "--no-progress-bar")
    assert outputs(machine.workspace / "out.ipynb")[0] == "hello"
    machine.wait_until_clean()
    assert len(list(machine.audit.iterdir())) == 1


@pytest.mark.slow
def test_nbconvert_runs_it(machine: Machine, notebook: Path) -> None:
    run(sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output", "out.ipynb", str(notebook))
    assert outputs(machine.workspace / "out.ipynb") == ["hello", f"{machine.workspace}\n"]
    machine.wait_until_clean()


@pytest.mark.slow
def test_nbclient_runs_it_where_the_notebook_lies(machine: Machine, notebook: Path) -> None:
    # The working directory decides what the workspace is; here it isn't the program's own.
    elsewhere = machine.root / "elsewhere"
    elsewhere.mkdir()
    script = (
        "import nbclient, nbformat, sys\n"
        "book = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(book, resources={'metadata': {'path': sys.argv[2]}}).execute()\n"
        "nbformat.write(book, 'out.ipynb')\n"
    )
    command = [sys.executable, "-c", script, str(notebook), str(machine.workspace)]
    subprocess.run(command, check=True, timeout=110, cwd=elsewhere)
    assert outputs(elsewhere / "out.ipynb") == ["hello", f"{machine.workspace}\n"]
    machine.wait_until_clean()


@pytest.mark.slow
def test_a_failing_cell_leaves_nothing_either(machine: Machine, notebook: Path) -> None:
    book = nbformat.read(notebook, as_version=4)
    book.cells[1].source = "import os; os.kill(os.getpid(), 9)"
    nbformat.write(book, notebook)
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--execute",
        "--to",
        "notebook",
        "--output",
        "out.ipynb",
        str(notebook),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode != 0
    assert "died" in done.stderr
    machine.wait_until_clean()


# servers -------------------------------------------------------------------------------------------------------------------


class Server:
    """A Jupyter application that serves kernels over HTTP."""

    def __init__(self, command: list[str], port: int, root: Path) -> None:
        self.base = f"127.0.0.1:{port}"
        self.log = root / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", LAUNCH, *command], stdout=log, stderr=log)
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


def jupyter_server(machine: Machine) -> Server:
    port = free_port()
    options = [f"--ServerApp.port={port}", f"--ServerApp.root_dir={machine.workspace}", "--IdentityProvider.token="]
    return Server(
        ["jupyter_server", "--no-browser", "--allow-root", "--ServerApp.disable_check_xsrf=True", *options],
        port,
        machine.root,
    )


def kernel_gateway(machine: Machine) -> Server:
    port = free_port()
    options = [f"--KernelGatewayApp.port={port}", "--JupyterWebsocketPersonality.list_kernels=True"]
    return Server(["kernel_gateway", *options], port, machine.root)


@pytest.fixture(params=[jupyter_server, kernel_gateway])
def server(machine: Machine, notebook: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    made = request.param(machine)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()


@pytest.mark.slow
def test_a_server_starts_interrupts_restarts_and_ends_kernels(machine: Machine, server: Server) -> None:
    async def use(kernel_id: str) -> None:
        async with channels(server, kernel_id) as kernel:
            assert await kernel.run(CALL) == "hello"
            asleep = await kernel.send("print('on', flush=True)\nimport time; time.sleep(600)")
            while (await kernel.receive())["msg_type"] != "stream":
                pass
            server.request("POST", f"/api/kernels/{kernel_id}/interrupt")
            reply, _ = await kernel.settled(asleep)
            assert reply["ename"] == "KeyboardInterrupt"
            assert await kernel.run(CALL) == "hello"
            server.request("POST", f"/api/kernels/{kernel_id}/restart")
        async with channels(server, kernel_id) as kernel:
            assert await kernel.run(CALL) == "hello"
            await kernel.send("import os; os._exit(1)")
            while (message := await kernel.receive())["content"].get("execution_state") != "restarting":
                assert message["msg_type"] != "error"
        async with channels(server, kernel_id) as kernel:
            assert await kernel.run(CALL) == "hello"

    kernel_id = server.request("POST", "/api/kernels", {"name": "hermes", "path": "in.ipynb"})["id"]
    asyncio.run(use(kernel_id))
    assert len(machine.bridges()) == len(machine.run_directories()) == len(list(machine.audit.iterdir())) == 1
    server.request("DELETE", f"/api/kernels/{kernel_id}")
    assert machine.run_directories() == machine.bridges() == machine.connection_files() == []
    server.end()
    machine.wait_until_clean()


@pytest.mark.slow
def test_a_server_that_is_ended_or_killed_takes_its_kernels_along(machine: Machine, server: Server) -> None:
    for _ in range(2):
        server.request("POST", "/api/kernels", {"name": "hermes"})
    assert len(machine.bridges()) == 2
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    machine.wait_until_clean(files=False)
    assert len(machine.run_directories()) == 2
    assert len(sweep().removed) == 2
    machine.wait_until_clean()


@pytest.mark.slow
@pytest.mark.parametrize("server", [jupyter_server], indirect=True)
def test_a_notebook_in_a_server_is_named_in_the_record_and_can_narrow_itself(
    machine: Machine, notebook: Path, server: Server
) -> None:
    book = nbformat.read(notebook, as_version=4)
    book.metadata["hermes"] = {"permissions": {"allow": []}}
    nbformat.write(book, notebook)
    body = {"path": "in.ipynb", "name": "in.ipynb", "type": "notebook", "kernel": {"name": "hermes"}}
    kernel_id = server.request("POST", "/api/sessions", body)["kernel"]["id"]

    async def use() -> str:
        async with channels(server, kernel_id) as kernel:
            return await kernel.run(
                "import hermes_runtime\ntry: hermes_runtime.read_file('greeting.txt')\nexcept PermissionError: print('no')"
            )

    assert asyncio.run(use()) == "no\n"
    (log,) = machine.audit.iterdir()
    assert str(notebook) in log.read_text().splitlines()[0]
    server.end()
    machine.wait_until_clean()


@pytest.mark.slow
@pytest.mark.parametrize("server", [jupyter_server], indirect=True)
def test_a_policy_that_does_not_load_is_the_servers_answer_and_leaves_nothing(machine: Machine, server: Server) -> None:
    machine.configure("[session]\nprofile = 'everything'")
    with pytest.raises(AssertionError, match="everything"):
        server.request("POST", "/api/kernels", {"name": "hermes"})
    assert machine.run_directories() == machine.bridges() == machine.connection_files() == []
    server.end()
    machine.wait_until_clean()
