"""Kernels that must not start, and what a start protects: workspaces, links, records, means of confinement that don't work."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from kernel_machine import Machine
from notebook_runs import save

from host_bridge.audit.reading import verify
from host_bridge.errors import SandboxError
from host_bridge.executor import NotebookExecutor
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.sandbox import probing

pytestmark = pytest.mark.skipif(not probing.probe("bubblewrap").works, reason=probing.probe("bubblewrap").problem)


def start(**options: Any) -> None:
    """Start a kernel that must not start; whatever it says, nothing may be left of it."""
    manager = KernelManager(kernel_name="hermes")
    try:
        manager.start_kernel(hermes=LaunchOptions(**options))
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


# S9: workspaces ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = machine.root / "people" / "me"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize(
    ("workspace", "why"),
    [
        ("/", "whole file system"),
        ("{home}", "home"),
        ("{home}/..", "home"),
        ("{home}/../../people/me/", "home"),
        ("{root}/link-to-home", "home"),
        ("{root}/link-to-parent", "home"),
        ("/proc/self/cwd/../people", "home"),
        ("/etc", "system"),
        ("/usr/lib", "system"),
        ("/dev/shm", "system"),
        ("/var", "system"),
        ("/tmp", "everybody"),
        ("/var/tmp", "everybody"),
        ("{root}/config/hermes-runtime", "settings"),
        ("{root}/config", "settings"),
        ("{root}/state/hermes-runtime/audit", "records"),
        ("{root}/run", "running kernels"),
    ],
)
def test_a_folder_that_holds_more_than_work_is_no_workspace(
    machine: Machine, home: Path, workspace: str, why: str
) -> None:
    machine.configure("")
    machine.audit.mkdir(parents=True)
    (machine.root / "link-to-home").symlink_to(home)
    (machine.root / "link-to-parent").symlink_to(home.parent)
    with pytest.raises(SandboxError, match=re.escape(why)):
        start(workspace=workspace.format(home=home, root=machine.root))
    machine.wait_until_clean()


def test_a_folder_in_home_is_a_workspace(machine: Machine, home: Path) -> None:
    notebooks = home / "notebooks"
    notebooks.mkdir()
    start(workspace=str(notebooks))
    machine.wait_until_clean()


# trap 10: links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".git", ".vscode", ".envrc", ".mcp.json", "hermes.toml", "AGENTS.md"])
def test_trap_10_a_link_under_a_protected_name_is_refused(machine: Machine, name: str) -> None:
    (machine.workspace / "elsewhere").mkdir()
    (machine.workspace / name).symlink_to("elsewhere")
    with pytest.raises(SandboxError, match="symbolic link"):
        start()
    machine.wait_until_clean()
    assert sorted(path.name for path in machine.workspace.iterdir()) == sorted(["elsewhere", name])


def test_a_link_on_the_way_to_a_policy_is_refused(machine: Machine) -> None:
    folder = machine.workspace / "policies"
    folder.mkdir()
    (folder / "rules.toml").write_text("version = 1\n")
    (machine.workspace / "current").symlink_to("policies")
    with pytest.raises(SandboxError, match="current is a symbolic link"):
        start(policy_files=(str(machine.workspace / "current" / "rules.toml"),))
    machine.wait_until_clean()


# what a run protects -----------------------------------------------------------------------------------------------------


def run(machine: Machine, *cells: str, **options: Any) -> dict[str, Any]:
    path = save(machine.workspace / "in.ipynb", *cells)
    result = NotebookExecutor().execute(path, None, kernel_name="hermes", **options)
    machine.wait_until_clean()
    return result


REFUSED = """
import os
for action in (lambda: open({0!r}, "a").close(), lambda: os.unlink({0!r}), lambda: os.rename({0!r}, "away")):
    try:
        action()
    except OSError:
        continue
    raise AssertionError("changed it")
"""


@pytest.mark.slow
def test_an_audit_log_in_the_workspace_cannot_be_written_by_the_kernel(machine: Machine) -> None:
    log = machine.workspace / "records" / "audit.jsonl"
    log.parent.mkdir()
    call = "hermes.list_files('.')"
    result = run(
        machine, call, REFUSED.format("records/audit.jsonl"), "os.rename('records', 'r')", call, audit_path=log
    )
    assert result["failed_cell"]["evalue"].startswith("[Errno 16]")  # the folder is busy: only that cell failed
    assert verify(log).ok


@pytest.mark.slow
def test_a_relative_audit_path_is_the_hosts(machine: Machine) -> None:
    result = run(machine, "hermes.list_files('.')", REFUSED.format("audit.jsonl"), audit_path="audit.jsonl")
    assert result["status"] == "success", result
    assert verify(machine.workspace / "audit.jsonl").ok


@pytest.mark.slow
def test_the_running_notebook_cannot_be_written_by_its_kernel(machine: Machine) -> None:
    result = run(machine, REFUSED.format("in.ipynb"))
    assert result["status"] == "success", result


@pytest.mark.slow
@pytest.mark.parametrize("how", ["configuration", "profile"])
def test_a_read_only_workspace_is_read_only(machine: Machine, how: str) -> None:
    (machine.workspace / "data.csv").write_text("a,b")
    if how == "configuration":
        machine.configure("[sandbox]\nworkspace = 'read'")
    attempt = (
        "import os\n"
        "for action in (lambda: open('new', 'w'), lambda: open('data.csv', 'a'), lambda: os.mkdir('folder')):\n"
        "    try: action()\n"
        "    except OSError: continue\n"
        "    raise AssertionError\n"
        "assert open('data.csv').read() == 'a,b'\n"
        "open('/tmp/scratch', 'w').write('x')"
    )
    result = run(machine, attempt, profile="read-only" if how == "profile" else "")
    assert result["status"] == "success", result
    assert {path.name for path in machine.workspace.iterdir()} == {"data.csv", "in.ipynb"}


# S16, trap 15: means of confinement that are not there, or don't work -------------------------------------------------------


@pytest.fixture
def probes() -> Iterator[None]:
    probing.probe.cache_clear()
    yield
    probing.probe.cache_clear()


PROGRAMS = {
    "fails": "#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n",
    "silent": "#!/bin/sh\nexit 1\n",
    "not a program": "\0",
}


@pytest.fixture
def without_bubblewrap(machine: Machine, monkeypatch: pytest.MonkeyPatch, probes: None) -> Callable[[str, int], None]:
    def without_bubblewrap(how: str, landlock: int) -> None:
        program = machine.root / "bwrap"
        if how in PROGRAMS:
            program.write_text(PROGRAMS[how])
            program.chmod(0o755)
        monkeypatch.setattr(probing, "_SYSTEM_BUBBLEWRAP", str(program))
        monkeypatch.setattr(probing, "landlock_version", lambda: landlock)
        monkeypatch.setenv("PATH", str(machine.root / "nothing"))

    return without_bubblewrap


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("absent", "apt-get install bubblewrap"),
        ("fails", "No permissions to create a new namespace"),
        ("silent", "exit code 1"),
        ("not a program", "can't be run"),
    ],
)
def test_trap_15_without_a_means_that_works_nothing_starts(
    machine: Machine, without_bubblewrap: Callable[[str, int], None], how: str, says: str
) -> None:
    without_bubblewrap(how, 0)
    with pytest.raises(SandboxError, match=re.escape(says)) as refused:
        start()
    assert 'backend = "none" under [sandbox]' in str(refused.value)
    machine.wait_until_clean()


@pytest.mark.parametrize("wish", ["bubblewrap", "BUBBLEWRAP", "strict", "None", "off", "no"])
def test_a_wish_that_is_not_understood_never_means_none(
    machine: Machine, without_bubblewrap: Callable[[str, int], None], wish: str
) -> None:
    without_bubblewrap("absent", 0)
    with pytest.raises(SandboxError):
        start(confinement=wish)
    machine.wait_until_clean()


def test_declared_none_starts_without_any_means(
    machine: Machine, without_bubblewrap: Callable[[str, int], None]
) -> None:
    without_bubblewrap("absent", 0)
    start(confinement="none")
    machine.wait_until_clean()
    (log,) = machine.audit.iterdir()
    assert '"confinement":"none"' in log.read_text().splitlines()[0]


@pytest.mark.slow
def test_the_output_goes_where_it_was_to_go_whatever_the_kernel_makes_of_its_folder(machine: Machine) -> None:
    victim = machine.root / "victim"
    output = machine.workspace / "out" / "out.ipynb"
    victim.mkdir()
    output.parent.mkdir()
    swap = f"import os; os.rename('out', 'away'); os.symlink({str(victim)!r}, 'out')"
    path = save(machine.workspace / "in.ipynb", swap, "print(2)")
    result = NotebookExecutor().execute(path, output, kernel_name="hermes")
    assert result["status"] == "success"
    assert list(victim.iterdir()) == []
    assert (machine.workspace / "away" / "out.ipynb").exists()
    machine.wait_until_clean()


# gaps that are known, kept in view: docs/security.md names them ---------------------------------------------------------------

GAPS = {
    "nested-names": "open('sub/.git/hooks/pre-commit', 'w').write('x')",
    "replaced-file": "open('AGENTS.md', 'a').write('evil')",
    "sockets-in-workspace": "import socket; s = socket.socket(socket.AF_UNIX); s.connect('agent'); s.close()",
    "links-for-the-host": "import os; os.symlink('/etc/passwd', 'looks-harmless.csv')",
    "folder-names": "assert any('/run/hermes-' in line for line in open('/proc/self/mountinfo'))",
}


@pytest.mark.slow
def test_the_known_gaps_are_those_that_are_written_down(machine: Machine) -> None:
    (machine.workspace / "sub" / ".git" / "hooks").mkdir(parents=True)
    agents = machine.workspace / "AGENTS.md"
    agents.write_text("be good")
    replace = (
        "try: open('AGENTS.md', 'a')\n"
        "except OSError: hermes.write_file('request', 'replace it')\n"
        "else: raise AssertionError"
    )

    def on_call(call: object) -> None:
        new = machine.workspace / "new"  # as an editor on the host saves
        new.write_text("be better")
        new.replace(agents)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(machine.workspace / "agent"))
        listener.listen()
        result = run(machine, replace, *GAPS.values(), on_call=on_call)
    assert result["status"] == "success", result
    assert agents.read_text() == "be betterevil"
    documented = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert [name for name in GAPS if f"- **{name}**" not in documented] == []
