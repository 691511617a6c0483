"""Wiping a variable out of the block of memory a process got its environment in.

Removing a name from `os.environ` hides it from this process and from its children, but `/proc/<pid>/environ` keeps showing
the block the process was started with, to every process of the same user. Where the system has `/proc`, the value can be
overwritten in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_MAX_BLOCK_BYTES = (
    32 * 2**20
)  # Linux gives arguments and environment together a quarter of the stack limit, 6 MiB at most


def wipe(names: Sequence[str]) -> bool:
    """Overwrite the values of environment variables where `/proc` would still show them.

    Call it after the values have been read and the names removed from `os.environ`.

    Returns:
        Whether none of the values can be read there any more. False where the system doesn't let a process write its own
        memory; there the block can't be cleaned. True where there is no such file to show anything.
    """
    block = Path("/proc/self/environ")
    if not block.exists():
        return True
    prefixes = tuple(f"{name}=".encode() for name in names)
    try:
        spans = _values(block.read_bytes(), prefixes)
        if spans:
            _overwrite(_block_address(), spans)
            spans = _values(block.read_bytes(), prefixes)
    except (OSError, ValueError):
        return False
    return not spans


def _values(block: bytes, prefixes: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """Find `(offset, length)` of the non-blank values whose entry starts with one of the prefixes."""
    spans = []
    offset = 0
    for entry in block.split(b"\0"):
        for prefix in prefixes:
            value = entry[len(prefix) :]
            if entry.startswith(prefix) and value.strip(b"-"):
                spans.append((offset + len(prefix), len(value)))
        offset += len(entry) + 1
    return spans


def _block_address() -> int:
    # The command's name is in parentheses and may hold anything, so fields are counted from the last one. `env_start` is
    # field 50 of proc_pid_stat(5), and the first field behind the name is number 3.
    text = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    return int(text.rpartition(")")[2].split()[50 - 3])


def _overwrite(address: int, spans: Sequence[tuple[int, int]]) -> None:
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        for offset, length in spans:
            if not 0 < length <= _MAX_BLOCK_BYTES:
                raise ValueError("not an environment block")
            memory.seek(address + offset)
            memory.write(b"-" * length)
