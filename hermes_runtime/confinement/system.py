"""The system calls Python has no function for, by number: prctl, capset, Landlock and seccomp. Edges, no decisions."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

SYS_LANDLOCK_CREATE_RULESET = 444  # these three have one number on every architecture
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}

_library: ctypes.CDLL | None = None


def machine() -> str:
    """The processor, as the tables here name it."""
    return {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())


def library() -> ctypes.CDLL:
    """The C library, with types declared.

    Raises:
        OSError: This is not Linux.
    """
    global _library
    if _library is None:
        if sys.platform != "linux":
            raise OSError("confining a kernel by Landlock and seccomp needs Linux")
        _library = ctypes.CDLL(None, use_errno=True)
        _library.syscall.restype = ctypes.c_long
        _library.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return _library


def prctl(option: int, *arguments: int) -> None:
    """Call prctl.

    Raises:
        OSError: As the system said.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    check(library().prctl(option, *padded), f"prctl({option})")


def check(result: int, what: str) -> int:
    """Turn a negative result into the error it stands for.

    Raises:
        OSError: With the system's number, naming the call.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def forbid_new_privileges() -> None:
    """From now on no program this process starts gains anything by being setuid or having file capabilities."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
