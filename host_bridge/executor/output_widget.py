"""The widget that captures outputs, as the host keeps it for a kernel."""

from __future__ import annotations

from nbclient.output_widget import OutputWidget


class SparingOutputWidget(OutputWidget):
    """An Output widget that tells the kernel its state once, after the cell, instead of all of it after every output.

    The kernel doesn't read it before the cell is over, and a socket nobody reads from fills.
    """

    is_stale = False

    def sync_state(self) -> None:
        """Note that there is something to tell."""
        self.is_stale = True

    def flush(self) -> None:
        """Tell it."""
        if self.is_stale:
            self.is_stale = False
            super().sync_state()
