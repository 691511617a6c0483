"""The index of runs: it outlives who writes it, and says what became of whoever did not come back."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from small_disks import run_on_small_disk

from host_bridge.cli.run import run_command
from host_bridge.cli.runs import runs_command
from host_bridge.errors import TapeError
from host_bridge.executor.earlier import tape_of
from host_bridge.rundirs.processes import ProcessIdentity, machine_state
from host_bridge.runs import index
from host_bridge.runs.index import RunEntry
from host_bridge.runs.retention import expired

NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def finished(run_id: str, *, days_ago: float = 0, state: str = "succeeded") -> RunEntry:
    started = (NOW - datetime.timedelta(days=days_ago)).isoformat()
    entry = index.begin(run_id, notebook="/n.ipynb", output=f"/{run_id}.ipynb", started=started)
    entry.state = state
    index.write(entry)
    return entry


def test_a_run_is_found_by_its_id_the_beginning_of_it_its_output_and_as_the_last() -> None:
    finished("aaaaaa11", days_ago=2)
    finished("aaaaaa22", days_ago=1)
    assert [entry.run_id for entry in index.entries()] == ["aaaaaa22", "aaaaaa11"]
    assert index.find("aaaaaa1").run_id == "aaaaaa11"
    assert index.find("/aaaaaa22.ipynb").run_id == "aaaaaa22"
    assert index.find("last").run_id == "aaaaaa22"
    with pytest.raises(index.RunsError, match="2 runs begin with"):
        index.find("aaaa")
    with pytest.raises(index.RunsError, match="runs list"):
        index.find("cccccc")


def test_a_run_without_a_tape_is_no_run_to_go_on_with() -> None:
    entry = finished("aaaaaa11", state="failed")
    with pytest.raises(TapeError, match="was not recorded"):
        tape_of("aaaaaa11")
    entry.tape = "/nowhere/tape"
    index.write(entry)
    with pytest.raises(TapeError, match="it never began, or the tape was moved"):
        tape_of("last")


def test_a_run_whose_process_was_killed_has_crashed() -> None:
    script = (
        "import os, signal; from host_bridge.runs import index\n"
        "entry = index.begin('abcdef01', notebook='/n', output='', started='2026-01-01T00:00:00+00:00')\n"
        "assert entry.shown_state == 'running'\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == -9
    assert index.find("abcdef01").shown_state == "crashed"


def test_a_full_disk_hides_neither_that_a_run_is_alive_nor_how_it_ended(tmp_path: Path) -> None:
    run_on_small_disk(
        tmp_path / "disk",
        """
        import contextlib, os
        from host_bridge.runs import index

        os.environ["XDG_STATE_HOME"] = str(DISK)
        entry = index.begin("aaaa1111", notebook="/n.ipynb", output="/o.ipynb", started="2026-01-01T00:00:00+00:00")
        with open(DISK / "rest", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))
        assert index.find("last").shown_state == "running"
        try:
            index.begin("bbbb2222", notebook="/n.ipynb", output="/o.ipynb", started="2026-01-02T00:00:00+00:00")
        except index.RunsError as error:
            assert "make room" in str(error)
        assert [path.name for path in index.runs_folder().iterdir()] == ["aaaa1111"]
        entry.state, entry.error = "failed", "what failed it"
        entry.scraps = {f"scrap {number}": "x" * 1000 for number in range(500)}
        index.write(entry)
        found = index.find("last")
        assert (found.shown_state, found.shown_error, found.scraps) == ("failed", "what failed it", {})
        """,
    )


@pytest.mark.parametrize(
    ("machine", "state", "shown"),
    [
        ("here", "here", "crashed"),
        ("here", "before the restart", "crashed"),
        ("here", "another container", "unknown"),
        ("elsewhere", "before the restart", "unknown"),
    ],
)
def test_what_became_of_a_run_is_told_only_where_it_can_be_seen(machine: str, state: str, shown: str) -> None:
    boot = machine_state().split(" ")[0]
    entry = index.begin("aaaa1111", notebook="/n.ipynb", output="", started=NOW.isoformat())
    entry.host = ProcessIdentity(2**22 + 1, "1")  # no process has that number
    entry.machine = entry.machine if machine == "here" else "another-machine"
    entry.machine_state = {
        "here": machine_state(),
        "before the restart": "00000000-0000-0000-0000-000000000000 pid:[1]",
        "another container": f"{boot} pid:[1]",
    }[state]
    index.write(entry)
    assert index.find("last").shown_state == shown
    told = CliRunner().invoke(runs_command, ["show", "last"]).output
    assert ("in another container or on another machine" in told) == (shown == "unknown")
    gone = CliRunner().invoke(runs_command, ["gc", "--keep", "0", "--dry-run"]).output
    assert ("1 run would be" in gone) == (shown == "crashed")  # it may still run there
    assert "1 run would be" in CliRunner().invoke(runs_command, ["gc", "--older-than", "1", "--dry-run"]).output


def test_what_is_no_entry_is_passed_over() -> None:
    finished("aaaa1111")
    (index.runs_folder() / "bbbb2222").mkdir()
    (index.runs_folder() / "cccc3333").mkdir()
    (index.runs_folder() / "cccc3333" / "run.json").write_text('{"run_id": 5}')
    assert [entry.run_id for entry in index.entries()] == ["aaaa1111"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--on-miss", "live"], "give --replay too"),
        (["--on-unknown", "redo"], "give --resume too"),
        (["--replay", "x.tape", "--resume", "last"], "choose one"),
    ],
)
def test_a_way_to_run_that_would_not_be_taken_is_refused(options: list[str], told: str) -> None:
    done = CliRunner().invoke(run_command, ["in.ipynb", "out.ipynb", *options])
    assert done.exit_code == 2
    assert told in done.output


def test_the_commands_list_and_forget() -> None:
    for number in range(4):
        finished(f"aaaaaa0{number}", days_ago=number * 10, state="failed" if number == 1 else "succeeded")
    runner = CliRunner()
    listed = json.loads(runner.invoke(runs_command, ["list", "--json"]).output)
    assert [one["run_id"] for one in listed] == [f"aaaaaa0{number}" for number in range(4)]
    assert "failed" in runner.invoke(runs_command, ["list", "--state", "failed"]).output
    assert runner.invoke(runs_command, ["gc"]).exit_code == 2
    assert "2 runs would be forgotten" in runner.invoke(runs_command, ["gc", "--keep", "2", "--dry-run"]).output
    assert "2 runs forgotten" in runner.invoke(runs_command, ["gc", "--keep", "2"]).output
    assert [entry.run_id for entry in index.entries()] == ["aaaaaa00", "aaaaaa01"]


@given(
    st.lists(st.integers(0, 100), max_size=12, unique=True),
    st.none() | st.integers(0, 100),
    st.none() | st.integers(0, 12),
)
def test_what_is_forgotten_is_old_enough_and_not_among_the_kept(ages, older_than, keep) -> None:
    entries = [
        RunEntry(
            run_id=str(number),
            notebook="",
            output="",
            state="succeeded",
            started=(NOW - datetime.timedelta(days=age)).isoformat(),
            host=ProcessIdentity(1),
            machine_state="",
        )
        for number, age in enumerate(ages)
    ]
    gone = {entry.run_id for entry in expired(entries, NOW, older_than_days=older_than, keep=keep)}
    newest = sorted(range(len(ages)), key=lambda number: ages[number])
    for rank, number in enumerate(newest):
        should = (keep is None or rank >= keep) and (older_than is None or ages[number] > older_than)
        assert (str(number) in gone) == should
