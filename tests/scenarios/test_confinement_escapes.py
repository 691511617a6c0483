"""An attack notebook, run by papermill as anybody would run it, on a machine full of things worth reaching.

The cells try every way out that `escape_probes` knows; here it is asserted that none led anywhere: by what the cells got, by
what listeners on the host heard, and by what the host's files look like afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from escape_probes import PROBES
from kernel_machine import Machine
from listeners import Listeners

from host_bridge.sandbox import probing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not probing.probe("bubblewrap").works, reason=probing.probe("bubblewrap").problem),
]

SECRETS = {
    "FAKE_API_TOKEN": "token-hunter2",
    "AWS_SECRET_ACCESS_KEY": "aws-hunter2",
    "OPENAI_API_KEY": "openai-hunter2",
    "JUPYTER_TOKEN": "jupyter-hunter2",
    "DATABASE_URL": "postgres://u:db-hunter2@h/d",
}
POLICY = 'version = 1\n[rules]\ndeny = ["terminal(git push *)"]\n'
TEMPORARY_BYTES = 8 * 2**20
FILES_THERE = ("AGENTS.md", ".env", ".bashrc", "hermes.toml")
PLANTED = """
import importlib.machinery, os, sys, sysconfig
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
with open("imported.log", "a") as log:
    print(__name__, status["Seccomp"], status["NoNewPrivs"], file=log)
"""
# Planted under a name of the standard library's, it must still be that module, or nothing would start at all.
STAND_IN = """
path = sysconfig.get_path("stdlib") + "/{}.py"
__path__ = [path.rpartition("/")[0]]
exec(compile(open(path).read(), path, "exec"))
"""
CELLS = {
    "observe": "import json, escape_probes\nhost = json.load(open('host.json'))\nprint(json.dumps(escape_probes.observe()))",
    "collect": "print(json.dumps(escape_probes.collect(host)))",
    "import": "import sched",
    "command": "!echo from a command; tty; stty size",
    "raw": "import os, subprocess; os.write(1, b'raw\\n'); subprocess.run(['echo', 'from a child']); print('printed')",
    "tool": "print(hermes.read_file('greeting.txt'), end='')",
    "data": "print(open(host['data_file']).read(), end=''); open('kept.txt', 'w').write('kept')",
    "daemon": (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        for _ in range(6000):\n"
        "            open('heartbeat', 'w').write(str(time.time())); time.sleep(0.02)\n"
        "    os._exit(0)\n"
        "while not os.path.exists('heartbeat'): time.sleep(0.01)"
    ),
}


class Attack:
    """One run of the notebook, and the machine it was to escape to."""

    def __init__(self) -> None:
        self.machine = Machine(Path(tempfile.mkdtemp(prefix="hm-", dir="/var/tmp")))  # /tmp inside is another
        self.root, self.workspace = self.machine.root, self.machine.workspace
        self.home = self._folder("home")
        self.listeners = Listeners([self.root, self.home, self.machine.runtime])
        self.bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self._furnish_host()
        self._furnish_workspace()
        self._write_notebook()
        self.before = self.snapshot()

    def run(self) -> None:
        self.output = self._run()
        self.printed = self._read()
        self.seen: dict[str, Any] = json.loads(self.printed["observe"])
        self.results: dict[str, Any] = json.loads(self.printed["collect"])

    def _folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, mode=0o700)
        return path

    def _write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _furnish_host(self) -> None:
        self.secret_files = [
            self._write(self.home / ".ssh" / "id_rsa", "private key"),
            self._write(self.home / ".netrc", "machine x login y password z"),
            self._write(self.root / ".env", "SECRET=1"),
            self._write(self.machine.jupyter_runtime / "kernel-other.json", '{"key": "of another kernel"}'),
        ]
        self.outside = self._write(self.root / "outside.txt", "of the host")
        self.data = self._write(self.root / "data" / "data.csv", "a,b\n")
        self.policy = self._write(self.workspace / "policies" / "team" / "rules.toml", POLICY)
        self.machine.configure(
            f"[policy]\nfiles = ['{self.policy}']\n"
            f"[sandbox]\nread_only_paths = ['{self.data.parent}']\ntemporary_bytes = {TEMPORARY_BYTES}\n"
        )

    def _furnish_workspace(self) -> None:
        shutil.copy(sys.modules["escape_probes"].__file__ or "", self.workspace)
        self._write(self.workspace / "greeting.txt", "hello")
        self._write(self.workspace / ".git" / "hooks" / "pre-commit", "#!/bin/sh\n")
        for name in (".git/config", "AGENTS.md", ".env", ".bashrc"):
            self._write(self.workspace / name, f"# {name}\n")
        self._write(self.workspace / "hermes.toml", "version = 1\n")
        for name in ("sitecustomize", "hermes_protocol", "runpy"):
            self._write(self.workspace / f"{name}.py", PLANTED)
        for name in ("json/__init__", "timeit", "sched"):  # imported before the confinement, after it, and by a cell
            self._write(self.workspace / f"{name.partition('/')[0]}.py", PLANTED + STAND_IN.format(name))
        for name, target in (("shadow", "/etc/shadow"), ("outside", self.outside), ("home", self.home), ("up", "..")):
            (self.workspace / f"link-{name}").symlink_to(target)
        self.host = {
            **self.listeners.ports,
            "addresses": _own_addresses(),
            "unix_paths": self.listeners.paths,
            "abstract": self.listeners.abstract,
            "secret_files": [*map(str, self.secret_files), "/etc/shadow"],
            "jupyter_folders": [str(self.machine.jupyter_runtime), str(self.machine.runtime)],
            "secrets": list(SECRETS.values()),
            "secret_names": list(SECRETS),
            "root": str(self.root),
            "home": str(self.home),
            "visible": ["data"],
            "site_packages": sysconfig.get_path("purelib"),
            "read_only_files": [str(self.data)],
            "data_file": str(self.data),
            "outside_file": str(self.outside),
            "islands": [".git", ".git/hooks", ".git/hooks/pre-commit", ".git/config", *FILES_THERE],
            "missing_islands": [".vscode", ".idea", ".claude", ".hermes", ".envrc", ".mcp.json"],
            "nested_file": "policies/team/rules.toml",
            "links": ["link-shadow", "link-outside", "link-home/.netrc", "link-home", "link-up/outside.txt", "link-up"],
            "processes": [os.getpid(), self.bystander.pid],
            "temporary_bytes": TEMPORARY_BYTES,
        }  # fmt: skip
        self._write(self.workspace / "host.json", json.dumps(self.host))

    def _write_notebook(self) -> None:
        cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
        kernel = {"name": "hermes", "display_name": "Hermes", "language": "python"}
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), self.workspace / "in.ipynb"
        )

    def _run(self) -> str:
        """Run it with an inherited descriptor of a secret file, and with a file of the host for its output."""
        leak = os.open(self.outside, os.O_RDWR)
        os.set_inheritable(leak, True)
        agents = {
            "SSH_AUTH_SOCK": self.listeners.paths[0],
            "DISPLAY": ":97",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x",
        }
        environment = {**os.environ, **self.machine.variables, **SECRETS, **agents, "HOME": str(self.home)}
        # The program, not `python -m papermill`: that would have the host itself import what lies in the workspace.
        program = str(Path(sys.executable).with_name("papermill"))
        command = [program, "-k", "hermes", "in.ipynb", "out.ipynb", "--no-progress-bar"]
        log = self.root / "papermill.log"
        with log.open("w") as file:
            file.write("the host's own words\n")
            file.flush()
            done = subprocess.run(
                command, cwd=self.workspace, env=environment, stdout=file, stderr=file, pass_fds=(leak,), timeout=110
            )
        os.close(leak)
        assert done.returncode == 0, log.read_text()
        return log.read_text()

    def _read(self) -> dict[str, str]:
        book = nbformat.read(self.workspace / "out.ipynb", as_version=4)
        texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in book.cells]
        return dict(zip(CELLS, texts, strict=True))

    def snapshot(self) -> dict[str, tuple[int, int, bytes]]:
        """Give what of the host must not change: content, mode, and time of change, by path."""
        paths = [*self.secret_files, self.outside, self.data, self.policy]
        paths += [self.workspace / name for name in self.host["islands"]]
        paths += [Path(sys.executable), Path(os.__file__), Path(sys.modules["host_bridge"].__file__ or "")]
        return {str(path): _state(path) for path in paths}

    def end(self) -> None:
        self.bystander.kill()
        self.bystander.wait()
        self.listeners.close()
        self.machine.end()


def _state(path: Path) -> tuple[int, int, bytes]:
    status = path.stat()
    return status.st_mode, status.st_mtime_ns, path.read_bytes() if path.is_file() else b""


def _own_addresses() -> list[str]:
    """Give the machine's addresses besides loopback, by asking which it would use; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:  # a machine without a network
            return []
        return [probe.getsockname()[0]]


@pytest.fixture(scope="module")
def attack() -> Iterator[Attack]:
    made = Attack()
    try:
        made.run()
        yield made
    finally:
        made.end()


# what the cells got ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_cell_gets_nothing_by(attack: Attack, name: str) -> None:
    assert not attack.results[name]["loot"], attack.results[name]


def test_no_listener_of_the_host_heard_anything(attack: Attack) -> None:
    assert attack.listeners.heard == []
    attack.listeners.knock()  # or none of them could have
    attack.listeners.heard.clear()


def test_nothing_of_the_host_has_changed(attack: Attack) -> None:
    assert attack.snapshot() == attack.before
    places = (
        attack.root,
        attack.home,
        Path("/var/tmp"),
        Path(sys.prefix),
        Path(sysconfig.get_path("purelib")),
        Path("/usr"),
    )
    assert [str(place) for place in places if list(place.glob("escaped*"))] == []


def test_the_covers_of_missing_names_are_gone(attack: Attack) -> None:
    assert [name for name in attack.host["missing_islands"] if (attack.workspace / name).exists()] == []


def test_a_process_of_the_host_still_runs(attack: Attack) -> None:
    assert attack.bystander.poll() is None


def test_nothing_in_the_workspace_runs_with_somebody_elses_rights(attack: Attack) -> None:
    files = [path for path in attack.workspace.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [str(path) for path in files if path.stat().st_mode & 0o6000] == []


def test_no_process_outlives_the_run_nor_any_file(attack: Attack) -> None:
    attack.machine.jupyter_runtime.joinpath("kernel-other.json").unlink()
    attack.machine.wait_until_clean()
    last = (attack.workspace / "heartbeat").read_text()
    time.sleep(0.2)  # ten beats of a daemon that would still live, seen by nothing but its work
    assert (attack.workspace / "heartbeat").read_text() == last


# both layers are there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["status", "child_status"])
def test_seccomp_and_no_new_privileges_hold_for_the_kernel_and_its_children(attack: Attack, whose: str) -> None:
    status = attack.seen[whose]
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}


@pytest.mark.parametrize("name", ["user", "mnt", "pid", "net", "ipc", "uts"])
def test_the_namespaces_are_not_the_hosts(attack: Attack, name: str) -> None:
    assert attack.seen["namespaces"][name] != str(Path(f"/proc/self/ns/{name}").readlink())


def test_landlock_holds_where_the_mounts_alone_would_let_through(attack: Attack) -> None:
    if not probing.probe("bubblewrap").landlock:
        pytest.skip("this system has no Landlock")
    # /run/hermes/s is a writable mount; only Landlock forbids it anything but sockets.
    mount = next(line for line in attack.seen["mounts"].splitlines() if line.split()[4] == "/run/hermes/s")
    assert mount.split()[5].startswith("rw")
    assert attack.results["S7_links_among_the_channels"]["loot"] == []


@pytest.mark.parametrize("place", ["/", "/proc", "/usr", "/run/hermes/b", "{python}"])
def test_the_mounts_hold_without_landlock_too(attack: Attack, place: str) -> None:
    place = place.format(python=sys.base_prefix if not sys.base_prefix.startswith("/usr") else "/usr")
    mount = next(line for line in attack.seen["mounts"].splitlines() if line.split()[4] == place)
    assert mount.split()[5].startswith("ro,nosuid,nodev")


def test_the_confined_kernel_does_its_work(attack: Attack) -> None:
    assert attack.printed["tool"] == "hello"
    assert attack.printed["data"] == "a,b\n"
    assert (attack.workspace / "kept.txt").read_text() == "kept"


# traps that broke simpler versions ---------------------------------------------------------------------------------------


def test_trap_1_the_kernel_outlives_its_first_second(attack: Attack) -> None:
    assert attack.seen["variables"]["JPY_PARENT_PID"] == "1" == str(attack.seen["parent"])
    assert "daemon" in attack.printed  # the last cell ran; the probes before it take seconds


def test_trap_3_the_environment_of_the_sandboxs_first_process_holds_no_secret(attack: Attack) -> None:
    assert not attack.results["S5_first_process"]["loot"]
    assert not {name for name in attack.seen["variables"] if name in {*SECRETS, "SSH_AUTH_SOCK", "DISPLAY"}}


def test_trap_4_the_hosts_output_file_is_whole(attack: Attack) -> None:
    assert attack.output.startswith("the host's own words\n")


def test_trap_5_netlink_is_refused_in_the_way_that_spares_libzmq(attack: Attack) -> None:
    assert attack.seen["netlink"] == "EOPNOTSUPP"
    assert attack.seen["zmq"] == "over the sandbox's own loopback"


def test_trap_6_what_is_written_past_python_is_captured(attack: Attack) -> None:
    assert {"raw", "from a child", "printed"} <= set(attack.printed["raw"].splitlines())


def test_trap_7_nothing_but_sockets_can_be_put_among_the_channels(attack: Attack) -> None:
    assert attack.results["S7_links_among_the_channels"]["loot"] == []


def test_trap_8_a_protected_file_survives_the_renaming_of_its_parents(attack: Attack) -> None:
    assert attack.policy.read_text() == POLICY
    assert attack.results["S8_parents_of_a_protected_file"]["loot"] == []


def test_trap_10_missing_names_cannot_be_made_and_leave_no_litter(attack: Attack) -> None:
    assert attack.results["S8_islands_that_do_not_exist"]["loot"] == []
    assert not (attack.workspace / ".vscode").exists()


def test_trap_11_the_user_namespace_is_one_of_its_own(attack: Attack) -> None:
    assert attack.seen["namespaces"]["user"] != str(Path("/proc/self/ns/user").readlink())


def test_trap_12_a_planted_module_is_not_imported_before_the_confinement_holds(attack: Attack) -> None:
    lines = (attack.workspace / "imported.log").read_text().splitlines()
    assert "sched 2 1" in lines  # so planting works at all
    assert {line.split(" ", 1)[1] for line in lines} == {"2 1"}


def test_trap_13_a_terminal_works(attack: Attack) -> None:
    assert attack.seen["terminal"] == "hello"
    command = attack.printed["command"]
    assert "from a command" in command
    assert "/dev/pts/" in command


def test_files_are_made_for_this_user_alone(attack: Attack) -> None:
    assert attack.seen["umask"] == 0o077
