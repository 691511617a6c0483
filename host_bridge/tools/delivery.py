"""How content reaches the kernel: in the reply itself while it is small, as the stream `body` from then on."""

from __future__ import annotations

from host_bridge.tools.interface import CallContext

MAX_BULK_BYTES = 256 * 2**10  # the contract's limit for content in the reply itself


class Delivery:
    """Takes content as it comes, and holds no more of it than fits into a reply.

    Attributes:
        returned_bytes: How much it was.
    """

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._held: list[bytes] = []
        self._emits = False
        self.returned_bytes = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self.returned_bytes += len(piece)
        if self._emits:
            self._context.emit("body", piece)
            return
        self._held.append(piece)
        if self.returned_bytes > MAX_BULK_BYTES:
            self._emits = True
            for held in self._held:
                self._context.emit("body", held)
            self._held.clear()

    def bulk(self) -> dict[str, bytes]:
        """Give what the reply has to bring."""
        if self._emits:
            return {}
        return {"content": self._held[0] if len(self._held) == 1 else b"".join(self._held)}
