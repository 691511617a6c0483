"""The command line starts fast, because nothing is imported before it is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host_bridge.cli import COMMANDS, main

PROGRAM = Path(sys.executable).parent / "hermes-runtime"
HEAVY = "IPython jsonschema jupyter_client jupyter_server nbclient nbdime nbformat papermill pandas scrapbook yaml zmq httpx"
HELP_SECONDS = 0.3


@pytest.mark.parametrize(
    "arguments", ["--help", "run --help", "kernel install --help", "completion bash", "policy show"]
)
def test_nothing_heavy_is_imported(arguments: str) -> None:
    code = (
        f"import sys; from host_bridge.cli import main; code = main({arguments.split()!r}); "
        f"loaded = sorted(set({HEAVY.split()!r}) & set(sys.modules)); print(loaded, file=sys.stderr); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_help_takes_less_than_a_third_of_a_second() -> None:
    # As people have it: compiled at its first start.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def seconds() -> float:
        begin = os.times()
        subprocess.run([PROGRAM, "--help"], stdout=subprocess.DEVNULL, check=True, env=variables)
        end = os.times()
        # Processor time: on a machine with nothing else to do it is the time one waits, and on another it is still ours.
        return end.children_user + end.children_system - begin.children_user - begin.children_system

    assert min(seconds() for _ in range(3)) < HELP_SECONDS


def test_every_command_is_listed_and_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    listed = capsys.readouterr().out

    for name in COMMANDS:
        assert f"\n  {name} " in listed
        main([name, "--help"])
        assert capsys.readouterr().out.startswith(f"Usage: hermes-runtime {name}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(shell: str) -> None:
    done = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, timeout=30, check=True)

    assert "_HERMES_RUNTIME_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "number", "completions"),
    [
        ("hermes-runtime ru", 1, {"run", "runs"}),
        ("hermes-runtime policy ex", 2, {"explain"}),
        ("hermes-runtime run --pro", 2, {"--profile", "--progress"}),
    ],
)
def test_words_are_completed(words: str, number: int, completions: set[str]) -> None:
    environment = {
        **os.environ,
        "_HERMES_RUNTIME_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }

    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, timeout=30, check=True)

    assert {line.split(",")[1] for line in done.stdout.splitlines()} == completions


def test_a_closed_pipe_is_no_error_message() -> None:
    process = subprocess.Popen([PROGRAM, "tools"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (141, b"")


def test_windows_is_told_at_once_that_nothing_here_confines() -> None:
    code = (
        "import sys; from host_bridge.cli import main; sys.platform = 'win32'; code = main(['doctor']); "
        "assert 'host_bridge.doctor' not in sys.modules; sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 6
    assert "doesn't run on Windows" in done.stderr
    assert "WSL" in done.stderr
