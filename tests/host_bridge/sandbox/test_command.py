from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_protocol.confinement import CompiledPlan, PathRule, decode_compiled, encode_plan
from host_bridge.sandbox import command as sandboxed_command
from host_bridge.sandbox.command import Command, Machine
from host_bridge.sandbox.inputs import Inputs
from host_bridge.sandbox.probing import landlock_version
from host_bridge.sandbox.spec import Island, SandboxSpec

SPEC = SandboxSpec(
    workspace="/home/me/project",
    run_folder="/run/user/1/hermes-x",
    islands=(Island("/home/me/project/.git", "folder"), Island("/home/me/project/.envrc", "no file")),
    read_only_paths=("/opt/python",),
    writable_paths=("/data",),
    temporary_bytes=1000,
)
COMMAND = Command(
    line="echo {x} | cat",
    words=(),
    folder="/home/me/project/sub",
    device=7,
    inode=8,
    environment={"PATH": "/usr/bin", "A": "{command}"},
)
MACHINE = Machine(
    bubblewrap="/usr/bin/bwrap",
    interpreter="/opt/python/bin/python3",
    first_program="/opt/python/command.py",
    shell="/bin/bash",
    system={"/usr": None, "/bin": "usr/bin"},
)
COMPILED = CompiledPlan(seccomp=b"filter", ruleset=b"\x01\xff", paths=(("/usr", 5, 4),))


def arguments_of(spec: SandboxSpec) -> list[str]:
    launch = sandboxed_command.launch(spec, COMMAND, COMPILED, MACHINE)
    return launch.inputs["arguments"].decode().split("\0")


def test_the_whole_command() -> None:
    launch = sandboxed_command.launch(SPEC, COMMAND, COMPILED, MACHINE)
    assert launch.argv == (
        *("sh", "-c", 'trap "" TERM; exec "$0" "$@"', "/usr/bin/bwrap", "--args", "{arguments}", "--"),
        *("/opt/python/bin/python3", "-I", "-S", "/opt/python/command.py", "{started}", "/run/hermes/command"),
    )
    assert (launch.environment, launch.working_folder) == ({}, "/")
    system_files = [
        part for path in sandboxed_command.bubblewrap.SYSTEM_FILES for part in ("--ro-bind-try", path, path)
    ]
    assert arguments_of(SPEC) == [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--uid", "1000", "--gid", "1000", "--hostname", "hermes", "--clearenv"),
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"),
        *system_files,
        *("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"),
        *("--size", "1000", "--tmpfs", "/tmp", "--size", "1000", "--tmpfs", "/dev/shm", "--dir", "/tmp/home"),
        *("--ro-bind-data", "{etc passwd}", "/etc/passwd", "--ro-bind-data", "{etc group}", "/etc/group"),
        *("--ro-bind-data", "{etc nsswitch.conf}", "/etc/nsswitch.conf", "--ro-bind-data", "{etc hosts}", "/etc/hosts"),
        *("--bind", "/data", "/data"),
        *("--bind", "/home/me/project", "/home/me/project"),
        *("--ro-bind", "/dev/null", "/home/me/project/.envrc"),
        *("--ro-bind", "/home/me/project/.git", "/home/me/project/.git"),
        *("--ro-bind", "/opt/python", "/opt/python"),
        *("--ro-bind-data", "{command}", "/run/hermes/command"),
        *("--remount-ro", "/"),
        *("--seccomp", "{seccomp}"),
    ]


def test_with_the_network_come_the_files_that_say_how_to_use_it() -> None:
    import dataclasses

    arguments = arguments_of(dataclasses.replace(SPEC, share_network=True))
    assert arguments[1] == "--share-net"
    assert "/etc/resolv.conf" in arguments
    assert "{etc hosts}" not in arguments
    assert "{etc passwd}" in arguments


def test_what_the_first_program_reads() -> None:
    fields = sandboxed_command.first_program_file(COMMAND, COMPILED, "/bin/bash").split(b"\0")
    assert fields == [
        *(b"01ff", b"/home/me/project/sub", b"7:8", b"/bin/bash", b"echo {x} | cat", b"/usr/bin"),
        *(b"2", b"PATH=/usr/bin", b"A={command}"),
        b"0",
        *(b"3", b"/usr", b"5", b"4"),
        b"",
    ]


def test_variables_that_lead_outside_lead_inside() -> None:
    given = {
        "HOME": "/home/me",
        "XDG_CACHE_HOME": "/home/me/.cache",
        "TMPDIR": "/x",
        "LANG": "C",
        "MY_TOKEN": "asked for",
    }
    assert sandboxed_command.environment(given) == {
        "HOME": "/tmp/home",
        "TMPDIR": "/tmp",
        "USER": "user",
        "LOGNAME": "user",
        "SHELL": "/bin/sh",
        "LANG": "C",
        "MY_TOKEN": "asked for",
    }


def test_a_plan_leaves_the_workspace_and_the_system() -> None:
    plan = sandboxed_command.plan(SPEC)
    assert plan.landlock is not None
    rules = plan.landlock.paths
    assert {PathRule("/home/me/project", "write"), PathRule("/data", "write"), PathRule("/usr", "execute")} <= set(
        rules
    )
    assert not any(rule.path.startswith("/run") for rule in rules)
    assert sandboxed_command.plan(SPEC, minimum_landlock=0).landlock is None


def compile_plan(data: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-m", "hermes_runtime.confinement.compiling"]
    return subprocess.run(command, input=data, capture_output=True, timeout=60)


@pytest.mark.skipif(landlock_version() == 0, reason="needs Landlock")
def test_a_plan_compiles_to_what_this_system_understands() -> None:
    compiled = decode_compiled(compile_plan(encode_plan(sandboxed_command.plan(SPEC))).stdout)
    assert len(compiled.seccomp) % 8 == 0
    assert compiled.seccomp
    assert len(compiled.ruleset) in (8, 16, 24)
    rights = {path: (in_folder, on_file) for path, in_folder, on_file in compiled.paths}
    folder, file = rights["/home/me/project"]
    assert folder & file == file != folder  # of a file, less can be taken
    assert rights["/usr"][0] & 2 == 0  # not written


def test_what_is_no_plan_is_refused() -> None:
    ended = compile_plan(b"{}")
    assert ended.returncode == 1
    assert b"not a confinement plan" in ended.stderr
    with pytest.raises(ValueError, match="not a compiled"):
        decode_compiled(ended.stdout)


def test_inputs_get_numbers_where_they_are_named_and_nowhere_else() -> None:
    launch = sandboxed_command.launch(SPEC, COMMAND, COMPILED, MACHINE)
    inputs = Inputs(launch, {"started": 99})
    assert inputs.argv[:-2] == [*launch.argv[:5], inputs.argv[5], *launch.argv[6:-2]]
    assert inputs.argv[-2] == "99"
    arguments = os.pread(int(inputs.argv[5]), 10_000, 0).decode().split("\0")
    filter_number = int(arguments[arguments.index("--seccomp") + 1])
    assert os.pread(filter_number, 100, 0) == b"filter"
    assert {filter_number, int(inputs.argv[5]), 99} <= set(inputs.descriptors)
    inputs.close()
    assert not Path(f"/proc/self/fd/{filter_number}").exists()
