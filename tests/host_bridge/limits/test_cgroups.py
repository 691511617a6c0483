"""Control groups: found in what the system says about them, entered before anything can be forked, ended with all they hold."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_bridge.errors import SandboxError
from host_bridge.limits import cgroup_v1, cgroup_v2, cgroups
from host_bridge.limits.cgroup_v1 import CgroupV1
from host_bridge.limits.cgroup_v2 import CgroupV2
from host_bridge.limits.cgroups import Group, GroupLimits, Mount

HYBRID = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/with\\040space rw - cgroup2 cgroup2 rw
"""
MEMBERSHIP = "4:memory:/docker/abc/kernel\n2:cpu,cpuacct:/\n0::/user.slice/app\n"
LIMITS = GroupLimits(memory_bytes=200 * 2**20, processes=20, cpus=1.5)


@pytest.fixture
def name() -> Iterator[str]:
    made = f"hermes-test-{secrets.token_hex(4)}"
    yield made
    mechanism, _ = cgroup_v1.find()
    if mechanism is not None:
        cgroups.end_groups(mechanism.group(made, LIMITS).folders)


@pytest.fixture
def mechanism() -> CgroupV1:
    found, problem = cgroup_v1.find()
    if found is None:
        pytest.skip(f"cgroup v1 doesn't work here: {problem}")
    return found


def start(group: Group, *command: str) -> subprocess.Popen[str]:
    group.make()
    return subprocess.Popen([*group.prefix, *command], stdout=subprocess.PIPE, text=True)


def test_mounts_are_read_with_their_controllers_and_roots() -> None:
    cpu, memory, unified = cgroups.mounts(HYBRID)

    assert cpu == Mount("/sys/fs/cgroup/cpu", "/", 1, frozenset({"rw", "cpu", "cpuacct"}))
    assert (memory.root, unified.version, unified.point) == ("/docker/abc", 2, "/sys/fs/cgroup/with space")


def test_the_own_group_is_found_below_the_part_of_the_tree_that_is_mounted() -> None:
    cpu, memory, unified = cgroups.mounts(HYBRID)

    assert cgroups.own_folder(cpu, MEMBERSHIP) == "/sys/fs/cgroup/cpu"
    assert cgroups.own_folder(memory, MEMBERSHIP) == "/sys/fs/cgroup/memory/kernel"
    assert cgroups.own_folder(memory, "4:memory:/elsewhere\n") is None
    assert cgroups.places(unified, MEMBERSHIP) == [
        "/sys/fs/cgroup/with space/user.slice/app",
        "/sys/fs/cgroup/with space/user.slice",
        "/sys/fs/cgroup/with space",
    ]


@pytest.mark.parametrize("line", ["", "x", "1 2 3", "24 1 254:0 / / rw", "30 24 0:26 / /c rw - cgroup"])
def test_lines_that_are_no_cgroup_mounts_are_passed_over(line: str) -> None:
    assert cgroups.mounts(line) == []


def test_limits_of_version_2_are_the_files_it_has() -> None:
    kinds = frozenset({"memory", "processes", "cpus"})

    assert cgroup_v2.settings(kinds, LIMITS) == [
        ("memory.max", str(200 * 2**20)),
        ("pids.max", "20"),
        ("cpu.max", "150000 100000"),
    ]
    assert cgroup_v2.settings(kinds, GroupLimits()) == [
        ("memory.max", "max"),
        ("pids.max", "max"),
        ("cpu.max", "max 100000"),
    ]


def test_a_process_is_in_its_group_before_it_can_fork(mechanism: CgroupV1, name: str) -> None:
    group = mechanism.group(name, LIMITS)
    process = start(group, "/bin/sh", "-c", "cat /proc/self/cgroup; sleep 600 & echo forked; wait")
    assert process.stdout is not None
    lines = [line.strip() for line in iter(process.stdout.readline, "forked\n")]

    assert sum(name in line for line in lines) == len(group.folders)
    for folder in group.folders:
        assert len(cgroups.members(folder)) == 2  # itself, and what it forked
    assert len(cgroups.end_groups(group.folders)) == 2
    process.wait()
    process.stdout.close()


def test_what_left_its_session_ends_with_the_group(mechanism: CgroupV1, name: str) -> None:
    group = mechanism.group(name, LIMITS)
    process = start(group, "/bin/sh", "-c", "setsid sh -c 'setsid sleep 600 >/dev/null & echo $!'")
    assert process.stdout is not None
    daemon = int(process.stdout.readline())
    process.wait()
    process.stdout.close()

    assert daemon in cgroups.end_groups(group.folders)
    assert not Path(f"/proc/{daemon}").exists() or Path(f"/proc/{daemon}/stat").read_text().split()[2] == "Z"
    assert not any(Path(folder).exists() for folder in group.folders)


def test_a_fork_bomb_is_limited_and_ended(mechanism: CgroupV1, name: str) -> None:
    group = mechanism.group(name, LIMITS)
    bomb = "import os\nprint(flush=True)\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    process = start(group, "/usr/bin/env", "python3", "-c", bomb)
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    while (seen := len(cgroups.members(group.folders[0]))) < 20:
        assert time.monotonic() < deadline, f"{seen} processes"
    counts = {len(cgroups.members(group.folders[0])) for _ in range(200)}
    begun = time.monotonic()

    killed = cgroups.end_groups(group.folders)

    assert max(counts) <= 20
    assert len(killed) >= 2
    assert time.monotonic() - begun < cgroups.END_SECONDS
    assert not any(Path(folder).exists() for folder in group.folders)
    process.wait()
    process.stdout.close()


def test_memory_that_is_full_is_counted(mechanism: CgroupV1, name: str) -> None:
    group = mechanism.group(name, GroupLimits(memory_bytes=64 * 2**20))
    process = start(group, "/usr/bin/env", "python3", "-c", "x = b'x' * 2**28")

    assert process.wait(timeout=30) == -9
    assert group.count_memory_kills() == 1
    process.communicate()


def test_a_command_that_cannot_enter_its_group_is_not_run(tmp_path: Path) -> None:
    process = subprocess.run(
        [*cgroups.enter_prefix([str(tmp_path / "gone")]), "/bin/echo", "ran"], capture_output=True, text=True
    )

    assert (process.returncode, process.stdout) == (78, "")


def test_arguments_reach_the_command_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    words = ["", "a b", "--", "$(id)", "*", "'\"\n", "-n"]

    process = subprocess.run(
        [*cgroups.enter_prefix([str(tmp_path)]), "/usr/bin/printf", "%s\\0", *words], capture_output=True, text=True
    )

    assert process.stdout.split("\0")[:-1] == words


@pytest.mark.parametrize("folder", ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "relative/hermes-x", "/tmp/hermes-x"])
def test_only_groups_made_here_are_ended(folder: str) -> None:
    assert not cgroups.is_ours(folder)
    assert cgroups.end_groups([folder]) == []


def test_a_folder_that_is_no_group_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "hermes-notes"
    folder.mkdir()

    cgroups.end_groups([str(folder)])

    assert folder.is_dir()


def test_groups_that_nobody_remembers_go_and_those_in_use_stay(mechanism: CgroupV1, name: str) -> None:
    used, empty = mechanism.group(name, LIMITS), mechanism.group(f"{name}-empty", LIMITS)
    empty.make()
    process = start(used, "/bin/sleep", "600")
    while not cgroups.members(used.folders[-1]):
        os.sched_yield()

    assert not set(cgroups.remove_abandoned()) & {*used.folders, *empty.folders}, "both are young"
    assert set(empty.folders) <= set(cgroups.remove_abandoned(older_than_seconds=-1))
    assert cgroups.members(used.folders[0]) == {process.pid}
    cgroups.end_groups(used.folders)
    process.communicate()


def test_a_group_that_cannot_be_made_says_how_to_do_without() -> None:
    group = CgroupV2("/proc", frozenset({"memory"})).group("hermes-x", LIMITS)

    with pytest.raises(SandboxError, match="rlimits"):
        group.make()


def test_a_group_of_version_2_is_entered_and_ends_with_what_is_in_it(name: str) -> None:
    found, membership = cgroups.this_machine()
    mount = next((mount for mount in found if mount.version == 2), None)
    parents = cgroups.places(mount, membership) if mount else []
    parent = next((folder for folder in parents if os.access(f"{folder}/cgroup.procs", os.W_OK)), None)
    if parent is None:
        pytest.skip("no group of version 2 may be written here")
    group = CgroupV2(parent, frozenset()).group(name, LIMITS)  # without limits: no controller need be on
    process = start(group, "/bin/sh", "-c", "setsid sleep 600 & echo forked; wait")
    assert process.stdout is not None
    process.stdout.readline()

    assert len(cgroups.members(group.folders[0])) >= 2
    assert process.pid in cgroups.end_groups(group.folders)
    assert not Path(group.folders[0]).exists()
    assert process.wait() == -9
    process.stdout.close()
