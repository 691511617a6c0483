"""From what a kernel may touch to its start by Landlock alone: the whole command and the whole plan, as values."""

from __future__ import annotations

import pytest

from hermes_protocol.confinement import ConfinementPlan, LandlockPlan, PathRule, SeccompPlan, decode_plan
from host_bridge.errors import SandboxError
from host_bridge.sandbox import landlock
from host_bridge.sandbox.spec import Island, SandboxSpec

RUN = "/run/user/1000/hermes-abc"
SPEC = SandboxSpec(
    workspace="/home/u/work",
    run_folder=RUN,
    working_folder="/home/u/work/notebooks",
    islands=(Island("/home/u/work/.git", "folder"), Island("/home/u/work/.envrc", "no file")),
    read_only_paths=("/home/u/work/.venv", "/srv/data"),
    writable_paths=("/srv/out",),
    limits={"CORE": 0, "NOFILE": 4096},
)
ARGV = ["/home/u/work/.venv/bin/python", "-P", "-m", "hermes_runtime.kernel", "-f", f"{RUN}/k/connection.json"]


def test_the_command_is_the_second_stage_in_front_of_the_kernel() -> None:
    files = {landlock.connection_file(RUN): b"{}", landlock.ticket_file(RUN): b"ticket"}
    launch = landlock.launch(SPEC, ARGV, {"LANG": "C.UTF-8"}, files=files)
    assert launch.argv == (
        "/home/u/work/.venv/bin/python",
        "-I",
        "-m",
        "hermes_runtime.confinement",
        "{plan}",
        "--",
        "-m",
        "hermes_runtime.kernel",
        "-f",
        f"{RUN}/k/connection.json",
    )
    assert launch.environment == {"LANG": "C.UTF-8"}
    assert launch.working_folder == "/home/u/work/notebooks"
    assert launch.files == {f"{RUN}/k/connection.json": b"{}", f"{RUN}/k/ticket.json": b"ticket"}
    assert not launch.reports
    assert list(launch.inputs) == ["plan"]
    assert decode_plan(launch.inputs["plan"]) == landlock.plan(SPEC)


def test_the_whole_plan() -> None:
    assert landlock.plan(SPEC) == ConfinementPlan(
        backend="landlock",
        limits={"CORE": 0, "NOFILE": 4096},
        umask=0o077,
        drop_capabilities=True,
        landlock=LandlockPlan(
            minimum_abi=4,
            paths=(
                PathRule("/usr", "execute"),
                PathRule("/bin", "execute"),
                PathRule("/sbin", "execute"),
                PathRule("/lib", "execute"),
                PathRule("/lib32", "execute"),
                PathRule("/lib64", "execute"),
                PathRule("/libx32", "execute"),
                PathRule("/opt", "execute"),
                PathRule("/home/u/work/.venv", "execute"),
                PathRule("/srv/data", "execute"),
                PathRule("/home/u/work", "execute"),
                PathRule("/etc/alternatives", "read"),
                PathRule("/etc/fonts", "read"),
                PathRule("/etc/group", "read"),
                PathRule("/etc/ld.so.cache", "read"),
                PathRule("/etc/ld.so.conf", "read"),
                PathRule("/etc/ld.so.conf.d", "read"),
                PathRule("/etc/localtime", "read"),
                PathRule("/etc/mime.types", "read"),
                PathRule("/etc/nsswitch.conf", "read"),
                PathRule("/etc/passwd", "read"),
                PathRule("/etc/ssl/certs", "read"),
                PathRule("/etc/timezone", "read"),
                PathRule("/proc/cpuinfo", "read"),
                PathRule("/proc/filesystems", "read"),
                PathRule("/proc/loadavg", "read"),
                PathRule("/proc/meminfo", "read"),
                PathRule("/proc/stat", "read"),
                PathRule("/proc/sys/vm/overcommit_memory", "read"),
                PathRule("/proc/version", "read"),
                PathRule("/sys/devices/system/cpu", "read"),
                PathRule("/sys/devices/system/node", "read"),
                PathRule("/dev/null", "device"),
                PathRule("/dev/zero", "device"),
                PathRule("/dev/full", "device"),
                PathRule("/dev/random", "device"),
                PathRule("/dev/urandom", "device"),
                PathRule(f"{RUN}/s", "socket_folder"),
                PathRule("/srv/out", "write"),
                PathRule(f"{RUN}/k", "write"),
                PathRule(f"{RUN}/t", "write"),
                PathRule(
                    "/home/u/work",
                    "write",
                    spare=("/home/u/work/.envrc", "/home/u/work/.git", "/home/u/work/.venv"),
                ),
            ),
            own_proc=True,
            restrict_network=True,
            bind_ports=(),
        ),
        seccomp=SeccompPlan(socket_families=("unix",), stream_only=True, forbid_connect=True),
    )


def test_a_workspace_to_read_is_not_made_writable() -> None:
    spec = SandboxSpec(workspace="/home/u/work", run_folder=RUN, write_workspace=False)
    plan = landlock.plan(spec)
    assert plan.landlock is not None
    assert {rule.access for rule in plan.landlock.paths if rule.path == "/home/u/work"} == {"execute"}


def test_channels_on_tcp_get_their_ports_and_no_more() -> None:
    plan = landlock.plan(SPEC, (50_002, 50_001))
    assert plan.landlock is not None
    assert plan.seccomp is not None
    assert plan.landlock.bind_ports == (50_001, 50_002)
    assert plan.seccomp == SeccompPlan(socket_families=("unix", "inet", "inet6"), stream_only=True, forbid_connect=True)


def test_the_bridge_dials_in_where_only_sockets_can_be_made() -> None:
    plan = landlock.plan(SPEC)
    assert plan.landlock is not None
    folder = landlock.bridge_endpoint(RUN).removeprefix("ipc://").rpartition("/")[0]
    assert PathRule(folder, "socket_folder") in plan.landlock.paths
    above = [rule for rule in plan.landlock.paths if f"{folder}/".startswith(f"{rule.path}/")]
    assert [rule.access for rule in above] == ["socket_folder"]


def test_an_interpreter_s_own_options_are_kept() -> None:
    argv = ["python", "-Xfrozen_modules=off", "-P", "-m", "hermes_runtime.kernel", "-f", "x"]
    launch = landlock.launch(SPEC, argv, {}, files={})
    assert launch.argv[:5] == ("python", "-I", "-Xfrozen_modules=off", "-m", "hermes_runtime.confinement")


@pytest.mark.parametrize("argv", [["python"], ["python", "program.py"], ["/usr/bin/ruby", "kernel"], ["-m", "x"]])
def test_a_command_that_is_no_python_module_is_refused(argv: list[str]) -> None:
    with pytest.raises(SandboxError, match="can be confined"):
        landlock.launch(SPEC, argv, {}, files={})
