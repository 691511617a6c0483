"""Carrying out a plan: all of it or nothing, and afterwards the system's word for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from confined_process import SECONDS, outcome, outcomes

from hermes_protocol.confinement import ConfinementPlan, SeccompPlan, decode_plan, encode_plan
from hermes_runtime.confinement.__main__ import EXIT_NOT_CONFINED
from hermes_runtime.confinement.applying import ConfinementError, apply, is_confined

FILTERED = ConfinementPlan(backend="landlock", seccomp=SeccompPlan())


def test_this_process_is_not_confined_whatever_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_RUNTIME_CONFINEMENT", "bubblewrap")
    assert not is_confined()


def test_a_confined_process_is() -> None:
    code = "from hermes_runtime.confinement.applying import is_confined; assert is_confined()"
    assert outcome(FILTERED, code) == "ok"
    assert outcome(ConfinementPlan(backend="landlock"), code) == "AssertionError"


def test_a_process_with_threads_does_not_confine_half_of_itself() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(ConfinementError, match="while it has one thread"):
            apply(FILTERED)
    finally:
        release.set()
        thread.join()


def test_limits_hold_and_can_not_be_raised_again() -> None:
    found = outcomes(
        ConfinementPlan(backend="landlock", limits={"CORE": 0, "NOFILE": 64, "FSIZE": 4096}, drop_capabilities=True),
        {
            "raise": "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))",
            "open": "kept = [open('/dev/null') for _ in range(100)]",
            "write": "kept = None; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "f = open('/dev/shm/hermes-limit-test', 'wb', 0); os.unlink(f.name); "
            "[f.write(bytes(4096)) for _ in range(2)]",
        },
    )
    assert found == {"raise": "ValueError", "open": "EMFILE", "write": "EFBIG"}


def test_a_limit_nobody_knows_stops_everything() -> None:
    with pytest.raises(AssertionError, match="there is no limit 'HOPE'"):
        outcome(ConfinementPlan(backend="landlock", limits={"HOPE": 1}), "pass")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to give up")
def test_root_gives_up_its_power_for_good() -> None:
    found = outcomes(
        ConfinementPlan(backend="landlock", drop_capabilities=True, seccomp=SeccompPlan()),
        {
            "sets": "fields = dict(l.split(':\\t') for l in open('/proc/self/status').read().splitlines() if ':\\t' in l); "
            "assert all(int(fields[f'Cap{n}'], 16) == 0 for n in ('Inh', 'Prm', 'Eff', 'Bnd', 'Amb')), fields",
            "own": "os.chown('/dev/shm', 1, 1)",
            "user": "os.setuid(12345)",
            "by a child": "assert subprocess.run(['/bin/sh', '-c', 'chown 1:1 /dev/shm']).returncode",
        },
    )
    assert found["sets"] == "ok"
    assert found["own"] == "EPERM"
    assert found["user"] == "EPERM"
    assert found["by a child"] == "ok"


# the second stage ------------------------------------------------------------------------------------------------------


def second_stage(*arguments: str, folder: Path, descriptors: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "hermes_runtime.confinement", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder,
        pass_fds=descriptors,
    )


def test_a_module_runs_confined_as_if_started_by_itself(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(encode_plan(FILTERED))
    (tmp_path / "shown.py").write_text(
        "import json, os, sys\n"
        "status = open('/proc/self/status').read()\n"
        "print(json.dumps([sys.argv[1:], __name__, sys.path[0], 'Seccomp:\\t2' in status, os.getpgrp() == os.getpid()]))\n"
    )
    done = second_stage("plan", "--", "-m", "shown", "--option", "x", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["--option", "x"], "__main__", "", True, True]


def test_a_plan_on_a_descriptor_is_read_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text("import os; print([int(name) for name in os.listdir('/proc/self/fd')])\n")
    reader, writer = os.pipe()
    os.write(writer, encode_plan(FILTERED))
    os.close(writer)
    done = second_stage(str(reader), "--", "-m", "shown", folder=tmp_path, descriptors=(reader,))
    os.close(reader)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 4  # the standard ones, and the one that lists


def test_nothing_of_the_folder_it_starts_in_runs_before_it_is_confined(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(encode_plan(FILTERED))
    for name in ("json", "msgspec", "ctypes", "runpy", "hermes_protocol", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(f"import os; os.mkdir('ran-{name}')\n")
    (tmp_path / "quiet.py").write_text("")
    done = second_stage("plan", "--", "-m", "quiet", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("ran-*"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"backend": "hope"}',
        b'{"backend": "self", "extra": 1}',
        b"\xff",
        b'{"backend":"self","limits":{"X":1}}',
    ],
)
def test_a_plan_that_is_none_lets_nothing_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan").write_bytes(content)
    (tmp_path / "victim.py").write_text("print('ran')")
    done = second_stage("plan", "--", "-m", "victim", folder=tmp_path)
    assert (done.returncode, done.stdout) == (EXIT_NOT_CONFINED, "")
    assert done.stderr.startswith("hermes_runtime.confinement: ")


@pytest.mark.parametrize(
    "arguments", [(), ("plan",), ("plan", "--", "victim"), ("nowhere", "--", "-m", "victim"), ("99", "--", "-m", "x")]
)
def test_a_command_line_that_is_none_lets_nothing_run(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "plan").write_bytes(encode_plan(FILTERED))
    (tmp_path / "victim.py").write_text("print('ran')")
    done = second_stage(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (EXIT_NOT_CONFINED, "")


def test_a_plan_survives_its_file_form() -> None:
    assert decode_plan(encode_plan(FILTERED)) == FILTERED
