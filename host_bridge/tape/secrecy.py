"""Keeps declared secrets out of a tape: out of text, bytes, and streams whose pieces cut a secret in two."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from host_bridge.audit.redaction import REPLACEMENT
from host_bridge.audit.spellings import spellings
from host_bridge.tape.format import canonical_json, sha256

_REPLACEMENT = REPLACEMENT.encode()


class Secrecy:
    """Replaces secrets in bytes.

    Args:
        secrets: The values that must not be kept, in whatever spelling (`audit.spellings`).
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = tuple(secrets)
        kinds = {spelling.encode() for secret in secrets for spelling in spellings(secret)}
        ordered = sorted(kinds, key=lambda spelling: (-len(spelling), spelling))
        self._pattern = re.compile(b"|".join(map(re.escape, ordered))) if ordered else None
        self.longest = len(ordered[0]) if ordered else 0

    def knowing(self, secret: str) -> Secrecy:
        """Give one that knows another secret besides."""
        return Secrecy((*self._secrets, secret))

    def __bool__(self) -> bool:
        return self._pattern is not None

    def scrub(self, data: bytes) -> bytes:
        """Give bytes without secrets."""
        return data if self._pattern is None else self._pattern.sub(_REPLACEMENT, data)

    def text(self, text: str) -> str:
        """Give text without secrets, as UTF-8 can say it."""
        return self.scrub(text.encode("utf-8", "backslashreplace")).decode()

    def json(self, value: Any) -> str:
        """Give plain data as canonical JSON without secrets."""
        try:
            encoded = canonical_json(value)
        except (UnicodeError, TypeError, ValueError, RecursionError):
            encoded = canonical_json(_plain(value, 0))
        return self.scrub(encoded).decode()

    def holds_secret(self, data: bytes) -> bool:
        """Whether a secret is in it."""
        return self._pattern is not None and self._pattern.search(data) is not None


class StreamSecrecy:
    """Scrubs streams piece by piece, holding back what could be the beginning of a secret."""

    def __init__(self, secrecy: Secrecy) -> None:
        self._secrecy = secrecy
        self._held: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> bytes:
        """Take a piece and give what can be kept by now."""
        scrubbed = self._secrecy.scrub(self._held.get(stream, b"") + data)
        keep = max(0, len(scrubbed) - self._secrecy.longest + 1)
        self._held[stream] = scrubbed[keep:]
        return scrubbed[:keep]

    def rest(self) -> list[tuple[str, bytes]]:
        """Give what was held back to the end."""
        held, self._held = self._held, {}
        return [(stream, data) for stream, data in held.items() if data]


def _plain(value: Any, depth: int) -> Any:
    """Give what JSON can say of anything: what it can't, as text."""
    if depth > 64:
        return "[more than 64 levels deep]"
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$sha256": sha256(value), "bytes": len(value)}
    if isinstance(value, Mapping):
        return {_plain(str(key), depth): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | float | int):
        return value
    return repr(type(value))
