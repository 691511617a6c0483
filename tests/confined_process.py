"""Runs code in a process that has confined itself by a plan, and says what came of each statement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from hermes_protocol.confinement import ConfinementPlan, encode_plan

SECONDS = 60.0

_PROGRAM = """
import ast, json, os, sys
from hermes_protocol.confinement import decode_plan
from hermes_runtime.confinement.applying import apply
statements = json.loads(sys.argv[2])
import ctypes, errno, mmap, resource, signal, socket, stat, subprocess, time  # what the statements use, while it can be read
libc = ctypes.CDLL(None, use_errno=True)
def system_call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "system call")
apply(decode_plan(sys.argv[1].encode()))
outcomes = {}
for name, code in statements.items():
    try:
        exec(code, globals())
        outcomes[name] = "ok"
    except OSError as error:
        outcomes[name] = errno.errorcode.get(error.errno, str(error))
    except BaseException as error:
        outcomes[name] = type(error).__name__
print(json.dumps(outcomes))
"""


def outcomes(plan: ConfinementPlan, statements: Mapping[str, str]) -> dict[str, str]:
    """Give for each statement `"ok"`, the name of the system's error number, or the exception."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, encode_plan(plan).decode(), json.dumps(dict(statements))],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def outcome(plan: ConfinementPlan, statement: str) -> str:
    """The same for one."""
    return outcomes(plan, {"it": statement})["it"]


def system_paths() -> list[str]:
    """What Python and a shell need."""
    own = [sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)]
    return ["/usr", "/bin", "/lib", "/lib64", "/etc", *own]
