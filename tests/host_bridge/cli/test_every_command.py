"""Whatever a command is given, it ends with a documented exit code and a sentence, never with a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from host_bridge.cli import hermes_runtime, main
from host_bridge.cli.boundary import MEANINGS, ExitCode

SERVES = {"approvals serve", "bridge serve", "bridge ticket"}  # until somebody ends them
ACTS = {"doctor", "kernel install", "kernel remove"}  # on the machine, without any argument


def commands(group: click.Group, context: click.Context, *path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group) and not any(isinstance(one, click.Argument) for one in command.params):
            yield from commands(command, click.Context(command, parent=context), *path, name)
        else:
            yield " ".join((*path, name)), command


EVERY = dict(commands(hermes_runtime, click.Context(hermes_runtime)))


def arguments(command: click.Command, given: str) -> list[str]:
    """Give the same for all that a command needs."""
    needed = [given for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option) and one.required]
    return needed + [part for option in options for part in (option.opts[0], given)]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    Path("folder").mkdir()
    Path("bytes").write_bytes(b"\xff\xfe\x00{")
    Path("empty").touch()
    Path("text").write_text("[1, 2")


def said(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    code = main(line)
    told = "".join(capsys.readouterr())
    assert code in MEANINGS
    assert code != ExitCode.INTERNAL, told
    assert "Traceback" not in told
    assert code == ExitCode.SUCCESS or told.strip()
    return told


@pytest.mark.parametrize("name", EVERY)
def test_help_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Usage: hermes-runtime" in said(capsys, *name.split(), "--help")


@pytest.mark.parametrize("name", sorted(EVERY.keys() - SERVES - ACTS))
def test_no_arguments_and_unfit_ones_are_told_in_a_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *name.split())
    if any(isinstance(parameter, click.Argument) for parameter in EVERY[name].params):
        for given in ("nowhere.ipynb", "folder", "bytes", "empty", "text", "\udcff", ""):
            said(capsys, *name.split(), *arguments(EVERY[name], given))
