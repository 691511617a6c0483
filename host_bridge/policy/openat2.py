"""Linux's openat2: open a path with rules the kernel itself keeps while it walks. The system call and nothing else.

glibc has no wrapper, so it goes through `syscall`; the number is the same on every architecture since Linux 5.6.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
import sys

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

O_PATH: int = getattr(os, "O_PATH", 0)

PROC_DESCRIPTORS = "/proc/self/fd"
HAS_PROC_DESCRIPTORS = os.path.isdir(PROC_DESCRIPTORS)  # noqa: PTH112 - no Path for a constant
"""Whether a descriptor can be opened again, or linked, by its name there. Not on macOS, nor where /proc is not mounted."""

_OPENAT2 = 437
_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve

if sys.platform == "linux":
    _syscall = ctypes.CDLL(None, use_errno=True).syscall
    _syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
    _syscall.restype = ctypes.c_long


@functools.cache
def _how(flags: int, resolve: int) -> bytes:
    return _HOW.pack(flags | os.O_CLOEXEC, 0, resolve)


def openat2(folder: int, path: bytes, flags: int, resolve: int) -> int:
    """Open an existing `path` from the descriptor `folder`.

    Args:
        path: Must hold no NUL; ctypes would cut it there.

    Raises:
        OSError: As the kernel said; `EXDEV` when the path leaves `folder`, `ELOOP` at a link where none may be, `EAGAIN` when
            a rename nearby made the answer unsure.
    """
    descriptor: int = _syscall(_OPENAT2, folder, path, _how(flags, resolve), _HOW.size)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return descriptor


@functools.cache
def is_available() -> bool:
    """Whether this kernel has it and no seccomp filter hides it (container runtimes answer EPERM or ENOSYS)."""
    if sys.platform != "linux":
        return False
    root = os.open("/", O_PATH | os.O_CLOEXEC)
    try:
        os.close(openat2(root, b".", O_PATH, RESOLVE_BENEATH))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            return False
        raise
    finally:
        os.close(root)
    return True
