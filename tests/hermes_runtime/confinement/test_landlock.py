"""Landlock alone: each word of a plan leaves what it says, and nothing else is left."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from confined_process import outcome, outcomes, system_paths

from hermes_protocol.confinement import ConfinementPlan, LandlockPlan, PathRule
from hermes_runtime.confinement import landlock
from hermes_runtime.confinement.landlock import taken_apart

pytestmark = pytest.mark.skipif(landlock.abi_version() < 4, reason="this system's Landlock is too old")


def plan(*rules: PathRule, **fields: object) -> ConfinementPlan:
    paths = (*(PathRule(path, "execute") for path in system_paths()), *rules)
    return ConfinementPlan(backend="landlock", landlock=LandlockPlan(paths=paths, **fields))  # type: ignore[arg-type]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with files in it, at a path short enough for sockets."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="ll-", dir="/tmp")))
    (folder / "inner").mkdir()
    (folder / "file").write_text("content")
    (folder / "inner" / "file").write_text("content")
    program = folder / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    yield folder
    shutil.rmtree(folder)


ATTEMPTS = {
    "list": "os.listdir('{0}')",
    "read": "open('{0}/file').read()",
    "run": "subprocess.run(['{0}/program'], check=True)",
    "change": "open('{0}/file', 'a').write('x')",
    "cut": "os.truncate('{0}/file', 1)",
    "create": "open('{0}/new', 'w').close()",
    "make folder": "os.mkdir('{0}/folder')",
    "make link": "os.symlink('/etc/passwd', '{0}/link')",
    "make socket": "socket.socket(socket.AF_UNIX).bind('{0}/socket')",
    "remove socket": "os.unlink('{0}/socket')",
    "make pipe": "os.mkfifo('{0}/pipe')",
    "rename": "os.rename('{0}/file', '{0}/other')",
    "move": "os.rename('{0}/other', '{0}/inner/other')",
    "remove": "os.unlink('{0}/inner/other')",
    "make device": "os.mknod('{0}/device', stat.S_IFCHR | 0o600, os.makedev(1, 3))",
}
POSSIBLE = {
    None: set(),
    "list": {"list"},
    "read": {"list", "read"},
    "execute": {"list", "read", "run"},
    "write": set(ATTEMPTS) - {"make device"},
    "device": {"list", "read", "change"},
    "socket_folder": {"list", "make socket", "remove socket"},
}


@pytest.mark.parametrize("access", POSSIBLE)
def test_what_each_access_leaves(place: Path, access: str | None) -> None:
    rules = [PathRule(str(place), access)] if access else []  # type: ignore[arg-type]
    found = outcomes(plan(*rules), {name: attempt.format(place) for name, attempt in ATTEMPTS.items()})
    # What was never made can't be removed.
    expected_missing = {"move", "remove", "remove socket"}
    assert {name for name, result in found.items() if result == "ok"} == POSSIBLE[access]
    refused = {result for name, result in found.items() if result != "ok" and name not in expected_missing}
    assert refused <= {"EACCES", "EPERM"}, found


def test_nothing_of_the_host_is_left_that_is_not_named(place: Path) -> None:
    found = outcomes(
        plan(PathRule(str(place), "write")),
        {
            "home": f"os.listdir({str(Path.home())!r})",
            "root": "os.listdir('/')",
            "beside": "open('/tmp/beside-the-workspace', 'w')",
            "above": f"open({str(place)!r} + '/../beside', 'w')",
            "other processes": "os.listdir('/proc')",
            "own process": "open('/proc/self/status')",
        },
    )
    assert set(found.values()) == {"EACCES"}


def test_a_link_leads_nowhere_that_is_not_named(place: Path) -> None:
    secret = Path(tempfile.mkdtemp(prefix="secret-")) / "key"
    secret.write_text("secret")
    (place / "link").symlink_to(secret)
    try:
        assert outcome(plan(PathRule(str(place), "write")), f"open('{place}/link').read()") == "EACCES"
    finally:
        shutil.rmtree(secret.parent)


def test_the_own_folder_in_proc_can_stay(place: Path) -> None:
    found = outcomes(
        plan(own_proc=True), {"own": "open('/proc/self/status').read()", "others": "open('/proc/1/status')"}
    )
    assert found == {"own": "ok", "others": "EACCES"}


# sparing ---------------------------------------------------------------------------------------------------------------


def test_what_is_spared_is_not_writable_by_any_way_round(place: Path) -> None:
    (place / ".git").mkdir()
    (place / ".git" / "config").write_text("own")
    spare = (f"{place}/.git", f"{place}/.envrc")
    found = outcomes(
        plan(PathRule(str(place), "execute"), PathRule(str(place), "write", spare=spare)),
        {
            "beside": f"open('{place}/inner/new', 'w').close()",
            "a file": f"open('{place}/file', 'w').close()",
            "read": f"open('{place}/.git/config').read()",
            "in it": f"open('{place}/.git/config', 'w')",
            "hooks": f"os.mkdir('{place}/.git/hooks')",
            "rename it": f"os.rename('{place}/.git', '{place}/inner/git')",
            "rename over": f"os.rename('{place}/inner', '{place}/.git')",
            "missing": f"open('{place}/.envrc', 'w')",
            "any new name": f"open('{place}/new', 'w')",
            "link to it": f"os.link('{place}/.git/config', '{place}/inner/config')",
        },
    )
    allowed = {name for name, result in found.items() if result == "ok"}
    assert allowed == {"beside", "a file", "read"}, found
    assert (place / ".git" / "config").read_text() == "own"


def test_a_folder_is_taken_apart_as_far_down_as_needed(place: Path) -> None:
    deep = place / "inner" / "deep"
    deep.mkdir()
    (deep / "kept").write_text("")
    (deep / "given").write_text("")
    (place / "link").symlink_to("/etc")
    os.mkfifo(place / "pipe")
    assert list(taken_apart(str(place), [f"{deep}/kept"])) == [
        f"{place}/file",
        f"{deep}/given",
        f"{place}/inner/file",
        f"{place}/program",
    ]
    assert list(taken_apart(str(place), ["/elsewhere"])) == [str(place)]
    assert list(taken_apart(str(place), [str(place)])) == []


def test_a_link_put_where_a_writable_folder_was_is_refused(place: Path) -> None:
    elsewhere = Path(os.path.realpath(tempfile.mkdtemp(prefix="elsewhere-")))
    (place / "data").symlink_to(elsewhere)
    try:
        with pytest.raises(AssertionError, match="not what it was when the plan was made"):
            outcome(plan(PathRule(f"{place}/data", "write")), "pass")
    finally:
        shutil.rmtree(elsewhere)


# the network, signals, versions -----------------------------------------------------------------------------------------


def test_tcp_is_left_on_the_named_ports_only_and_never_outward() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        listener.settimeout(0.2)
        found = outcomes(
            plan(restrict_network=True, bind_ports=(free,)),
            {
                "connect": f"socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 2)",
                "own port": f"socket.create_server(('127.0.0.1', {free}))",
                "other port": "socket.socket().bind(('127.0.0.1', 45454))",
                "any port": "socket.socket().bind(('127.0.0.1', 0))",
            },
        )
        with pytest.raises(TimeoutError):
            listener.accept()
    assert found == {"connect": "EACCES", "own port": "ok", "other port": "EACCES", "any port": "EACCES"}


@pytest.mark.skipif(landlock.abi_version() < 6, reason="signals are out of reach from version 6 on")
def test_signals_and_abstract_sockets_stay_inside() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"\0hermes-test-{os.getpid()}"
        listener.bind(name)
        listener.listen()
        found = outcomes(
            plan(),
            {
                "parent": "os.kill(os.getppid(), 0)",
                "init": "os.kill(1, 0)",
                "abstract": f"socket.socket(socket.AF_UNIX).connect({name!r})",
                "itself": "os.kill(os.getpid(), 0)",
                "child": "child = subprocess.Popen(['/bin/sleep', '60']); child.kill(); child.wait()",
            },
        )
    assert found == {"parent": "EPERM", "init": "EPERM", "abstract": "EPERM", "itself": "ok", "child": "ok"}


def test_a_system_older_than_the_plan_is_content_with_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"this system has version \d+ of Landlock, the plan needs 999"):
        outcome(plan(minimum_abi=999), "pass")
