"""Importing the package is cheap, quiet, and needs no host."""

from __future__ import annotations

import subprocess
import sys

import pytest


def in_new_process(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


@pytest.mark.parametrize(
    "heavy", ["asyncio", "IPython", "ipykernel", "numpy", "pandas", "difflib", "host_bridge", "subprocess"]
)
def test_an_import_brings_nothing_heavy(heavy: str) -> None:
    look = f"{heavy!r} in sys.modules"
    code = f"import sys, zmq; before = {look}; import hermes_runtime; print(before or not ({look}))"
    assert in_new_process(code) == "True\n"


def test_an_import_makes_no_thread_socket_or_context() -> None:
    code = """
import threading, zmq
made = []
new = zmq.Context.__new__
zmq.Context.__new__ = lambda *args, **options: made.append(1) or new(*args, **options)
import hermes_runtime
print(threading.active_count(), made)
"""
    assert in_new_process(code) == "1 []\n"


def test_star_import_gives_the_tools() -> None:
    code = (
        "from hermes_runtime import *; print(terminal.__name__, aio.__name__, glue.__name__, ToolDeniedError.__name__)"
    )
    assert in_new_process(code) == "terminal hermes_runtime.aio glue ToolDeniedError\n"


def test_the_end_of_the_interpreter_is_quiet_with_an_open_connection() -> None:
    code = """
import hermes_runtime as hermes
from hermes_runtime.testing import FakeHost
FakeHost({"echo": lambda word: word}).__enter__()
print(hermes.call("echo", word="open"))
"""
    assert in_new_process(code) == "open\n"
