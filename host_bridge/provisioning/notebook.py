"""What a notebook file declares about the permissions it needs, read without trusting or understanding the rest of it."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

MAX_NOTEBOOK_BYTES = 128 * 2**20  # read before the kernel starts; a larger one has outputs nobody opens in a browser


def declared_permissions(path: str) -> dict[str, Any] | None:
    """Give `metadata.hermes.permissions` of a notebook; None when it declares nothing or isn't a readable notebook.

    A declaration can only narrow, so a file that can't be read changes nothing: it is then no notebook that anybody opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_NOTEBOOK_BYTES:
                return None
            declared = json.loads(file.read())["metadata"]["hermes"]["permissions"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # Something that isn't a table is no declaration the policy could apply; empty narrows to nothing at all.
    return declared if isinstance(declared, dict) else {}
