"""How the execution of one cell ended: by its reply, or by something that came before it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class Cause(enum.Enum):
    """Why a cell is settled."""

    REPLIED = enum.auto()
    TIMED_OUT = enum.auto()
    DIED = enum.auto()
    STOPPED = enum.auto()


@dataclasses.dataclass(slots=True)
class CellEnd:
    """How a cell ended.

    Attributes:
        reply: The content of the execution reply; None when there was none.
        detail: For people: what happened, where the cause alone doesn't say.
        hang: Of a cell that did not end in time, what it did: see `Hang`.
        is_killed: The kernel had to be killed.
    """

    cause: Cause
    reply: dict[str, Any] | None = None
    detail: str = ""
    hang: str = ""
    is_killed: bool = False

    @property
    def explanation(self) -> str:
        """For people."""
        if self.cause is Cause.DIED:
            return f"the kernel died: {self.detail}"
        if self.is_killed:
            return f"{self.detail}; it did not end when interrupted, so its kernel was killed"
        return self.detail


class Hang(enum.StrEnum):
    """What a kernel that doesn't come back is doing."""

    BUSY = "busy"
    NATIVE = "native"
    FROZEN = "frozen"

    @property
    def explanation(self) -> str:
        """For people."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Hang.BUSY: "the cell was still running",
    Hang.NATIVE: "the kernel is held in native code that doesn't let Python run, which an interrupt can't reach",
    Hang.FROZEN: "the kernel's process is frozen: it doesn't even answer its heartbeat",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Deadline:
    """When a cell must have ended, on the run's clock, and whose limit that is."""

    seconds: float
    description: str
