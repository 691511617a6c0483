"""What is kept of a stream that may be endless."""

from __future__ import annotations


class Ring:
    """The last bytes of a stream, addressed by their offset from its beginning."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._data = bytearray()
        self.end = 0
        """How many bytes there were in all."""

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is still kept."""
        return self.end - min(len(self._data), self._capacity)

    def append(self, data: bytes) -> None:
        """Add bytes, forgetting the oldest ones beyond the capacity."""
        self.end += len(data)
        self._data += data[-self._capacity :] if len(data) > self._capacity else data
        if len(self._data) > 2 * self._capacity:  # not at every byte: a cut moves all that is kept
            del self._data[: -self._capacity]

    def read(self, offset: int, limit: int) -> bytes:
        """Give what is still kept of the bytes from `offset`, at most `limit` of them."""
        first = len(self._data) - (self.end - max(offset, self.start))
        return bytes(self._data[first : first + limit])


class Capture:
    """Cuts one stream into a head that is passed on, a middle that is only counted, and a tail that is kept."""

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self._head_left = head_bytes
        self._passed = 0
        self._rest = Ring(tail_bytes)

    @property
    def produced(self) -> int:
        """How many bytes came in."""
        return self._passed + self._rest.end

    @property
    def omitted(self) -> int:
        """How many bytes are neither in the head nor in the tail."""
        return self._rest.start

    def take(self, data: bytes) -> bytes:
        """Add bytes; give those of them that belong to the head."""
        if len(data) > self._head_left:
            self._rest.append(data[self._head_left :])
            data = data[: self._head_left]
        self._head_left -= len(data)
        self._passed += len(data)
        return data

    def tail(self) -> bytes:
        """What came after the omitted part; all beyond the head when nothing was omitted."""
        return self._rest.read(0, self._rest.end)
