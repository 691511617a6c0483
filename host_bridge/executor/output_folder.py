"""The folder an output goes to: made where it is missing, as a person who names `runs/today/out.ipynb` means it."""

from __future__ import annotations

import os
from pathlib import Path

from host_bridge.errors import OutputError


def make_folder(shown: str) -> None:
    """Make the folders that are missing on the way to a file, with the modes that the umask leaves.

    Args:
        shown: The file's path, as it was given.

    Raises:
        OutputError: They can't be made. A link that leads nowhere is not taken for a folder that is to be.
    """
    folder = Path(os.path.abspath(shown)).parent  # noqa: PTH100
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not there.is_dir():
        what = "is a link that leads nowhere" if there.is_symlink() else "is not a folder"
        raise OutputError(f"can't write {shown!r}: {str(there)!r} {what}; choose another output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"can't write {shown!r}: the folder {str(folder)!r} doesn't exist, and can't be made: {error.strerror}; choose "
            "another output, or create it"
        ) from None
