"""What of a question may be written down: plain data that JSON can say, without secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from host_bridge.audit.redaction import REPLACEMENT
from host_bridge.control import Asked

MAX_DEPTH = 64
_LARGEST_INTEGER = 2**63


def presentable(asked: Asked, secrets: Sequence[str] = ()) -> Asked:
    """Give a question as it may be kept: what it says is the same, but for secrets and for what is no text.

    Its digest stays that of the real call, so an answer is for that one whatever was replaced here.
    """
    spellings = sorted({form for secret in secrets if secret for form in (secret, quote(secret, safe=""))}, key=len)

    def clean(text: str) -> str:
        for spelling in reversed(spellings):  # longest first: a secret may contain another
            text = text.replace(spelling, REPLACEMENT)
        # What came from a file system may hold halves of surrogate pairs, which JSON can't say.
        return text.encode("utf-8", "backslashreplace").decode()

    siblings = tuple(
        msgspec.structs.replace(sibling, shown=_plain(sibling.shown, clean), targets=tuple(map(clean, sibling.targets)))
        for sibling in asked.siblings
    )
    texts = {
        name: clean(value)
        for name in asked.__struct_fields__
        if isinstance(value := getattr(asked, name), str) and name not in ("digest", "notebook_digest")
    }
    return msgspec.structs.replace(
        asked,
        **texts,
        shown=_plain(asked.shown, clean),
        targets=tuple(map(clean, asked.targets)),
        siblings=siblings,
    )


def _plain(value: Any, clean: Callable[[str], str], depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        return f"[more than {MAX_DEPTH} levels deep]"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _plain(item, clean, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, clean, depth + 1) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_LARGEST_INTEGER <= value < _LARGEST_INTEGER else hex(value)
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # JSON has no infinity
    if isinstance(value, bytes | bytearray):
        return f"[{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()}]"
    return clean(repr(value))
