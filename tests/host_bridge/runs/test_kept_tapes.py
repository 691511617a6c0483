"""Runs to the same output: the newest tape lies beside it, and the tapes of the earlier ones are still theirs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_disks import run_on_small_disk

from host_bridge.cli.runs import runs_command, undo_command
from host_bridge.errors import TapeError
from host_bridge.executor.earlier import tape_of
from host_bridge.executor.saving import LocalFile
from host_bridge.runs import index, kept_tapes
from host_bridge.tape.reader import TapeReader
from host_bridge.tape.recorder import Recorder
from host_bridge.tape.secrecy import Secrecy

FIRST, SECOND, THIRD = "aaaa1111", "bbbb2222", "cccc3333"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "out.tape"


def run(run_id: str, tape: Path, *, most: int = 20, meanwhile: Callable[[], object] = lambda: None) -> index.RunEntry:
    """A run that is over, with its tape beside its output; the later its id, the later it started."""
    started = f"2026-01-01T00:00:0{run_id[-1]}+00:00"
    entry = index.begin(run_id, notebook="/n.ipynb", output=str(tape.with_suffix(".ipynb")), started=started)
    recorder = Recorder.new(str(index.tape_path(run_id)), Secrecy())
    recorder.facts({"run_id": run_id, "workspace": str(tape.parent)})
    entry.tape_root, entry.state = recorder.close(), "succeeded"
    destination = LocalFile(str(tape), mode=0o600)
    meanwhile()
    kept_tapes.put_beside(entry, destination.path, lambda pieces: destination.write(pieces, last=True), most)
    index.write(entry)
    return entry


def run_on(tape: str) -> str:
    with TapeReader(tape) as reader:
        return str(reader.facts()["run_id"])


def test_each_run_to_an_output_keeps_its_tape_and_the_newest_lies_beside_it(tape: Path) -> None:
    for run_id in (FIRST, SECOND, THIRD):
        run(run_id, tape)
    assert [run_on(tape_of(run_id)) for run_id in (FIRST, SECOND, THIRD)] == [FIRST, SECOND, THIRD]
    assert tape_of(THIRD) == str(tape)
    assert index.find(str(tape)).run_id == THIRD
    assert Path(tape_of(FIRST)).stat().st_mode & 0o777 == 0o600
    for entry in index.entries():  # undo and diff find it by the root that the run left
        assert index.with_root(entry.tape_root) == entry
    undone = CliRunner().invoke(undo_command, [FIRST])
    assert (undone.exit_code, undone.output) == (0, "the run changed no files by write_file or patch\n")


def test_a_kept_tape_goes_with_its_run(tape: Path) -> None:
    for run_id in (FIRST, SECOND):
        run(run_id, tape)
    kept = Path(tape_of(FIRST))
    assert CliRunner().invoke(runs_command, ["gc", "--keep", "1"]).exit_code == 0
    assert not kept.exists()
    assert run_on(str(tape)) == SECOND


def test_no_more_are_kept_than_are_to_be(tape: Path) -> None:
    for run_id in (FIRST, SECOND, THIRD):
        run(run_id, tape, most=1)
    assert run_on(tape_of(SECOND)) == SECOND
    with pytest.raises(TapeError, match=f"the tape of run {FIRST} was let go.*1 are kept .*kept_tapes"):
        tape_of(FIRST)
    assert not index.tape_path(FIRST).exists()


def become_another(tape: Path) -> None:
    tape.unlink()
    Recorder.new(str(tape), Secrecy()).close()


def become_a_pipe(tape: Path) -> None:
    tape.unlink()
    os.mkfifo(tape)


def become_a_link(tape: Path) -> None:
    tape.rename(tape.with_name("moved"))
    tape.symlink_to("moved")


def grow(tape: Path) -> None:
    with open(tape, "ab") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("change", [Path.unlink, become_another, become_a_pipe, become_a_link, grow])
def test_a_tape_that_is_not_what_its_run_left_is_not_taken_for_it(tape: Path, change: Callable[[Path], None]) -> None:
    run(FIRST, tape)
    run(SECOND, tape, meanwhile=lambda: change(tape))
    with pytest.raises(
        TapeError, match=f"the run {FIRST} has no tape any more: .*before run {SECOND} put its own there"
    ):
        tape_of(FIRST)
    assert run_on(str(tape)) == SECOND
    assert {path.name for path in index.tape_path(FIRST).parent.iterdir()} == {"run.json"}


def test_where_there_is_no_room_for_the_earlier_tape_it_stays_where_it_is(tmp_path: Path) -> None:
    run_on_small_disk(
        tmp_path / "disk",
        f"""
        import os
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_kept_tapes import FIRST, SECOND, Path, fill, index, run, run_on, tape_of
        from host_bridge.runs.index import RunsError

        os.environ["XDG_STATE_HOME"] = str(DISK / "state")
        tape = Path({str(tmp_path / "out.tape")!r})
        run(FIRST, tape)
        try:
            run(SECOND, tape, meanwhile=lambda: fill(DISK))
        except RunsError as error:
            assert "make room" in str(error), error
        assert run_on(tape_of(FIRST)) == FIRST and run_on(str(tape)) == FIRST
        assert run_on(str(index.tape_path(SECOND))) == SECOND
        """,
    )


def fill(disk: Path) -> None:
    """Take all that is left of a disk."""
    with open(disk / "rest", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))
