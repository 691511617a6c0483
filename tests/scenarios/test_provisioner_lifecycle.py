"""Kernels through jupyter_client, with everything real: start, call, interrupt, restart, end, and every way to fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from kernel_machine import Machine

from host_bridge.errors import ConfigurationError, HostBridgeError, PolicyError, SandboxError, SessionError
from host_bridge.provisioning.options import HostTool, LaunchOptions
from host_bridge.provisioning.provisioner import HermesProvisioner
from host_bridge.provisioning.sweep import sweep
from host_bridge.rundirs.processes import identify, wait_for_end

READY_SECONDS = 60.0
UNCONFINED = "[sandbox]\nbackend = 'none'\n"
CALL = "import hermes_runtime; print(hermes_runtime.read_file('greeting.txt'), end='')"


class Kernel:
    """A started kernel and a client of it."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: BlockingKernelClient = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=READY_SECONDS)

    @property
    def provisioner(self) -> HermesProvisioner:
        assert isinstance(self.manager.provisioner, HermesProvisioner)
        return self.manager.provisioner

    def run(self, code: str) -> str:
        """Execute code and give its output, or the name of the error and its text."""
        pieces: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                pieces.append(content["text"])
            elif message["msg_type"] == "error":
                pieces.append(f"{content['ename']}: {content['evalue']}")

        self.client.execute_interactive(code, output_hook=hear, timeout=READY_SECONDS)
        return "".join(pieces)

    def shut_down(self, **arguments: Any) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(**arguments)


@pytest.fixture
def start(machine: Machine) -> Iterator[Callable[..., Kernel]]:
    (machine.workspace / "greeting.txt").write_text("hello")
    started: list[Kernel] = []

    def start(*, manager: KernelManager | None = None, **arguments: Any) -> Kernel:
        manager = manager or KernelManager(kernel_name="hermes")
        manager.start_kernel(**arguments)
        kernel = Kernel(manager)
        started.append(kernel)
        return kernel

    yield start
    for kernel in started:
        if kernel.manager.has_kernel:
            kernel.shut_down(now=True)
        else:
            kernel.client.stop_channels()
            kernel.manager.cleanup_resources()


def test_a_kernel_calls_a_tool_and_leaves_nothing_but_its_record(
    machine: Machine, start: Callable[..., Kernel]
) -> None:
    kernel = start()
    assert kernel.run(CALL) == "hello"
    session = kernel.provisioner.session
    assert session is not None
    kernel.shut_down()
    machine.wait_until_clean()
    assert [call.outcome for call in session.calls] == ["ok"]
    assert [path.name for path in machine.audit.iterdir()] == [f"{session.session_id}.jsonl"]


def test_channels_and_ticket_are_for_this_user_alone(machine: Machine, start: Callable[..., Kernel]) -> None:
    kernel = start()
    (directory,) = machine.run_directories()
    info = kernel.manager.get_connection_info()
    assert info["transport"] == "ipc"
    assert info["ip"] == f"{directory}/s/k"
    assert directory.stat().st_mode & 0o777 == 0o700
    # The SDK has read the ticket, and neither a cell nor a saved output can.
    kernel.run("import hermes_runtime; hermes_runtime.tools()")
    assert list((directory / "k").iterdir()) == []
    assert kernel.run("import os; print([name for name in os.environ if 'SESSION' in name])") == "[]\n"


def test_channels_over_tcp_are_encrypted(machine: Machine, start: Callable[..., Kernel]) -> None:
    machine.configure(UNCONFINED)
    manager = KernelManager(kernel_name="hermes")
    manager.config.HermesProvisioner.channels = "tcp"
    kernel = start(manager=manager)
    info = manager.get_connection_info()
    assert info["transport"] == "tcp"
    assert info["curve_publickey"]
    assert kernel.run(CALL) == "hello"
    kernel.shut_down()
    machine.wait_until_clean()


def test_a_restart_keeps_the_session_and_its_budget_but_not_the_key(
    machine: Machine, start: Callable[..., Kernel]
) -> None:
    kernel = start(hermes=LaunchOptions(budgets={"calls": 2, "calls.read_file": 9, "bytes_out": 10_000}))
    session = kernel.provisioner.session
    assert kernel.run(CALL) == "hello"
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=READY_SECONDS)
    assert kernel.provisioner.session is session
    used = "{each.name: each.used for each in hermes_runtime.budget() if each.name in ('calls', 'bytes', 'calls.read_file')}"
    assert kernel.run(f"import hermes_runtime; print({used}, end='')") == str(
        {"calls": 1.0, "bytes": 5.0, "calls.read_file": 1.0}
    )
    assert kernel.run(CALL) == "hello"
    assert "BudgetExceededError" in kernel.run(CALL)
    assert len(machine.bridges()) == 1
    kernel.shut_down()
    machine.wait_until_clean()


def test_a_kernel_that_died_is_restarted_with_a_working_bridge(machine: Machine, start: Callable[..., Kernel]) -> None:
    spawned: list[float] = []
    kernel = start(hermes=LaunchOptions(on_spawned=lambda: spawned.append(time.monotonic())))
    assert kernel.provisioner.pid is not None
    process = identify(kernel.provisioner.pid)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=READY_SECONDS)
    assert len(spawned) == 2  # the application was told of both processes
    assert kernel.run(CALL) == "hello"
    assert len(machine.run_directories()) == 1


def test_the_same_manager_starts_again_after_its_end(machine: Machine, start: Callable[..., Kernel]) -> None:
    with zmq.Context() as context:  # one of its own a manager destroys at its first end
        manager = KernelManager(kernel_name="hermes", context=context)
        first = start(manager=manager)
        session = first.provisioner.session
        first.shut_down()
        machine.wait_until_clean()
        second = start(manager=manager)
        assert second.provisioner.session is not session
        assert second.run(CALL) == "hello"
        second.shut_down()
        machine.wait_until_clean()


def test_an_interrupt_ends_the_cell_and_spares_the_session(machine: Machine, start: Callable[..., Kernel]) -> None:
    kernel = start()
    message = kernel.client.execute("import time\nprint('on', flush=True)\ntime.sleep(600)")
    while kernel.client.get_iopub_msg(timeout=READY_SECONDS)["msg_type"] != "stream":
        pass
    kernel.manager.interrupt_kernel()
    while (reply := kernel.client.get_shell_msg(timeout=READY_SECONDS))["parent_header"]["msg_id"] != message:
        pass
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert kernel.run(CALL) == "hello"


def test_a_kernel_that_ignores_every_request_to_end_is_gone_in_time(
    machine: Machine, start: Callable[..., Kernel]
) -> None:
    kernel = start()
    kernel.manager.shutdown_wait_time = 1.0
    kernel.run("import signal\nfor number in (2, 15): signal.signal(number, signal.SIG_IGN)")
    kernel.client.execute("while True: pass")
    begun = time.monotonic()
    kernel.shut_down()
    machine.wait_until_clean()
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_cell_started_does_not_outlive_its_kernel(
    machine: Machine, start: Callable[..., Kernel], restart: bool
) -> None:
    machine.configure(UNCONFINED)  # in a sandbox nothing outlives its first process
    kernel = start()
    number = kernel.run("import os, subprocess; print(subprocess.Popen(['sleep', '600']).pid); os.kill(os.getpid(), 0)")
    child = identify(int(number))
    assert child is not None
    assert kernel.provisioner.pid is not None
    os.kill(kernel.provisioner.pid, signal.SIGKILL)  # so that the kernel can't see to it
    if restart:
        kernel.manager.restart_kernel(now=True)
    else:
        kernel.shut_down()
    assert wait_for_end(child, 10)


def test_the_death_of_a_bridge_is_one_kernels_affair(machine: Machine, start: Callable[..., Kernel]) -> None:
    struck, other = start(), start()
    assert struck.run(CALL) == other.run(CALL) == "hello"
    session = struck.provisioner.session
    assert session is not None
    assert session.pid is not None
    os.kill(session.pid, signal.SIGKILL)
    assert session.wait_over(10)
    assert "killed by SIGKILL" in str(session.failure)
    assert "BridgeUnavailableError" in struck.run(CALL)
    assert struck.run("print(1)") == "1\n"
    assert other.run(CALL) == "hello"
    # A restart is a person's decision and brings a new session.
    struck.manager.restart_kernel()
    struck.client.wait_for_ready(timeout=READY_SECONDS)
    assert struck.run(CALL) == "hello"
    assert struck.provisioner.session is not session


def test_a_kernel_cannot_get_a_new_budget_by_ending_its_bridge(machine: Machine, start: Callable[..., Kernel]) -> None:
    kernel = start(hermes=LaunchOptions(budgets={"calls": 5}))
    session = kernel.provisioner.session
    assert session is not None
    assert session.pid is not None
    os.kill(session.pid, signal.SIGKILL)
    assert session.wait_over(10)
    with pytest.raises(SessionError, match="start another"):
        kernel.manager.restart_kernel()
    machine.wait_until_clean()


def test_a_cell_that_is_not_running_can_call_nothing(machine: Machine, start: Callable[..., Kernel]) -> None:
    kernel = start(hermes=LaunchOptions(marks_cells=True))
    session = kernel.provisioner.session
    assert session is not None
    assert "Error" in kernel.run(CALL)
    session.cell_started(3, "cell-3")
    assert kernel.run(CALL) == "hello"
    session.cell_settled(3)
    assert "Error" in kernel.run(CALL)
    assert [call.cell_index for call in session.calls if call.outcome == "ok"] == [3]


def test_a_tool_of_the_host_application_is_called_from_a_cell(machine: Machine, start: Callable[..., Kernel]) -> None:
    tool = HostTool("open_ticket", lambda arguments, _: {"number": 7, **arguments}, "Open a ticket.")
    options = LaunchOptions(tools=(tool,), policy_rules='version = 1\n[rules]\nallow = ["open_ticket"]')
    kernel = start(hermes=options)
    assert (
        kernel.run("import hermes_runtime as h; print(h.call('open_ticket', title='x'))")
        == "{'number': 7, 'title': 'x'}\n"
    )


# starts that fail ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "configuration", "error", "match"),
    [
        (LaunchOptions(policy_rules="not toml ["), "", PolicyError, "TOML"),
        (LaunchOptions(policy_files=("absent.toml",)), "", PolicyError, "absent.toml"),
        (LaunchOptions(profile="everything"), "", PolicyError, "everything"),
        (LaunchOptions(workspace="absent"), "", ConfigurationError, "not a folder"),
        (LaunchOptions(budgets={"cals": 1}), "", ConfigurationError, "cals"),
        (LaunchOptions(audit_path="/proc/nowhere/audit.jsonl"), "", HostBridgeError, "nowhere"),
        (LaunchOptions(), "[session]\nprofil = 'x'", ConfigurationError, "did you mean `profile`"),
        (LaunchOptions(), "[bridge]\nsocket = '/tmp/no-supervisor'", SessionError, "bridge serve"),
    ],
)
def test_a_start_that_is_refused_says_why_and_leaves_nothing(
    machine: Machine, options: LaunchOptions, configuration: str, error: type[Exception], match: str
) -> None:
    machine.configure(configuration)
    manager = KernelManager(kernel_name="hermes")
    with pytest.raises(error, match=match):
        manager.start_kernel(hermes=options)
    assert not manager.has_kernel
    machine.wait_until_clean()
    manager.cleanup_resources()


def test_options_of_another_type_are_refused(machine: Machine) -> None:
    manager = KernelManager(kernel_name="hermes")
    with pytest.raises(TypeError, match="LaunchOptions"):
        manager.start_kernel(hermes={"profile": "full"})
    machine.wait_until_clean()
    manager.cleanup_resources()


@pytest.fixture
def install_spec(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(machine.root / "data"))

    def install_spec(argv: list[str] | None = None, **config: Any) -> str:
        original = json.loads(
            Path(KernelSpecManager().get_kernel_spec("hermes").resource_dir, "kernel.json").read_text()
        )
        original["metadata"]["kernel_provisioner"]["config"] = config
        original["argv"] = argv or original["argv"]
        folder = machine.root / "data" / "kernels" / "changed"
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(original))
        return "changed"

    return install_spec


@pytest.mark.parametrize(("configuration", "error"), [("", SandboxError), (UNCONFINED, FileNotFoundError)])
def test_a_kernel_that_cannot_be_started_leaves_nothing(
    machine: Machine, install_spec: Callable[..., str], configuration: str, error: type[Exception]
) -> None:
    machine.configure(configuration)
    manager = KernelManager(kernel_name=install_spec(argv=["/no/such/python", "{connection_file}"]))
    with pytest.raises(error, match="/no/such/python"):
        manager.start_kernel()
    machine.wait_until_clean()
    manager.cleanup_resources()


def test_a_kernel_spec_narrows_the_profile(
    machine: Machine, install_spec: Callable[..., str], start: Callable[..., Kernel]
) -> None:
    kernel = start(manager=KernelManager(kernel_name=install_spec(profile="read-only")))
    assert kernel.run(CALL) == "hello"
    assert "ToolDeniedError" in kernel.run("hermes_runtime.write_file('new.txt', 'x')")


@pytest.mark.parametrize("config", [{"prompt": "terminal"}, {"config": {}}, {"log": None}, {"session": None}])
def test_a_kernel_spec_sets_nothing_it_has_no_business_with(
    machine: Machine, install_spec: Callable[..., str], config: dict[str, Any]
) -> None:
    manager = KernelManager(kernel_name=install_spec(**config))
    with pytest.raises(ConfigurationError, match=next(iter(config))):
        manager.start_kernel()
    manager.cleanup_resources()


# crashes -------------------------------------------------------------------------------------------------------------------

HOST = f"""
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="hermes")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout={READY_SECONDS})
print(manager.provisioner.pid, flush=True)
for line in sys.stdin:
    client.execute(line)
    print("sent", flush=True)
"""


@pytest.mark.parametrize("configuration", ["", UNCONFINED])
def test_a_killed_host_takes_everything_along_but_files_and_those_go_at_the_next_start(
    machine: Machine, start: Callable[..., Kernel], configuration: str
) -> None:
    machine.configure(configuration)
    host = subprocess.Popen([sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    assert host.stdin is not None
    kernel = int(host.stdout.readline())
    # Stuck in C code with the interpreter's lock held: nothing in the kernel can notice that its host is gone.
    host.stdin.write("import re; re.match('(a+)+$', 'a' * 60 + 'b')\n")
    host.stdin.flush()
    assert host.stdout.readline() == "sent\n"
    assert kernel in machine.processes()
    assert len(machine.bridges()) == 1
    begun = time.monotonic()
    host.kill()
    host.communicate()
    machine.wait_until_clean(files=False)
    assert time.monotonic() - begun < 6
    (left,) = machine.run_directories()
    assert len(machine.connection_files()) == 1
    next_kernel = start()
    assert left not in machine.run_directories()
    assert len(machine.connection_files()) == 1
    next_kernel.shut_down()
    machine.wait_until_clean()


def test_a_host_that_forgets_its_kernel_still_ends_it_in_order(machine: Machine) -> None:
    subprocess.run(
        [sys.executable, "-c", HOST], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60
    )
    machine.wait_until_clean(files=False)
    assert machine.run_directories() == []
    (log,) = machine.audit.iterdir()
    assert '"session_closed"' in log.read_text().splitlines()[-1]


def test_a_forked_child_of_the_host_ends_nothing(machine: Machine, start: Callable[..., Kernel]) -> None:
    kernel = start()
    child = os.fork()
    if child == 0:
        try:
            kernel.provisioner._kernel.close()  # type: ignore[union-attr] - what its exit would do
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert kernel.run(CALL) == "hello"


def test_the_provisioner_brings_nothing_of_the_executor_along() -> None:
    script = "import sys, host_bridge.provisioning.provisioner; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"papermill", "nbformat", "nbclient", "IPython", "httpx", "ddgs", "scrapbook", "pandas"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_sweep_spares_what_lives(machine: Machine, start: Callable[..., Kernel]) -> None:
    kernel = start()
    assert sweep().removed == ()
    assert kernel.run(CALL) == "hello"


def test_a_temporary_folder_with_a_long_name_is_no_obstacle(
    machine: Machine, start: Callable[..., Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    long = machine.root / ("t" * 150)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    kernel = start()
    assert kernel.run(CALL) == "hello"
    directory = Path(kernel.manager.ip).parent.parent
    kernel.shut_down()
    assert not directory.exists()


# other ways to run a session -----------------------------------------------------------------------------------------------


def test_a_supervisor_runs_the_sessions_where_one_is_configured(machine: Machine, start: Callable[..., Kernel]) -> None:
    socket_path = machine.root / "sup" / "bridge.sock"
    machine.configure(f"[bridge]\nsocket = '{socket_path}'")
    command = "from host_bridge.provisioning.supervisor import serve; import sys; serve(sys.argv[1])"
    supervisor = subprocess.Popen([sys.executable, "-c", command, str(socket_path)], stderr=subprocess.PIPE, text=True)
    assert supervisor.stderr is not None
    assert "listening" in supervisor.stderr.readline()
    try:
        kernel = start()
        assert kernel.run(CALL) == "hello"
        session = kernel.provisioner.session
        assert session is not None
        assert session.pid is None
        (bridge,) = machine.bridges()
        assert f"PPid:\t{supervisor.pid}" in Path(f"/proc/{bridge}/status").read_text()
        kernel.shut_down()
        assert "started" in supervisor.stderr.readline()
        assert "ended with 0" in supervisor.stderr.readline()
    finally:
        supervisor.terminate()
        supervisor.communicate(timeout=20)
    machine.wait_until_clean()
