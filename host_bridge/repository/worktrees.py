"""A working tree of its own for work on a branch: the person's checkout, its index and its files stay as they are."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from host_bridge.repository.git import Git


@contextlib.contextmanager
def worktree(git: Git, revision: str) -> Iterator[Git]:
    """Check a revision out into a folder that is gone afterwards. Its commits stay, if a branch leads to them."""
    with tempfile.TemporaryDirectory(prefix="worktree-") as folder:
        path = Path(folder, git.folder.name or "repository")
        try:
            git.run("worktree", "add", "--quiet", "--detach", str(path), revision)
            yield Git(path)
        finally:
            # Twice: one that git didn't finish making is locked.
            git.run("worktree", "remove", "--force", "--force", str(path), check=False)
            git.run("worktree", "prune", check=False)
