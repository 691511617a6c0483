from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from waiting import until

from host_bridge.provisioning import sweep as sweep_module
from host_bridge.provisioning.sweep import sweep
from host_bridge.rundirs import records
from host_bridge.rundirs.processes import ProcessIdentity, identify, machine_state, wait_for_end
from host_bridge.rundirs.rundir import PREFIX, OwnerRecord, RunDirectory
from host_bridge.tools.orphans import OWNER_VARIABLE


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only place looked at, so that a test never meddles with another's kernels."""
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        monkeypatch.setattr(records, "bases", lambda: iter([folder]))
        yield Path(folder)


def leftover(base: Path, record: OwnerRecord | None, name: str = "left") -> Path:
    path = base / f"{PREFIX}{name}"
    path.mkdir(mode=0o700)
    (path / "s").mkdir()
    with socket.socket(socket.AF_UNIX) as channel:
        channel.bind(str(path / "s" / "k-1"))
    if record is not None:
        (path / "owner.json").write_bytes(msgspec.json.encode(record))
    return path


def dead() -> ProcessIdentity:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = identify(process.pid)
    process.communicate(b"\n", timeout=30)
    assert identity is not None
    return identity


def running(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, start_new_session=True)


def test_what_a_dead_host_left_is_removed(base: Path) -> None:
    path = leftover(base, OwnerRecord(dead(), machine_state()))
    assert sweep().removed == (str(path),)
    assert not path.exists()


def test_a_living_hosts_folder_is_left_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    directory = RunDirectory()
    try:
        assert Path(directory.path).parent == base
        # The lock alone has to hold: a record with a dead host's number must not mislead.
        Path(directory.path, "owner.json").write_bytes(msgspec.json.encode(OwnerRecord(dead(), machine_state())))
        assert sweep().removed == ()
        assert Path(directory.path).exists()
    finally:
        directory.remove()


def test_the_record_alone_protects_where_locks_mean_nothing(base: Path) -> None:
    me = identify(os.getpid())
    assert me is not None
    path = leftover(base, OwnerRecord(me, machine_state()))
    assert sweep().removed == ()
    assert path.exists()


def test_a_reused_process_number_is_not_the_host(base: Path) -> None:
    path = leftover(base, OwnerRecord(ProcessIdentity(os.getpid(), "1"), machine_state()))
    assert sweep().removed == (str(path),)


def test_a_stray_kernel_goes_with_its_group_and_session(base: Path) -> None:
    kernel = running("sh", "-c", "sleep 600 & sleep 600 & wait")
    try:
        children = Path(f"/proc/{kernel.pid}/task/{kernel.pid}/children")
        until(lambda: len(children.read_text().split()) >= 2)
        pids = [int(pid) for pid in children.read_text().split()]
        children_before = [identify(pid) for pid in pids]
        leftover(base, OwnerRecord(dead(), machine_state(), kernel=identify(kernel.pid)))
        report = sweep()
        assert set(report.killed) == {kernel.pid, *pids}
        assert kernel.wait(20) == -signal.SIGKILL
        for child in children_before:
            assert child is not None
            assert wait_for_end(child, 20)
    finally:
        kernel.kill()
        kernel.wait()


def test_the_children_of_a_kernel_that_is_gone_are_found_by_their_session(base: Path) -> None:
    command = ["sh", "-c", "sleep 600 >/dev/null & echo $!; read line"]
    kernel = subprocess.Popen(command, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    identity = identify(kernel.pid)
    assert kernel.stdout is not None
    child = int(kernel.stdout.readline())
    kernel.communicate(b"\n", timeout=20)
    leftover(base, OwnerRecord(dead(), machine_state(), kernel=identity))
    child_identity = identify(child)
    assert child_identity is not None
    assert sweep().killed == (child,)
    assert wait_for_end(child_identity, 20)


def test_a_stray_session_process_is_asked_first(base: Path) -> None:
    script = "import signal, sys; signal.signal(15, lambda *_: sys.exit(42)); print(1, flush=True); signal.pause()"
    bridge = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert bridge.stdout is not None
    bridge.stdout.readline()
    bridge.stdout.close()
    leftover(base, OwnerRecord(dead(), machine_state(), bridge=identify(bridge.pid)))
    assert sweep().killed == (bridge.pid,)
    assert bridge.wait(20) == 42


def test_a_stray_session_process_that_stays_is_killed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "BRIDGE_END_SECONDS", 0.1)
    script = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    bridge = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert bridge.stdout is not None
    bridge.stdout.readline()
    bridge.stdout.close()
    leftover(base, OwnerRecord(dead(), machine_state(), bridge=identify(bridge.pid)))
    sweep()
    assert bridge.wait(20) == -signal.SIGKILL


def test_the_commands_of_a_session_process_that_was_killed_go_too(base: Path) -> None:
    bridge = dead()
    command = subprocess.Popen(["sleep", "600"], env={OWNER_VARIABLE: str(bridge.pid)}, start_new_session=True)
    leftover(base, OwnerRecord(dead(), machine_state(), bridge=bridge))
    sweep()
    assert command.wait(20) == -signal.SIGKILL


def test_the_commands_of_a_living_process_of_the_same_number_are_spared(base: Path) -> None:
    me = str(os.getpid())
    command = subprocess.Popen(["sleep", "600"], env={OWNER_VARIABLE: me}, start_new_session=True)
    try:
        leftover(base, OwnerRecord(dead(), machine_state(), bridge=ProcessIdentity(os.getpid(), "1")))
        assert len(sweep().removed) == 1
        assert command.poll() is None
    finally:
        command.kill()
        command.wait()


def test_numbers_from_another_container_or_boot_are_not_touched(base: Path) -> None:
    bystander = running("sleep", "600")
    try:
        path = leftover(base, OwnerRecord(dead(), "another boot", kernel=identify(bystander.pid)))
        report = sweep()
        assert (report.removed, report.killed) == ((str(path),), ())
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_folder_being_made_is_left_alone_and_an_old_one_is_not(base: Path) -> None:
    fresh = leftover(base, None, "fresh")
    old = leftover(base, None, "old")
    os.utime(old, (1, 1))
    assert sweep().removed == (str(old),)
    assert fresh.exists()


def test_names_that_only_look_like_ours_are_left_alone(base: Path) -> None:
    target = base / "data"
    target.mkdir()
    (base / f"{PREFIX}file").write_text("")
    (base / f"{PREFIX}fake-1abthw76").mkdir()
    os.utime(base / f"{PREFIX}fake-1abthw76", (1, 1))
    (base / f"{PREFIX}link").symlink_to(target)
    os.utime(target, (1, 1))
    assert sweep().removed == ()
    assert len(list(base.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"host": 3}', b"{" * 100_000])
def test_a_broken_record_protects_for_a_while_only(base: Path, content: bytes) -> None:
    path = leftover(base, None)
    (path / "owner.json").write_bytes(content)
    assert sweep().removed == ()
    os.utime(path, (1, 1))
    assert sweep().removed == (str(path),)


def test_the_kernels_connection_file_goes_and_nobody_elses(base: Path, tmp_path: Path) -> None:
    path = base / f"{PREFIX}left"
    ours, other, link = tmp_path / "kernel-1.json", tmp_path / "kernel-2.json", tmp_path / "kernel-3.json"
    ours.write_text(json.dumps({"ip": f"{path}/s/k", "key": "secret"}))
    other.write_text(json.dumps({"ip": "127.0.0.1"}))
    link.symlink_to(ours)
    for name in (link, other, tmp_path / "absent", ours):
        leftover(base, OwnerRecord(dead(), machine_state(), connection_file=str(name)))
        assert sweep().removed == (str(path),)
        assert ours.exists() == (name is not ours)
    assert other.exists()


def test_a_place_that_cannot_be_read_does_not_stop_the_others(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "bases", lambda: iter([str(base / "absent"), str(base)]))
    path = leftover(base, OwnerRecord(dead(), machine_state()))
    assert sweep().removed == (str(path),)
