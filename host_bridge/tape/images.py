"""What a file is at a moment, looked at through its folder's descriptor."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat

from host_bridge.tape.recorder import Image

MAX_IMAGE_BYTES = 32 * 2**20  # a file that is larger is no text anybody edits; its digest is kept
MAX_AFTER_BYTES = 65_536  # what a call left is kept to show what happened to it since
_PIECE_BYTES = 2**20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def look_at(path: str, folder: int, name: str, *, keep_bytes: int = MAX_IMAGE_BYTES) -> Image:
    """Give what has a name in a folder now.

    Args:
        path: Its whole path, for the record.
        folder: The folder's descriptor.
        name: Within it.
        keep_bytes: Up to which size the content is wanted, not only its digest.

    Raises:
        OSError: It can't be read.
    """
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return Image(path, existed=False)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Image(path, existed=True, mode=stat.S_IMODE(status.st_mode), digest="not a file")
        digest, pieces, size = hashlib.sha256(usedforsecurity=False), [], 0
        while piece := os.read(descriptor, _PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            if size <= keep_bytes:
                pieces.append(piece)
        content = b"".join(pieces) if size <= keep_bytes else None
        return Image(path, True, stat.S_IMODE(status.st_mode), size, digest.hexdigest(), content)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
