"""What a kernel sends, read with suspicion: any bytes give a message that a notebook can hold, or a `MalformedMessageError`."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_client.session import Session
    from zmq import Frame

_DELIMITER = b"<IDS|MSG>"
_PARTS = 5  # signature, header, parent header, metadata, content
_BUFFERS_FROM = 5

MAX_DEPTH = 64
"""Of lists and objects in one another. nbformat copies notebooks by recursion and breaks at about 200."""

# What makes text or a number that JSON can't carry on: half a surrogate pair, NaN, an infinity.
_NEEDS_CLEANING = (b"\\ud", b"\\uD", b"NaN", b"Infinity")
_STREAM_HEAD = re.compile(rb'\s*\{\s*"name"\s*:\s*"(stdout|stderr)"\s*,\s*"text"\s*:\s*"')


class MalformedMessageError(ValueError):
    """Bytes that are no message of this kernel."""


@dataclasses.dataclass(slots=True)
class KernelMessage:
    """One message.

    Attributes:
        parent_id: The `msg_id` of the request it belongs to, empty when it belongs to none.
        size: Bytes of the content as sent, buffers included.
        is_cut: The content was too large to be read: `content` has what little is known of it.
    """

    msg_type: str
    parent_id: str
    header: dict[str, Any]
    parent_header: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: list[memoryview]
    size: int
    is_cut: bool = False

    def as_jupyter(self) -> dict[str, Any]:
        """Give the shape that nbclient and nbformat work with."""
        return {
            "header": self.header,
            "msg_id": self.header.get("msg_id"),
            "msg_type": self.msg_type,
            "parent_header": self.parent_header,
            "metadata": self.metadata,
            "content": self.content,
            "buffers": self.buffers,
        }


def read_message(session: Session, frames: Sequence[Frame], *, max_bytes: int) -> KernelMessage:
    """Check and read one message.

    Args:
        session: Knows the key.
        frames: All parts as received, not copied.
        max_bytes: A larger content is cut before it is decoded: of a stream's text the beginning is kept, of others nothing.

    Raises:
        MalformedMessageError: Wrong signature, wrong shape, no JSON.
    """
    parts = _after_delimiter(frames)
    if session.auth is not None and not compare_digest(bytes(parts[0]), session.sign(list(parts[1:_PARTS]))):
        raise MalformedMessageError("the signature doesn't fit")
    header, parent, metadata = (_read_object(part) for part in parts[1:4])
    msg_type = header.get("msg_type")
    if not isinstance(msg_type, str):
        raise MalformedMessageError("a message without a type")
    buffers = list(parts[_BUFFERS_FROM:])
    size = len(parts[4]) + sum(map(len, buffers))
    is_cut = size > max_bytes
    content = _cut_content(msg_type, parts[4], max_bytes) if is_cut else _read_object(parts[4])
    parent_id = parent.get("msg_id")
    return KernelMessage(
        msg_type=msg_type,
        parent_id=parent_id if isinstance(parent_id, str) else "",
        header=header,
        parent_header=parent,
        metadata=metadata,
        content=content,
        buffers=[] if is_cut else buffers,
        size=size,
        is_cut=is_cut,
    )


def _after_delimiter(frames: Sequence[Frame]) -> list[memoryview]:
    for position, frame in enumerate(frames):
        if len(frame.buffer) == len(_DELIMITER) and bytes(frame.buffer) == _DELIMITER:
            parts = [later.buffer for later in frames[position + 1 :]]
            if len(parts) >= _PARTS:
                return parts
            break
    raise MalformedMessageError("too few parts")


def _read_object(part: memoryview) -> dict[str, Any]:
    raw = bytes(part)
    try:
        value = json.loads(raw.decode("utf-8", "replace"))
        if any(sign in raw for sign in _NEEDS_CLEANING) or raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
            value = clean(value)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError(f"no JSON that a notebook can hold: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise MalformedMessageError("not an object")
    return value


def _cut_content(msg_type: str, part: memoryview, max_bytes: int) -> dict[str, Any]:
    if msg_type != "stream":
        return {}
    head = _STREAM_HEAD.match(part[:200])
    if head is None:
        return {}
    return {"name": head[1].decode(), "text": _decode_cut(bytes(part[head.end() : head.end() + max_bytes]))}


def _decode_cut(raw: bytes) -> str:
    """Read the beginning of a JSON string. The cut may have gone through a character or an escape."""
    text = raw.decode("utf-8", "ignore")
    tail = re.search(r"(?<!\\)(?:\\\\)*\\(?:u[0-9a-fA-F]{0,3})?\Z", text[-16:])
    if tail is not None:
        text = text[: len(text) - (len(text[-16:]) - tail.start())]
    try:
        value = clean(json.loads(f'"{text}"'))
    except ValueError:
        return ""
    return str(value)


def clean(value: Any, *, depth: int = 0) -> Any:
    """Give plain data that JSON and UTF-8 can carry.

    Half of a surrogate pair becomes U+FFFD; what is not a number becomes null, as in JavaScript's `JSON.stringify`.

    Raises:
        ValueError: Nested more than `MAX_DEPTH` deep.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean(key): clean(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth=depth + 1) for item in value]
    return value
