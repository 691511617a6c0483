"""What a file's state is recognised by."""

from __future__ import annotations

import os


def file_version(status: os.stat_result) -> str:
    """Give one word for the state of the file with this status: another file, or another content, has another one."""
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
