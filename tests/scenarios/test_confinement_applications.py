"""Confined kernels in the applications people use, as whoever runs the tests and as somebody without rights.

Choosing the kernel is all it takes; nothing is left behind: no process, folder, socket, connection file, nor an empty name in
the workspace. `test_provisioner_applications.py` has the servers' life cycles.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernel_machine import Machine
from kernel_trials import TRIALS
from people import Person, somebody_without_rights, whoever_runs_the_tests
from servers import Server, channels, free_port

from host_bridge.sandbox import probing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not probing.probe("bubblewrap").works, reason=probing.probe("bubblewrap").problem),
]

SPEC = {"name": "hermes", "display_name": "Hermes", "language": "python"}
CONFINED = (
    "status = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)\n"
    "print(status['Seccomp'], status['NoNewPrivs'])"
)
CALL = "import hermes_runtime\nprint(hermes_runtime.read_file('greeting.txt'), end='')"
CELLS = {CALL: "hello", CONFINED: "2 1\n", "!echo from a command": "from a command\r\n"}


@pytest.fixture(scope="module", params=["whoever runs the tests", "somebody without rights"])
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    if request.param == "whoever runs the tests":
        yield whoever_runs_the_tests()
        return
    with tempfile.TemporaryDirectory(prefix="hermes-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield somebody_without_rights(Path(folder, "env"))


@pytest.fixture
def place(person: Person) -> Iterator[tuple[Machine, dict[str, str]]]:
    """A machine that is this person's, and the variables for their processes."""
    machine = Machine(Path(tempfile.mkdtemp(prefix="hm-", dir="/var/tmp")))
    (machine.workspace / "greeting.txt").write_text("hello")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": SPEC}), machine.workspace / "in.ipynb")
    variables = person.settle(machine)
    yield machine, variables
    machine.end()


def run(person: Person, place: tuple[Machine, dict[str, str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    machine, variables = place
    command = person.command(*arguments)
    done = subprocess.run(command, cwd=machine.workspace, env=variables, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done


def check_clean(machine: Machine, *made: str) -> None:
    """Nothing is left, and the workspace holds what it held, and what was made."""
    machine.wait_until_clean()
    assert {path.name for path in machine.workspace.iterdir()} == {"greeting.txt", "in.ipynb", *made}


# programs that execute a notebook ------------------------------------------------------------------------------------------

NBCLIENT = (
    "import nbclient, nbformat\nbook = nbformat.read('in.ipynb', as_version=4)\n"
    "nbclient.NotebookClient(book).execute()\nnbformat.write(book, 'out.ipynb')"
)
PROGRAMS = {
    "papermill": ("-m", "papermill", "-k", "hermes", "in.ipynb", "out.ipynb", "--no-progress-bar"),
    "papermill with our engine": ("-m", "papermill", "--engine", "hermes", "-k", "hermes", "in.ipynb", "out.ipynb"),
    "hermes-runtime": ("-c", "from host_bridge.cli import main; main()", "run", "in.ipynb", "out.ipynb"),
    "nbclient": ("-c", NBCLIENT),
    "nbconvert": ("-m", "nbconvert", "--execute", "--to", "notebook", "--output", "out.ipynb", "in.ipynb"),
}
TAPED = ("papermill with our engine", "hermes-runtime")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_a_notebook_confined(
    person: Person, place: tuple[Machine, dict[str, str]], program: str
) -> None:
    machine, _ = place
    run(person, place, *PROGRAMS[program])
    check_clean(machine, "out.ipynb", *(["out.tape"] if program in TAPED else []))
    book = nbformat.read(machine.workspace / "out.ipynb", as_version=4)
    assert ["".join(o.get("text", "") for o in cell.outputs) for cell in book.cells] == list(CELLS.values())
    (log,) = machine.audit.iterdir()
    assert '"confinement":"bubblewrap' in log.read_text().splitlines()[0]


def test_nbval_finds_the_outputs_a_confined_kernel_gave(person: Person, place: tuple[Machine, dict[str, str]]) -> None:
    machine, _ = place
    run(person, place, *PROGRAMS["hermes-runtime"])
    done = run(person, place, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-q", "out.ipynb")
    assert f"{len(CELLS)} passed" in done.stdout
    check_clean(machine, "out.ipynb", "out.tape")


# servers -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("application", ["jupyter_server", "kernel_gateway"])
def test_a_server_serves_a_confined_kernel(
    person: Person, place: tuple[Machine, dict[str, str]], application: str
) -> None:
    machine, variables = place
    port = free_port()
    options = {
        "jupyter_server": [
            *("--no-browser", "--allow-root", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"),
            *(f"--ServerApp.port={port}", f"--ServerApp.root_dir={machine.workspace}"),
        ],
        "kernel_gateway": [f"--KernelGatewayApp.port={port}"],
    }[application]
    python = person.command()
    server = Server(
        [application, *options], port, machine.root, python=python, environment=variables, folder=machine.workspace
    )

    async def use(kernel_id: str) -> list[str]:
        async with channels(server, kernel_id) as kernel:
            printed = [await kernel.run(source) for source in CELLS]
            server.request("POST", f"/api/kernels/{kernel_id}/restart")
        async with channels(server, kernel_id) as kernel:
            return [*printed, await kernel.run(CALL)]

    try:
        kernel_id = server.request("POST", "/api/kernels", {"name": "hermes"})["id"]
        assert asyncio.run(use(kernel_id)) == [*CELLS.values(), "hello"]
        server.request("DELETE", f"/api/kernels/{kernel_id}")
        assert machine.run_directories() == machine.connection_files() == []
    finally:
        server.end()
    machine.wait_until_clean()


# what applications do to a kernel ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trials(person: Person) -> Iterator[dict[str, Any]]:
    machine = Machine(Path(tempfile.mkdtemp(prefix="hm-", dir="/var/tmp")))
    try:
        (machine.workspace / "greeting.txt").write_text("hello")
        (machine.workspace / "in.ipynb").touch()
        place = machine, person.settle(machine)
        command = person.command(str(Path(__file__).parents[1] / "kernel_trials.py"))
        done = subprocess.run(command, cwd=machine.workspace, env=place[1], capture_output=True, text=True, timeout=110)
        results = dict.fromkeys(TRIALS, f"it did not end, or was not begun: {done.stderr}")
        results |= dict(map(json.loads, done.stdout.splitlines()))
        try:
            check_clean(machine, "work.py", "__pycache__")
            results["nothing_is_left"] = ""
        except AssertionError as error:
            results["nothing_is_left"] = str(error)
        yield results
    finally:
        machine.end()


@pytest.mark.parametrize("name", [*TRIALS, "nothing_is_left"])
def test_a_confined_kernel_passes(trials: dict[str, Any], name: str) -> None:
    assert not trials[name], trials[name]


def test_a_killed_host_leaves_no_process_and_the_sweep_the_rest(
    person: Person, place: tuple[Machine, dict[str, str]]
) -> None:
    machine, variables = place
    script = str(Path(__file__).parents[1] / "kernel_trials.py")
    host = subprocess.Popen(
        person.command(script, "wait"), cwd=machine.workspace, env=variables, stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    assert host.stdout.readline() == "ready\n"
    assert any("hermes_runtime" in command for command in machine.processes().values())
    assert (machine.workspace / ".vscode").exists()  # the empty names that cover missing ones can be seen meanwhile
    host.kill()
    host.communicate()
    machine.wait_until_clean(files=False)
    assert len(machine.run_directories()) == 1
    run(person, place, "-c", "from host_bridge.provisioning.sweep import sweep; assert len(sweep().removed) == 1")
    check_clean(machine)
