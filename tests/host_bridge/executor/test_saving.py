"""Saves are whole or not at all, and cost no more than their share."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.errors import OutputError
from host_bridge.executor.encoding import encode_cell
from host_bridge.executor.saving import COST_SHARE, MIN_INTERVAL_SECONDS, LocalFile, Saver, write_notebook_file


class Shelf:
    """A destination that keeps everything, and takes time to."""

    def __init__(self, clock: Clock | None = None, seconds: float = 0.0) -> None:
        self.saved: list[NotebookNode] = []
        self._clock = clock
        self._seconds = seconds

    def write(self, pieces: Iterable[bytes], *, last: bool) -> None:
        self.saved.append(nbformat.reads(b"".join(pieces).decode(), as_version=4))
        if self._clock is not None:
            self._clock.now += self._seconds


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def notebook_of(*sources: str) -> NotebookNode:
    return new_notebook(cells=[new_code_cell(source) for source in sources])


# files


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    path.write_text("before")

    def broken() -> Iterable[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        LocalFile(str(path)).write(broken(), last=True)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_a_whole_file_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    file = LocalFile(str(path))
    file.write([b"one"], last=False)

    def pieces() -> Iterable[bytes]:
        yield b"t"
        assert path.read_bytes() == b"one"
        yield b"wo"

    file.write(pieces(), last=False)
    assert path.read_bytes() == b"two"


def test_a_link_is_written_through(tmp_path: Path) -> None:
    target, link = tmp_path / "real.ipynb", tmp_path / "link.ipynb"
    target.write_text("old")
    link.symlink_to(target)
    LocalFile(str(link)).write([b"new"], last=True)
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_the_mode_of_a_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    path.touch()
    path.chmod(0o600)
    LocalFile(str(path)).write([b"x"], last=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_killed_executor_left_beside_the_output_is_removed(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / f".out.ipynb.{int(gone.stdout)}-0.saving"
    of_another = tmp_path / f".out.ipynb.{os.getpid()}-77.saving"
    left.touch()
    of_another.touch()
    LocalFile(str(tmp_path / "out.ipynb"))
    assert not left.exists()
    assert of_another.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/out.ipynb", "doesn't exist"), (".", "is a folder"), ("file/out.ipynb", "Not a directory")],
)
def test_an_impossible_output_is_refused_before_anything_runs(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=reason):
        LocalFile(str(tmp_path / name))


def test_a_missing_folder_is_made_where_it_is_asked_for_with_ordinary_modes(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    file = LocalFile(str(tmp_path / "runs/today/out.ipynb"), makes_folder=True)
    file.write([b"{}"], last=True)
    assert (tmp_path / "runs/today/out.ipynb").read_bytes() == b"{}"
    modes = {(tmp_path / name).stat().st_mode for name in ("ordinary", "runs", "runs/today")}
    assert len(modes) == 1
    LocalFile(str(tmp_path / "runs/today/out.ipynb"), makes_folder=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/runs/out.ipynb", "file' is not a folder; choose another output"),
        ("link/runs/out.ipynb", "link' is a link that leads nowhere; choose another output"),
        ("/proc/runs/out.ipynb", "'/proc/runs' doesn't exist, and can't be made"),
    ],
)
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match=reason):
        LocalFile(str(tmp_path / name), makes_folder=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_device_is_written_once_at_the_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = LocalFile(str(pipe))
    file.write([b"while running"], last=False)  # would wait for a reader
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file.write([b"at the end"], last=True)
    assert os.read(reader, 100) == b"at the end"
    os.close(reader)


def test_writing_a_notebook_gives_nbformats_own_bytes(tmp_path: Path) -> None:
    notebook = notebook_of("a = 1\nb = 2", "é")
    write_notebook_file(notebook, str(tmp_path / "ours.ipynb"))
    nbformat.write(notebook, tmp_path / "theirs.ipynb")
    assert (tmp_path / "ours.ipynb").read_bytes() == (tmp_path / "theirs.ipynb").read_bytes()


# when to save


def test_only_cells_that_changed_are_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def encode(cell: NotebookNode) -> tuple[bytes, ...]:
        encoded.append(cell.source)
        return encode_cell(cell)

    monkeypatch.setattr("host_bridge.executor.saving.encode_cell", encode)
    notebook = notebook_of("a", "b", "c")
    shelf = Shelf()
    saver = Saver(notebook, shelf)
    saver.save()
    assert encoded == ["a", "b", "c"]
    notebook.cells[1].source = "B"
    saver.touch(1)
    saver.save()
    assert encoded[3:] == ["B"]
    assert [cell.source for cell in shelf.saved[-1].cells] == ["a", "B", "c"]


def test_saving_takes_at_most_its_share_of_the_time() -> None:
    clock = Clock()
    saver = Saver(notebook_of("a"), Shelf(clock, seconds=2.0), clock=clock)
    saver.touch(0)
    saver.save_if_due()
    saver.touch(0)
    assert saver.seconds_until_due() == pytest.approx(2.0 * COST_SHARE)
    clock.now += 2.0 * COST_SHARE - 0.01
    saver.save_if_due()
    assert saver.seconds_until_due() == pytest.approx(0.01), "it saved too early"


def test_cheap_saves_keep_a_distance_too() -> None:
    clock = Clock()
    saver = Saver(notebook_of("a"), Shelf(), clock=clock)
    saver.touch(0)
    saver.save()
    saver.touch(0)
    assert saver.seconds_until_due() == pytest.approx(MIN_INTERVAL_SECONDS)


def test_nothing_is_due_while_nothing_changed() -> None:
    shelf = Shelf()
    saver = Saver(notebook_of("a"), shelf)
    assert saver.seconds_until_due() is None
    saver.save_if_due()
    assert shelf.saved == []


def test_a_cell_is_brought_up_to_date_before_it_is_saved() -> None:
    notebook = notebook_of("a")
    shelf = Shelf()

    def complete(index: int) -> None:
        notebook.cells[index].source += " completed"

    Saver(notebook, shelf, before_encoding=complete).save()
    assert shelf.saved[0].cells[0].source == "a completed"


def test_a_cell_more_or_less_is_noticed() -> None:
    notebook = notebook_of("a")
    shelf = Shelf()
    saver = Saver(notebook, shelf)
    saver.save()
    notebook.cells.insert(0, new_code_cell("first"))
    saver.save()
    assert [cell.source for cell in shelf.saved[-1].cells] == ["first", "a"]
