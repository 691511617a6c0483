"""Which limits a kernel gets, by what, and what is said about them."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from host_bridge.config import LimitSettings, load_config
from host_bridge.errors import ConfigurationError, SandboxError
from host_bridge.limits import limiter as limits
from host_bridge.limits import systemd_scope
from host_bridge.limits.cgroups import Group, GroupLimits
from host_bridge.limits.limiter import Limiter, choose, choose_limiter, describe, rlimits
from host_bridge.sandbox.spec import Launch

ALL = frozenset({"memory", "processes", "cpus"})
NOTHING = LimitSettings(memory_bytes=0, processes=0, file_bytes=0, open_files=0)


class Double:
    """A mechanism and its group in one; makes nothing."""

    name = "double"
    kinds = ALL
    prefix = ("/usr/bin/env", "--")
    variables = {"FOR_THE_PREFIX": "1"}  # noqa: RUF012 - a double
    folders = ()

    def __init__(self) -> None:
        self.names: list[str] = []

    def group(self, name: str, limits: GroupLimits) -> Group:
        self.names.append(name)
        return self

    def make(self) -> None:
        return None

    def count_memory_kills(self) -> int:
        return 3


def test_a_list_that_grows_hits_its_process_limit_before_the_group_is_full() -> None:
    settings = LimitSettings(memory_bytes=2**30)

    assert rlimits(settings, limits_processes=False)["DATA"] < settings.memory_bytes


def test_a_limit_of_0_is_none_and_core_files_are_never_written() -> None:
    assert rlimits(NOTHING, limits_processes=True) == {"CORE": 0}


def test_processes_are_limited_by_resource_limits_only_where_the_system_counts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    settings = LimitSettings(processes=77)

    assert Limiter(settings, None, counts_users=True).rlimits["NPROC"] == 77
    assert "NPROC" not in Limiter(settings, None, counts_users=False).rlimits
    assert "NPROC" not in Limiter(settings, Double(), counts_users=True).rlimits
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert "NPROC" not in Limiter(settings, None, counts_users=True).rlimits


@pytest.mark.parametrize(
    ("settings", "grouped", "limits_processes", "text"),
    [
        (LimitSettings(cpus=1.5), ALL, False, "double: memory 4 GiB, 1024 processes, 1.5 CPUs; "),
        (LimitSettings(memory_bytes=300 * 2**20), ALL, False, "memory 300 MiB, "),
        (LimitSettings(), frozenset(), True, "rlimits: memory 4 GiB a process, 1024 processes, files 16 GiB"),
        (LimitSettings(), frozenset(), False, "processes not limited"),
        (LimitSettings(cpu_seconds=9), ALL, False, "9 CPU seconds a process"),
        (NOTHING, frozenset(), False, "none"),
    ],
)
def test_the_description_says_what_is_limited_and_by_what(
    settings: LimitSettings, grouped: frozenset[str], limits_processes: bool, text: str
) -> None:
    assert text in describe(settings, "double", grouped, limits_processes)


def test_every_start_gets_a_group_of_its_own() -> None:
    double = Double()
    limiter = Limiter(LimitSettings(), double, counts_users=False)
    assert limiter.count_memory_kills() == 0

    for _ in range(2):
        limiter.begin("hermes-abc")
        limiter.make()

    assert double.names == ["hermes-abc-1", "hermes-abc-2"]
    assert limiter.count_memory_kills() == 3
    wrapped = limiter.wrap(Launch(("/bin/true",), {"A": "b"}))
    assert wrapped.argv == ("/usr/bin/env", "--", "/bin/true")
    assert wrapped.environment == {"A": "b", "FOR_THE_PREFIX": "1"}


def test_a_command_that_does_not_exist_fails_as_it_does_by_itself() -> None:
    limiter = Limiter(LimitSettings(), Double(), counts_users=False)
    limiter.begin("hermes-abc")
    launch = Launch(("/no/such/python",), {})

    assert limiter.wrap(launch) is launch


def test_where_nothing_is_wanted_no_group_is_made() -> None:
    double = Double()
    limiter = Limiter(NOTHING, double, counts_users=False)
    limiter.begin("hermes-abc")

    assert double.names == []
    assert limiter.describe() == "none"


def test_an_unconfined_process_is_limited_from_outside() -> None:
    limiter = Limiter(LimitSettings(open_files=99, mechanism="rlimits"), None, counts_users=False)
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    try:
        limiter.limit_process(process.pid)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (99, 99)
    finally:
        process.communicate()
    limiter.limit_process(process.pid)  # it is gone, and that is no error


@pytest.mark.parametrize(
    "override", [{"memory_byte": 1}, {"memory_bytes": -1}, {"memory_bytes": "4G"}, {"memory_bytes": 2**20}]
)
def test_an_override_that_means_nothing_is_refused(override: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"limits|memory_bytes"):
        choose_limiter(LimitSettings(), override)


def test_an_override_wins_over_the_configuration() -> None:
    limiter = choose_limiter(LimitSettings(mechanism="rlimits"), {"open_files": 123})

    assert limiter.rlimits["NOFILE"] == 123


def test_a_mechanism_by_name_that_does_not_work_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_scope, "find", lambda: (None, "systemd doesn't run here"))
    choose.cache_clear()
    try:
        with pytest.raises(SandboxError, match="systemd doesn't run here"):
            choose("systemd")
    finally:
        choose.cache_clear()


def test_the_best_that_works_is_chosen_and_the_others_reasons_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    double = Double()
    monkeypatch.setattr(systemd_scope, "find", lambda: (None, "no systemd"))
    monkeypatch.setattr(limits.cgroup_v2, "find", lambda named="": (None, "not delegated"))
    monkeypatch.setattr(limits.cgroup_v1, "find", lambda: (double, ""))
    choose.cache_clear()
    try:
        choice = choose()
    finally:
        choose.cache_clear()

    assert choice.mechanism is double
    assert choice.problems == {"systemd": "no systemd", "cgroup v2": "not delegated"}


def test_a_scope_is_asked_for_with_its_limits_and_its_variables_taken_out_again() -> None:
    command = systemd_scope.arguments(
        "/usr/bin/systemd-run",
        "hermes-abc-1",
        GroupLimits(memory_bytes=2**30, processes=64, cpus=1.5),
        of_user=True,
        variables=("XDG_RUNTIME_DIR",),
    )

    assert command == (
        "/usr/bin/systemd-run",
        "--user",
        "--scope",
        "--quiet",
        "--collect",
        "--unit=hermes-abc-1.scope",
        f"--property=MemoryMax={2**30}",
        "--property=MemorySwapMax=0",
        "--property=TasksMax=64",
        "--property=CPUQuota=150%",
        "--",
        "/usr/bin/env",
        "--unset=XDG_RUNTIME_DIR",
    )


def test_the_configuration_has_the_limits(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[limits]\nmemory_bytes = 1073741824\nmechanism = "cgroup v1"\ncgroup = "groups/mine"\n')

    found = load_config(path).limits

    assert (found.memory_bytes, found.mechanism, found.cgroup) == (2**30, "cgroup v1", str(tmp_path / "groups/mine"))
    path.write_text('[limits]\nmechanism = "prayer"\n')
    with pytest.raises(ConfigurationError, match=r"\[limits\] mechanism must be"):
        load_config(path)
