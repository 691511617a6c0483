"""Files that a run only pretends to have changed, for who looks around in its workspace: they are seen over the real ones."""

from __future__ import annotations

from pathlib import Path

from host_bridge.tools.interface import Session
from host_bridge.tools.tree import Layer

_RESOURCE = "overlay"


class Overlay:
    """What was touched so far, by paths from the workspace. Adding is for one thread at a time; looking is for any.

    Args:
        folder: Holds each touched file that there still is, at its path. Absolute.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.touched: frozenset[str] = frozenset()

    @staticmethod
    def of(session: Session) -> Overlay | None:
        """Give a session's; None for one whose calls are real."""
        found = session.resources.get(_RESOURCE)
        return found if isinstance(found, Overlay) else None

    def lay(self, session: Session) -> None:
        """Have the session's tools see it."""
        session.resources[_RESOURCE] = self

    def add(self, name: str) -> None:
        """Have a file seen as it is in the folder."""
        self.touched |= {name}

    def layer(self, relative: str | None) -> Layer | None:
        """Give what is seen over a folder of the workspace, None where nothing is."""
        if relative is None or not self.touched:
            return None
        folder = Path(self._folder, relative)
        if not folder.is_dir():
            return None
        before = f"{relative}/" if relative else ""
        return Layer(str(folder), frozenset(name[len(before) :] for name in self.touched if name.startswith(before)))


def layer_over(session: Session, relative: str | None) -> Layer | None:
    """Give what a session sees over a folder of its workspace."""
    overlay = Overlay.of(session)
    return None if overlay is None else overlay.layer(relative)
