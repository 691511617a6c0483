"""A kernel whose command is run by an application that knows no provisioners confines itself, or says why it doesn't start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from hermes_protocol.confinement import CONFINEMENT_VARIABLE, SELF_PREFIX
from hermes_runtime.confinement import landlock
from hermes_runtime.confinement.oneself import EXIT_NOT_CONFINED
from host_bridge.provisioning.sweep import sweep
from host_bridge.rundirs import records

SECONDS = 60.0
ARGV = [sys.executable, "-P", "-m", "hermes_runtime.kernel", "-f", "{connection_file}"]

pytestmark = pytest.mark.skipif(landlock.abi_version() < 4, reason="this system's Landlock is too old")


class Started:
    """A kernel on plain TCP, started by its command alone."""

    def __init__(self, workspace: Path, connection_file: Path, environment: dict[str, str]) -> None:
        self.manager = KernelManager(connection_file=str(connection_file))
        self.manager._kernel_spec = KernelSpec(argv=ARGV, display_name="Hermes", language="python")
        self.manager.start_kernel(cwd=str(workspace), env=environment)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    @property
    def process_group(self) -> int:
        return int(self.manager.provisioner.pgid)  # type: ignore[union-attr, attr-defined]

    def run(self, code: str) -> str:
        """Give what a cell printed, or its error with its notes."""
        pieces: list[str] = []

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "error":
                pieces.append(f"{content['ename']}: {content['evalue']}\n{content['traceback'][-1]}")
            else:
                pieces.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        self.client.execute_interactive(code, timeout=SECONDS, output_hook=take)
        return "".join(pieces)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def place() -> Iterator[Path]:
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="self-")))
    (root / "workspace" / "data").mkdir(parents=True)
    (root / "workspace" / ".git").mkdir()
    (root / "home").mkdir()
    (root / "home" / "secret").write_text("a secret")
    (root / "tmp").mkdir()
    yield root
    shutil.rmtree(root)


def environment(place: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "API_TOKEN": "hunter2", **more}


@pytest.fixture
def kernel(place: Path) -> Iterator[Started]:
    for planted in ("json", "msgspec", "zmq", "hermes_runtime", "sitecustomize"):
        code = f"import pathlib; pathlib.Path({str(place / 'workspace' / 'data')!r}, 'ran-{planted}').touch()\n"
        (place / "workspace" / f"{planted}.py").write_text(code)
    started = Started(place / "workspace", place / "connection.json", environment(place))
    yield started
    started.close()


def test_it_is_confined_to_its_workspace_and_ports(kernel: Started, place: Path) -> None:
    assert not list((place / "workspace" / "data").iterdir())  # nothing planted ran, not even confined
    status = kernel.run("print(open('/proc/self/status').read())")
    assert "Seccomp:\t2" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status

    assert kernel.run("open('data/new', 'w').write('kept')") == "4"
    assert (place / "workspace" / "data" / "new").read_text() == "kept"
    for attempt in (
        f"open({str(place / 'home' / 'secret')!r})",
        f"open({str(place / 'connection.json')!r})",
        "open('.git/config', 'w')",
        "open('.envrc', 'w')",
        "open('/etc/shadow')",
        f"open({str(place / 'outside')!r}, 'w')",
    ):
        answer = kernel.run(attempt)
        assert answer.startswith("PermissionError"), attempt
    assert "confined by itself" in kernel.run("open('new', 'w')")


def test_its_variables_are_gone_with_what_they_held(kernel: Started, place: Path) -> None:
    seen = kernel.run(
        "import os; print(dict(os.environ), open('/proc/self/environ').read(), open('/proc/self/cmdline').read())"
    )
    assert "hunter2" not in seen
    assert str(place / "home") not in seen
    assert f"'{CONFINEMENT_VARIABLE}': 'self'" in seen


def test_it_reaches_nobody_and_works(kernel: Started) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        assert "PermissionError" in kernel.run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)")
        assert "OSError" in kernel.run("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
        assert "PermissionError" in kernel.run("socket.socket().bind(('127.0.0.1', 0))")
        assert "PermissionError" in kernel.run("socket.socket(socket.AF_UNIX).connect('/run/docker.sock')")
        with pytest.raises(TimeoutError):
            listener.accept()
    assert kernel.run("!echo from a shell") == "from a shell\n"
    assert "started without a bridge" in kernel.run("hermes.terminal('true')")
    forked = "import os\nr, w = os.pipe()\nif os.fork(): print(os.read(r, 99), os.wait()[1])"
    assert kernel.run(f"{forked}\nelse: os.dup2(w, 1); print('from a child')") == "b'from a child\\n' 0\n"


def test_it_is_interrupted_and_restarted(kernel: Started, place: Path) -> None:
    timer = threading.Timer(0.5, os.killpg, (kernel.process_group, signal.SIGINT))
    timer.start()
    assert kernel.run("import time; time.sleep(60)").startswith("KeyboardInterrupt")
    timer.join()
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=SECONDS)
    assert "Seccomp:\t2" in kernel.run("print(open('/proc/self/status').read())")
    assert (
        len(list((place / "tmp").glob(f"{SELF_PREFIX}*"))) == 1
    )  # the first one's folder went with the second's start


def test_its_own_folder_is_emptied_at_its_end_and_removed_at_the_next_start_of_any_kernel(
    kernel: Started, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "bases", lambda: iter([str(place / "tmp")]))
    [folder] = (place / "tmp").glob(f"{SELF_PREFIX}*")
    kernel.run("import os, tempfile; open(tempfile.mkdtemp() + '/left', 'w').close()")
    assert len(list(folder.iterdir())) > 1
    assert sweep().removed == ()

    kernel.client.shutdown()
    kernel.manager.provisioner.process.wait(SECONDS)  # type: ignore[union-attr, attr-defined]

    assert list(folder.iterdir()) == []
    assert sweep().removed == (str(folder),)
    assert not folder.exists()


def test_a_child_of_a_cell_that_ends_empties_nothing(place: Path) -> None:
    folder = place / "tmp" / f"{SELF_PREFIX}x"
    folder.mkdir()
    (folder / "file").touch()
    code = (
        "import os, sys; from hermes_runtime.confinement.oneself import _empty_at_exit; _empty_at_exit(sys.argv[1])\n"
        "if child := os.fork(): os.waitpid(child, 0); print(os.listdir(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout == "['file']\n"
    assert not folder.exists()


# refusals --------------------------------------------------------------------------------------------------------------


def refusal(place: Path, *arguments: str, folder: Path | None = None, **variables: str) -> str:
    """Give what it says when it doesn't start."""
    given = arguments or ("-f", str(place / "connection.json"))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hermes_runtime.kernel", *given],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder or place / "workspace",
        env=environment(place, **variables),
    )
    assert done.returncode == EXIT_NOT_CONFINED, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def connection_file(place: Path) -> Path:
    ports = {f"{channel}_port": 50_000 + i for i, channel in enumerate(("shell", "iopub", "stdin", "hb", "control"))}
    path = place / "connection.json"
    path.write_text(json.dumps({"transport": "tcp", "ip": "127.0.0.1", "key": "k", **ports}))
    return path


def test_a_claim_is_checked_not_believed(place: Path, connection_file: Path) -> None:
    for claim in ("bubblewrap", "landlock", "self"):
        assert "the system says that this process is not confined" in refusal(place, **{CONFINEMENT_VARIABLE: claim})


@pytest.mark.parametrize("folder", ["home", "."])
def test_a_home_is_no_workspace(place: Path, connection_file: Path, folder: str) -> None:
    assert "it is a home folder, or holds one" in refusal(place, folder=place / folder)


def test_the_system_is_no_workspace(place: Path, connection_file: Path) -> None:
    assert "it belongs to the system" in refusal(place, folder=Path("/usr/share"))
    assert "can't be a kernel's workspace" in refusal(place, folder=Path("/"))


def test_without_the_option_that_keeps_the_folder_off_the_path_it_is_too_late(
    place: Path, connection_file: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hermes_runtime.kernel", "-f", str(connection_file)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=place / "workspace",
        env=environment(place),
    )
    assert done.returncode == EXIT_NOT_CONFINED
    assert "without Python's option -P" in done.stderr


def test_a_declaration_the_workspace_could_have_made_does_not_count(place: Path, connection_file: Path) -> None:
    (place / "workspace" / ".env").write_text(f"{CONFINEMENT_VARIABLE}=none\n")
    said = refusal(place, folder=place / "workspace" / "data", **{CONFINEMENT_VARIABLE: "none"})
    assert "what a kernel can write must not decide about its confinement" in said


def test_a_link_under_a_protected_name_is_refused(place: Path, connection_file: Path) -> None:
    (place / "workspace" / ".vscode").symlink_to("data")
    assert ".vscode is a symbolic link" in refusal(place)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "can't be used"), ("{}", "can't be used"), ('{"shell_port": 0}', "can't be used"), (None, "can't be used")],
)
def test_a_connection_file_that_is_none(place: Path, content: str | None, message: str) -> None:
    if content is not None:
        (place / "connection.json").write_text(content)
    assert message in refusal(place)


def test_a_ticket_is_of_no_use_to_who_can_not_connect(place: Path, connection_file: Path) -> None:
    assert "can't connect to a bridge" in refusal(place, HERMES_RUNTIME_SESSION="{}")


def test_declared_unconfined_it_is_what_it_is_told_to_be(place: Path) -> None:
    started = Started(
        place / "workspace", place / "connection.json", environment(place, **{CONFINEMENT_VARIABLE: "none"})
    )
    try:
        assert "Seccomp:\t0" in started.run("print(open('/proc/self/status').read())")
        assert started.run(f"open({str(place / 'home' / 'secret')!r}).read()") == "'a secret'"
    finally:
        started.close()


def test_a_word_nobody_knows_counts_as_the_strictest(place: Path) -> None:
    started = Started(
        place / "workspace", place / "connection.json", environment(place, **{CONFINEMENT_VARIABLE: "off"})
    )
    try:
        assert "Seccomp:\t2" in started.run("print(open('/proc/self/status').read())")
    finally:
        started.close()
