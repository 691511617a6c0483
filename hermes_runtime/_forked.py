"""A process that a cell has forked: it runs the cell's code to its end, and nothing of the kernel's.

It has copies of the kernel's sockets and of its event loop, and would go on as a second kernel: it was seen to use a processor
without end, and to outlive the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from typing import NoReturn

from ipykernel.iostream import OutStream

FAILED = 1
_kernel = os.getpid()


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Have whatever is forked from here on end where it comes back to the kernel's event loop. Call it in the kernel itself."""
    global _kernel
    _kernel = os.getpid()

    def after_fork_in_child() -> None:
        _print_through_descriptors()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the kernel was at its end
            loop.call_soon(_end_in_the_loop)

    os.register_at_fork(after_in_child=after_fork_in_child)


def _print_through_descriptors() -> None:
    """Have what the process prints go where the output of commands goes, if ipykernel's own way for it isn't open.

    That is a TCP port, which a confined kernel can't listen at; the kernel reads what its children write to the descriptors.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if isinstance(stream, OutStream) and not getattr(stream.pub_thread, "_pipe_flag", True):
            raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True))


def is_child() -> bool:
    """Whether this process was forked from the kernel."""
    return os.getpid() != _kernel


def end_if_child(error: BaseException | None) -> None:
    """End a forked process whose cell's code has ended.

    Args:
        error: What the code ended by, and was shown; None if by its last line.
    """
    if is_child():
        end(_status(error))


def end(status: int) -> NoReturn:
    """End this process at once. What it printed goes where it can; the kernel's exit handlers are not its to run."""
    try:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the way out for its text may have gone with the kernel
                stream.flush()
    finally:
        os._exit(status)


def _status(error: BaseException | None) -> int:
    """Give what the interpreter exits with after an error that nobody caught."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        return FAILED
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return FAILED


def _end_in_the_loop() -> None:
    print("[hermes-runtime] a forked process can't go on in the kernel's event loop, and has ended", file=sys.stderr)
    end(FAILED)
