"""How a run shows that it gets on: a bar on a terminal, a line for each finished cell elsewhere. On standard error."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from host_bridge.policy.display import one_line

if TYPE_CHECKING:
    from host_bridge.executor.report import CellProgress

_TITLE_CHARACTERS = 48
_TICK_SECONDS = 1.0
_AT_FIRST = "{elapsed}  {desc}"  # how many cells there are isn't known yet
_IN_CELLS = "{n_fmt}/{total_fmt} |{bar:24}| {elapsed}  {desc}"


class Progress:
    """Hears of cells and shows nothing: `--no-progress`, and what the others share."""

    def __call__(self, cell: CellProgress) -> None:
        """Hear that a cell started or ended."""

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the terminal free for somebody else."""
        yield

    def close(self) -> None:
        """Show nothing more."""


class ProgressLines(Progress):
    """One line for each code cell that ended."""

    def __call__(self, cell: CellProgress) -> None:
        """Write the line."""
        if cell.state == "running" or cell.cell_type != "code":
            return
        said = "" if cell.state == "succeeded" else f"  {cell.state.replace('_', ' ')}"
        place = f"[{cell.index + 1}/{cell.total}]"
        sys.stderr.write(f"{place} {cell.duration_seconds or 0.0:6.2f} s  {title(cell.source)}{said}\n")
        sys.stderr.flush()


class ProgressBar(Progress):
    """A bar with the running cell's first line; the clock goes on while a cell takes long."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            mininterval=0,
            desc="starting the kernel",
            bar_format=_AT_FIRST,
        )
        self._lock = threading.Lock()
        self._pauses = 0
        self._ended = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticking.start()

    def __call__(self, cell: CellProgress) -> None:
        """Move the bar."""
        with self._lock:
            self._bar.bar_format, self._bar.total = _IN_CELLS, cell.total
            is_over = cell.state != "running"
            self._bar.n = cell.index + is_over
            self._bar.set_description_str("" if is_over else title(cell.source), refresh=False)
            self._refresh()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar away, and put it back. Who moves it meanwhile doesn't wait: a run can be cancelled while it asks."""
        with self._lock:
            self._pauses += 1
            self._bar.clear()
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
                self._refresh()

    def close(self) -> None:
        """Take the bar away for good."""
        self._ended.set()
        self._ticking.join()
        with self._lock:
            if self._pauses:  # a question nobody answered is on this line
                sys.stderr.write("\n")
            self._bar.close()
            sys.stderr.write("\r\x1b[K")  # with a ^C that the terminal may have added to the line
            sys.stderr.flush()

    def _tick(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            with self._lock:
                self._refresh()

    def _refresh(self) -> None:
        if not self._pauses and not self._ended.is_set():
            self._bar.refresh()


def title(source: str) -> str:
    """Give a cell's first telling line."""
    lines = [line.strip() for line in source.splitlines()]
    told = one_line(next((line for line in lines if line and not line.startswith(("#", "%%"))), ""))
    return told if len(told) <= _TITLE_CHARACTERS else f"{told[: _TITLE_CHARACTERS - 1]}…"


def waiting_notes(progress: Progress) -> Callable[[str], None]:
    """Give what tells on standard error where a run waits for a person, with the bar away."""

    def tell(text: str) -> None:
        with progress.paused():
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    return tell


def choose(wanted: bool) -> Progress:
    """Give the progress that suits where standard error goes."""
    if not wanted:
        return Progress()
    return ProgressBar() if sys.stderr.isatty() else ProgressLines()
