"""How large a notebook may become."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much of its outputs a notebook keeps. What is left out is counted and said in the cell it came from.

    Attributes:
        stream_bytes: Of text printed by one cell.
        rich_bytes: Of displayed data in one cell, a single output included.
        outputs: How many outputs a cell has.
        total_bytes: Of the whole notebook.
        widget_bytes: Of widget messages in the whole run; later ones are ignored.
    """

    stream_bytes: int = 64 * 2**20
    rich_bytes: int = 64 * 2**20
    outputs: int = 10_000
    total_bytes: int = 256 * 2**20
    widget_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"the limit {field.name} is negative; 0 keeps nothing")


DEFAULT_LIMITS = OutputLimits()
