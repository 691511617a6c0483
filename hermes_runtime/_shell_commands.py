"""`!command` where no terminal can be had: through a pipe, so that a confined kernel has it too.

IPython runs it on a pseudo terminal. A kernel confined by Landlock alone can't open one: on the host, /dev/pts holds the
terminals in which the user's own programs run.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import os
import signal
import subprocess
import sys

INTERRUPT_SECONDS = 3.0  # from an interrupt to the end of a command that doesn't heed it; IPython waits about as long


@functools.cache
def has_terminals() -> bool:
    """Whether this process can open a pseudo terminal."""
    try:
        descriptors = os.openpty()
    except OSError:
        return False
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def run(command: str) -> int:
    """Run a shell command; its output, both streams in their order, goes to `sys.stdout` while it runs.

    Returns:
        Its exit code, negative for the signal that ended it. Also after an interrupt, which ends the command, not the cell: as
        IPython has it.
    """
    process = subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _show(process)
        return process.wait()
    except KeyboardInterrupt:
        _end(process, signal.SIGINT)
        return process.wait()
    finally:
        if process.poll() is None:
            _end(process, signal.SIGKILL)


def _show(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with process.stdout:
        while piece := os.read(process.stdout.fileno(), 65_536):
            sys.stdout.write(decoder.decode(piece))
            sys.stdout.flush()
        sys.stdout.write(decoder.decode(b"", final=True))


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal the command and what it started; kill them if they don't heed it."""
    for each in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(INTERRUPT_SECONDS)
            return
