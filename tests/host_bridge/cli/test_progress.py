"""A run shows how it gets on: a bar on a terminal, lines elsewhere."""

import io
import sys

import pytest

from host_bridge.cli.progress import Progress, ProgressBar, ProgressLines, choose, title
from host_bridge.executor.report import CellProgress
from host_bridge.executor.states import State


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(state: State = State.SUCCEEDED, source: str = "x = 1", cell_type: str = "code") -> CellProgress:
    return CellProgress(1, 4, state, source, 0.5, cell_type)


def test_a_line_for_each_code_cell_that_ended(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLines()
    progress(CellProgress(1, 4, State.RUNNING, "x = 1"))
    progress(ended())
    progress(ended(cell_type="markdown"))
    progress(ended(State.TIMED_OUT, "wait()"))

    assert capsys.readouterr().err == "[2/4]   0.50 s  x = 1\n[2/4]   0.50 s  wait()  timed out\n"


def test_the_terminal_gets_a_bar_and_everything_else_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(choose(True)) is ProgressLines
    assert type(choose(False)) is Progress

    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = choose(True)
    bar.close()
    assert type(bar) is ProgressBar


def test_the_bar_shows_place_and_cell_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = ProgressBar()
    assert "starting the kernel" in terminal.getvalue()
    assert "0/?" not in terminal.getvalue()

    bar(CellProgress(1, 4, State.RUNNING, "# a comment\nload(everything)"))
    bar.close()

    assert "1/4" in terminal.getvalue()
    assert "load(everything)" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_paused_bar_writes_nothing_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = ProgressBar()

    with bar.paused():
        written = terminal.getvalue()
        bar(ended(source="shown_later()"))
        assert terminal.getvalue() == written
    bar.close()

    assert "2/4" in terminal.getvalue()[len(written) :]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("", ""),
        ("\n# why\n  x = 1\ny = 2", "x = 1"),
        ("%%terminal\nls", "ls"),
        ("a" * 60, "a" * 47 + "…"),
        ("print('\x1b[2J')", "print('\\u{1b}[2J')"),
    ],
)
def test_a_cell_is_known_by_its_first_telling_line(source: str, shown: str) -> None:
    assert title(source) == shown
