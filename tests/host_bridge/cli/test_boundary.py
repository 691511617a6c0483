"""Whatever happens in a command ends in one clear line (or JSON) and a documented exit code."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from host_bridge.cli.boundary import Exit, ExitCode, exit_code, run_command
from host_bridge.cli.options import debug_option, json_option
from host_bridge.errors import (
    AuditError,
    ConfigurationError,
    DeniedError,
    HostBridgeError,
    PolicyError,
    SandboxError,
    SessionError,
)
from host_bridge.signals import heed_cancellation


def command_that(act: Callable[[], None]) -> click.Command:
    @click.command()
    @json_option
    @debug_option
    def command(as_json: bool) -> None:
        act()

    return command


def raising(error: BaseException) -> click.Command:
    def act() -> None:
        raise error

    return command_that(act)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HostBridgeError("no such notebook"), 2),
        (ConfigurationError("bad key"), 2),
        (PolicyError("bad rule"), 2),
        (DeniedError("not allowed"), 3),
        (SessionError("the session process died"), 6),
        (SandboxError("no bubblewrap"), 6),
        (AuditError("disk full"), 6),
        (Exit(ExitCode.TIMED_OUT), 4),
        (KeyboardInterrupt(), 130),
        (click.UsageError("no such thing"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "in.ipynb"), 2),
        (ZeroDivisionError("division by zero"), 70),
    ],
)
def test_every_ending_has_its_exit_code(error: BaseException, code: int) -> None:
    assert run_command(raising(error), []) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_lets_a_command_clear_away_what_it_began(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, number: int, code: int
) -> None:
    before = signal.getsignal(number)

    def act() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), number)
            signal.sigtimedwait((), 10)

    assert run_command(command_that(act), ["--json"]) == code
    assert list(tmp_path.iterdir()) == []
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "Cancelled"
    assert signal.getsignal(number) is before


def test_a_closed_stream_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from host_bridge.cli import main; sys.exit(main(sys.argv[1:]))"
    for streams in (">&-", "<&- >&- 2>&-"):
        command = f'"$0" -c "$1" runs list --json {streams}'
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
        done = subprocess.run(
            ["/bin/sh", "-c", command, sys.executable, code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command(command_that(lambda: os.kill(os.getpid(), signal.SIGHUP)), []) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(None, 130), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_of_which_a_run_was_a_part_ends_with_it_and_says_what_there_is(
    capsys: pytest.CaptureFixture[str], number: int | None, code: int
) -> None:
    result = {"state": "cancelled", "error": "a person stopped the run", "signal": number}
    command = command_that(lambda: heed_cancellation(result, what="nothing was written"))
    assert run_command(command, []) == code
    assert capsys.readouterr().err == "hermes-runtime: cancelled: a person stopped the run; nothing was written\n"
    heed_cancellation({"state": "failed"})


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(raising(PolicyError("rules.toml:3: unknown effect", path="rules.toml")), [])

    assert capsys.readouterr() == ("", "hermes-runtime: rules.toml:3: unknown effect\n")


def test_an_error_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(raising(PolicyError("unknown effect", path="rules.toml", key="rule")), ["--json"])

    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "status": "error",
        "error": {"type": "PolicyError", "message": "unknown effect", "path": "rules.toml", "key": "rule"},
    }
    assert err == ""


def test_a_usage_error_is_json_too_wherever_the_option_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command_that(lambda: None), ["--nonsense", "--json"]) == 2

    assert json.loads(capsys.readouterr().out)["error"]["type"] == "NoSuchOption"


def test_debug_shows_the_traceback_and_nothing_else_does(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(raising(SessionError("gone")), [])
    assert "Traceback" not in capsys.readouterr().err

    run_command(raising(SessionError("gone")), ["--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_says_so_instead_of_blaming_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(raising(ZeroDivisionError("division by zero")), [])

    assert capsys.readouterr().err.startswith("hermes-runtime: internal error: ZeroDivisionError")


def test_success_is_zero() -> None:
    assert run_command(command_that(lambda: None), []) == 0


def test_a_subclass_is_judged_by_the_nearest_family() -> None:
    class NotebookError(HostBridgeError):
        pass

    assert exit_code(NotebookError("not a notebook")) is ExitCode.USAGE
