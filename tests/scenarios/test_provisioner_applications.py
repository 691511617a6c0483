"""Applications that know nothing of this product: choosing the kernel is all it takes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from kernel_machine import Machine
from servers import Server, channels, free_port

from host_bridge.provisioning.sweep import sweep

CALL = "import hermes_runtime\nprint(hermes_runtime.read_file('greeting.txt'), end='')"
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
