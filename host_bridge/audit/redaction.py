"""Makes records fit to be kept: secret values replaced, long values shortened to a beginning and a digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from host_bridge.audit.records import ENUMERATED_FIELDS, Record
from host_bridge.audit.spellings import spellings

REPLACEMENT = "[secret]"
MAX_VALUE_CHARACTERS = 4096  # a command line that a person could have read; files are written elsewhere
_KEPT_CHARACTERS = 1024
MAX_RECORD_BYTES = 65_536
MAX_DEPTH = 32
_ENCODER = msgspec.json.Encoder()


class Redactor:
    """Encodes records as JSON.

    Args:
        secrets: Values that must not be in any of them, in whatever field and spelling (`audit.spellings`).
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = tuple(secrets)
        looked_for = {spelling for secret in secrets for spelling in spellings(secret)}
        # Longest first: a secret may contain another.
        ordered = sorted(looked_for, key=lambda spelling: (-len(spelling), spelling))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        # As they would stand in an encoded record: escaping goes character by character, so containment survives it.
        self._encoded = [_encoded_text(spelling) for spelling in ordered]

    def knowing(self, secret: str) -> Redactor:
        """Give one that knows another secret besides."""
        return Redactor((*self._secrets, secret))

    def encode(self, record: Record) -> bytes:
        """Give a record's bytes.

        Raises:
            ValueError, TypeError, RecursionError: It holds what JSON can't say.
        """
        try:
            body = _ENCODER.encode(record)
        except (UnicodeError, TypeError, ValueError, OverflowError, RecursionError):
            return self._encode_slowly(record)
        if len(body) > MAX_VALUE_CHARACTERS or any(secret in body for secret in self._encoded):
            return self._encode_slowly(record)
        return body

    def _encode_slowly(self, record: Record) -> bytes:
        fields: dict[str, Any] = {"type": record.__struct_config__.tag}
        for name in record.__struct_fields__:
            value = getattr(record, name)
            fields[name] = value if name in ENUMERATED_FIELDS else self._fit(value, 0)
        body = _ENCODER.encode(fields)
        if len(body) > MAX_RECORD_BYTES:
            for name, value in fields.items():
                if name not in ENUMERATED_FIELDS and not isinstance(value, int | float | None):
                    fields[name] = _digest_of(value)
            body = _ENCODER.encode(fields)
        return body

    def _fit(self, value: Any, depth: int) -> Any:
        """Give plain data without secrets, long texts, bytes and depth."""
        if depth > MAX_DEPTH:
            return f"[more than {MAX_DEPTH} levels deep]"
        if isinstance(value, str):
            return self._fit_text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _summary(bytes(value))
        if isinstance(value, dict):
            return {self._fit_text(str(key)): self._fit(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._fit(item, depth + 1) for item in value]
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**64 else self._fit_text(hex(value))
        return self._fit_text(f"[{type(value).__name__}]")

    def _fit_text(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(REPLACEMENT, text)
        # What came from the file system may hold halves of surrogate pairs, which UTF-8 can't say.
        data = text.encode("utf-8", "backslashreplace")
        if len(text) > MAX_VALUE_CHARACTERS:
            return f"{data.decode()[:_KEPT_CHARACTERS]}… {_summary(data)}"
        return data.decode()


def _encoded_text(text: str) -> bytes:
    return _ENCODER.encode(text)[1:-1]


def _summary(data: bytes) -> str:
    return f"[{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}]"


def _digest_of(value: Any) -> Any:
    data = _ENCODER.encode(value)
    return (
        value
        if len(data) <= MAX_VALUE_CHARACTERS
        else {"left_out": _summary(data)}
        if isinstance(value, dict)
        else _summary(data)
    )
