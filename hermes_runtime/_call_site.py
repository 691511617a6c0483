"""Where in the notebook a call is made: a hint that goes with it, for the people who read the audit log and the tape."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from hermes_protocol.messages import CallSite

MAX_FRAMES = 64  # deeper than this it isn't looked for: a hint may not cost more than the call
MAX_CELL_CHARACTERS = 256


def call_site() -> CallSite | None:
    """Give the running cell and the line in it, None outside a notebook."""
    module = sys.modules.get("ipykernel.zmqshell")
    if module is None:
        return None
    shell = module.ZMQInteractiveShell._instance
    if not isinstance(shell, module.ZMQInteractiveShell):  # IPython in a terminal is the `_instance` of this class too
        return None
    parent = shell.parent_header
    header = parent.get("header", parent)
    cell = header.get("msg_id", "")
    if type(cell) is not str or len(cell) > MAX_CELL_CHARACTERS:
        return None
    return CallSite(cell=cell, line=_line(shell.user_ns) or _line_of_its_code(shell, cell))


def _line(namespace: dict[str, object]) -> int:
    """Find the line of the cell's own frame: module code that runs in the notebook's namespace."""
    frame: FrameType | None = sys._getframe(3)
    for _ in range(MAX_FRAMES):
        if frame is None:
            return 0
        if frame.f_globals is namespace and frame.f_code.co_name == "<module>":
            return frame.f_lineno
        frame = frame.f_back
    return 0


def _line_of_its_code(shell: Any, cell: str) -> int:
    """Find the nearest line of the cell's code where its own frame isn't on the stack: in a thread, or a task.

    A function of an earlier cell says nothing: its line is one of that cell.
    """
    numbers: dict[str, int] = getattr(shell.compile, "_filename_map", {})  # of cells, by the file names of their code
    if not numbers:
        return 0
    running = _number_of(cell, numbers)
    frame: FrameType | None = sys._getframe(3)
    for _ in range(MAX_FRAMES):
        if frame is None:
            return 0
        if frame.f_globals is shell.user_ns and numbers.get(frame.f_code.co_filename) == running:
            return frame.f_lineno
        frame = frame.f_back
    return 0


_latest = ("", 0)


def _number_of(cell: str, numbers: dict[str, int]) -> int:
    """Give the number of the running cell: the highest there is, looked for once a cell."""
    global _latest
    if _latest[0] != cell:
        _latest = (cell, max(tuple(numbers.values())))  # a copy in one step: another thread may be compiling
    return _latest[1]
