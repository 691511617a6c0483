"""Takes the values of secrets out of what leaves the bridge, whole or in pieces of whatever size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hermes_protocol.messages import secret_text
from host_bridge.audit.spellings import spellings

_HEAD = 4


class Veil:
    """Replaces the values it knows by `[secret NAME]`. Immutable: a new value makes a new veil.

    Args:
        values: By name.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        names: dict[str, str] = {}
        for name, value in values.items():
            for spelling in spellings(value):
                names.setdefault(spelling, secret_text(name))
        # Longest first: a value may contain another.
        ordered = sorted(names, key=lambda spelling: (-len(spelling.encode()), spelling))
        self._texts = names
        self._text = re.compile("|".join(map(re.escape, ordered)))
        self._bytes = {spelling.encode(): shown.encode() for spelling, shown in names.items()}
        self._data = re.compile(b"|".join(re.escape(spelling.encode()) for spelling in ordered))
        self._longest = max(map(len, self._bytes), default=0)
        self._by_head: dict[bytes, list[bytes]] = {}
        for known in self._bytes:
            self._by_head.setdefault(known[:_HEAD], []).append(known)

    def text(self, text: str) -> str:
        """Give a text without values."""
        return self._text.sub(lambda found: self._texts[found[0]], text)

    def data(self, data: bytes | bytearray | memoryview) -> bytes:
        """Give bytes without values."""
        return self._data.sub(lambda found: self._bytes[found[0]], bytes(data))

    def plain(self, value: Any) -> Any:
        """Give plain data (what JSON can say) without values, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.plain(key): self.plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, bytes | bytearray | memoryview):
            return self.data(value)
        return value

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Give what is certain of the beginning of a stream, without values, and the rest, which more bytes may complete."""
        given = bytearray()
        position = 0
        while True:
            held = self._may_begin(data, position)
            found = self._data.search(data, position)
            if found is None or found.start() >= held:
                return bytes(given + data[position:held]), data[held:]
            given += data[position : found.start()] + self._bytes[found[0]]
            position = found.end()

    def _may_begin(self, data: bytes, start: int) -> int:
        """Where the first value begins that the data's end leaves unfinished; the data's length if none does."""
        end = len(data)
        for position in range(max(start, end - self._longest + 1), end):
            # By a few bytes first: nearly nothing begins like a value, and comparing all of it costs a copy.
            head = data[position : position + _HEAD]
            candidates = self._bytes if len(head) < _HEAD else self._by_head.get(head)
            if candidates:
                rest = data[position:]
                if any(len(known) > len(rest) and known.startswith(rest) for known in candidates):
                    return position
        return end


class Values:
    """The values that are known so far. Thread-safe.

    Attributes:
        veil: Hides all of them; None while there are none.
    """

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self.veil: Veil | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def add(self, name: str, value: str) -> None:
        """Know one more; hidden before anybody is given it."""
        values = {**self._values, name: value}
        self.veil = Veil(values)
        self._values = values


class VeiledStream:
    """One stream without values, whatever pieces it comes in.

    Args:
        values: What to hide; a value learnt later is hidden from then on.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._held = b""

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take bytes; give those that can't be the beginning of a value."""
        veil = self._values.veil
        if veil is None:
            return bytes(data)
        given, self._held = veil.split(self._held + bytes(data))
        return given

    def finish(self) -> bytes:
        """Give what was held back: nothing follows that could complete a value."""
        held, self._held = self._held, b""
        veil = self._values.veil
        return held if veil is None else veil.data(held)


def veiled(values: Values | None, output: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Give a command's output without values; None where there are no secrets."""
    if values is None:
        yield from output
        return
    streams: dict[str, VeiledStream] = {}
    for name, data in output:
        stream = streams.get(name) or streams.setdefault(name, VeiledStream(values))
        if given := stream.feed(data):
            yield name, given
    for name, stream in streams.items():
        if rest := stream.finish():
            yield name, rest
