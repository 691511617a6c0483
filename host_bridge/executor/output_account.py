"""What one cell has used of the limits on outputs, and what was left out of the notebook."""

from __future__ import annotations

import dataclasses

from nbformat import NotebookNode


@dataclasses.dataclass(slots=True)
class CellAccount:
    """A cell's account.

    Attributes:
        pending: Text to be joined to the last output.
        note: The output that says what was left out; None as long as nothing was.
    """

    stream_bytes: int = 0
    rich_bytes: int = 0
    errors: int = 0
    left_out_bytes: int = 0
    left_out_outputs: int = 0
    pending: list[str] = dataclasses.field(default_factory=list)
    note: NotebookNode | None = None

    def keep_text(self, text: str, room: int, *, sent_bytes: int | None) -> tuple[str, int]:
        """Give as much of a text as there is room for, with its size in bytes, and count the rest.

        Args:
            text: Printed text, or what is known of it.
            room: How many bytes there is room for.
            sent_bytes: How many were sent, where the text is not all of them.
        """
        size = len(text) if text.isascii() else len(text.encode())
        kept, kept_bytes = text, size
        if size > room:
            kept = text.encode()[: max(0, room)].decode(errors="ignore")
            kept_bytes = len(kept.encode())
        if (left_out := (sent_bytes or size) - kept_bytes) > 0:
            self.leave_out(left_out)
        self.stream_bytes += kept_bytes
        return kept, kept_bytes

    def leave_out(self, size: int) -> None:
        """Count a piece that is not kept."""
        self.left_out_bytes += size
        self.left_out_outputs += 1

    @property
    def explanation(self) -> str:
        """What was left out, for the notebook's reader."""
        return (
            f"[hermes-runtime] This cell's outputs are cut: {self.left_out_bytes:,} bytes "
            f"in {self.left_out_outputs:,} pieces were left out. Kept: {self.stream_bytes:,} bytes printed and "
            f"{self.rich_bytes:,} displayed. Print less, or write it to a file.\n"
        )
