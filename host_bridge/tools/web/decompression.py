"""Takes compression off a body without ever making more of it than asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from host_bridge.tools.web.problems import WebError

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_RAW_DEFLATE = -zlib.MAX_WBITS
_PIECE_BYTES = 2**16


class Decompressor:
    """For one body with the given `Content-Encoding`.

    Raises:
        WebError: On an encoding nobody asked for.
    """

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise WebError(f"the content is compressed by {encoding[:100]!r}, which was not asked for")
        self._plain = encoding in ("", "identity")
        self._undecided = b"" if encoding == "deflate" else None
        self._begun = False
        self._over = False
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)

    def feed(self, data: bytes, limit: int) -> bytes:
        """Take the next piece and give at most `limit` bytes; what would be more is lost.

        Raises:
            WebError: It isn't compressed as it says.
        """
        output = bytearray()
        if limit > 0:
            for piece in self.pieces(data, min(limit, _PIECE_BYTES)):
                output += piece[: limit - len(output)]
                if len(output) >= limit:
                    break
        return bytes(output)

    def pieces(self, data: bytes, most: int) -> Iterator[bytes]:
        """Take the next piece and give all that it holds, at most so many bytes at a time, however much that is.

        Raises:
            WebError: It isn't compressed as it says.
        """
        if self._plain:
            yield from (data[start : start + most] for start in range(0, len(data), most))
            return
        if self._undecided is not None:
            data = self._decide(self._undecided + data)
        try:
            yield from self._inflate(data, most)
        except zlib.error:
            raise WebError("the content is damaged: it can't be decompressed") from None

    @property
    def is_unfinished(self) -> bool:
        """Whether what was fed so far ends in the middle of what was compressed."""
        return self._begun and not self._inflater.eof and not self._over

    def _decide(self, start: bytes) -> bytes:
        """Tell the two things apart that servers call deflate: with zlib's header of two bytes, and without."""
        if len(start) < 2:
            self._undecided = start
            return b""
        self._undecided = None
        if start[0] & 0x0F != zlib.DEFLATED or int.from_bytes(start[:2]) % 31:
            self._inflater = zlib.decompressobj(_RAW_DEFLATE)
        return start

    def _inflate(self, data: bytes, most: int) -> Iterator[bytes]:
        is_full = False  # then there may be more of what was taken already
        while (data or is_full) and not self._over:
            if self._inflater.eof and not (data and self._begin_another(data)):
                return
            self._begun = True
            piece = self._inflater.decompress(data, most)
            data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            is_full = len(piece) == most
            if piece:
                yield piece

    def _begin_another(self, data: bytes) -> bool:
        """Files in gzip's format can be strung together; anything else that follows one is padding."""
        self._over = not data.startswith(_GZIP_MAGIC)
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        return not self._over
