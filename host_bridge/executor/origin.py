"""Where a notebook in memory was read from, so that writing it back doesn't undo what somebody else wrote meanwhile.

Kept beside the notebook's content and not in it: no file ever has it, and copies keep it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host_bridge.errors import NotebookError, OutputError
from host_bridge.locks import LockBusyError, lock

_KEY = "_hermes_origin"
_LOCK_SECONDS = 10.0  # a write takes milliseconds; whoever holds the lock for longer is not writing


class StaleNotebookError(NotebookError):
    """A notebook that somebody else changed on disk since it was read; nothing was written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a notebook that was read.

    Attributes:
        path: The file, links resolved; empty for a notebook that came from elsewhere.
        digest: SHA-256 of its text.
        changes: What reading changed, for a person: a format that was upgraded, ids that were given.
    """

    path: str = ""
    digest: str = ""
    changes: tuple[str, ...] = ()


def remember(notebook: Any, origin: Origin) -> None:
    """Keep a notebook's origin with it."""
    notebook.__dict__[_KEY] = origin  # a node's own __setattr__ would put it into the content


def origin_of(notebook: Any) -> Origin:
    """Give what `remember` kept; an empty origin where it kept nothing."""
    found = getattr(notebook, "__dict__", {}).get(_KEY)
    return found if isinstance(found, Origin) else Origin()


def text_digest(text: str) -> str:
    """Name a file's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_unchanged(origin: Origin) -> None:
    """Check that a file still holds what was read from it.

    Raises:
        StaleNotebookError: It doesn't, or is gone.
    """
    try:
        text = Path(origin.path).read_text(encoding="utf-8")
    except FileNotFoundError:
        what = "is gone"
    except (OSError, UnicodeDecodeError):
        what = "can't be read any more"
    else:
        if text_digest(text) == origin.digest:
            return
        what = "has changed"
    raise StaleNotebookError(
        f"{origin.path} {what} since it was read, so it was not written; read it again and repeat the change, or force it",
        path=origin.path,
    )


@contextlib.contextmanager
def folder_lock(path: str) -> Iterator[None]:
    """Keep others who use this lock from writing notebooks into a file's folder.

    Raises:
        OutputError: The folder can't be opened, or somebody holds the lock for long.
    """
    folder = os.path.dirname(path)  # noqa: PTH120 - "" means "." here
    try:
        descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OutputError(f"can't write {path!r}: its folder can't be opened: {error.strerror}", path=path) from None
    try:
        lock(descriptor, _LOCK_SECONDS)
        yield
    except LockBusyError as error:
        who = error.holder or "another process"
        raise OutputError(f"can't write {path!r}: {who} keeps its folder locked; try again", path=path) from None
    finally:
        os.close(descriptor)  # and with it the lock
