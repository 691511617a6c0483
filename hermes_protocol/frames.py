"""A message and its bulk bytes, to ZeroMQ frames and back.

    frame 0      the envelope: one MessagePack map, tagged by "type"
    frames 1..n  bulk bytes, raw; what they are is named in the envelope

Decoding trusts nothing: sizes are checked before parsing, the map's depth, length and keys while parsing, and its shape by
`msgspec.convert` into the declared struct. Whatever doesn't fit raises `RemoteProtocolError`, and nothing else is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import msgpack
import msgspec

from .errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from .messages import MESSAGE_TYPES, AnyMessage, Chunk, ToolReply, ToolRequest

MAX_FRAMES = 64  # what libzmq hands over for one message is bounded by this times the frame size
MAX_ENVELOPE_BYTES = 1 * 2**20  # plain data only; HTTP servers allow 8-64 KiB of headers, gRPC 4 MiB of message
MAX_BULK_FRAME_BYTES = 4 * 2**20  # gRPC's whole message; large enough that per-frame costs vanish
MAX_MESSAGE_BYTES = 8 * 2**20
MAX_DEPTH = 32

Frame = bytes | memoryview

_THREAD = threading.local()  # a Packer is not thread-safe, and making one costs more than packing a small message


def encode(message: AnyMessage, bulk: Sequence[Frame] = ()) -> list[Frame]:
    """Give the frames that carry `message` and its `bulk`.

    Raises:
        LocalProtocolError: It is over a limit, or holds a value MessagePack has no form for.
    """
    try:
        envelope = _packer().pack(msgspec.to_builtins(message, builtin_types=(bytes,)))
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{type(message).__name__} can't be encoded: {error}", ErrorCode.MALFORMED) from None
    problem = _size_problem([envelope, *bulk]) if bulk or len(envelope) > MAX_ENVELOPE_BYTES else None
    if problem is None and len(bulk) != (expected := _bulk_count(message)):
        raise LocalProtocolError(
            f"{type(message).__name__} names {expected} bulk frames, got {len(bulk)}", ErrorCode.MALFORMED
        )
    if problem:
        raise LocalProtocolError(f"{type(message).__name__} {problem}", ErrorCode.TOO_LARGE)
    return [envelope, *bulk]


def decode(frames: Sequence[Frame]) -> tuple[AnyMessage, Sequence[Frame]]:
    """Read frames from the other side.

    Returns:
        The message and its bulk frames, as many as the message names.

    Raises:
        RemoteProtocolError: With `MALFORMED` or `TOO_LARGE`; the connection they came on must be closed.
    """
    if not frames:
        raise RemoteProtocolError("a message needs at least one frame", ErrorCode.MALFORMED)
    if problem := _size_problem(frames):
        raise RemoteProtocolError(f"the message {problem}", ErrorCode.TOO_LARGE)
    try:
        fields = msgpack.unpackb(
            frames[0],
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_without_duplicates,
            ext_hook=_no_extension,
            max_map_len=4096,
            max_array_len=131_072,
        )
        # By tag rather than into the union: msgspec rebuilds a union's decoder at every call, ten times the cost.
        message: AnyMessage = msgspec.convert(fields, type=MESSAGE_TYPES[fields["type"]])
    except Exception as error:
        # msgpack raises a dozen types here (ValueError, StackError, UnicodeDecodeError, RecursionError, …), and a hostile
        # peer must not be able to find one that isn't listed.
        raise RemoteProtocolError(f"the envelope is not a message: {_brief(error)}", ErrorCode.MALFORMED) from None
    bulk = frames[1:]
    if type(message) is ToolRequest:
        _check_plain(message.arguments)
    if len(bulk) != (expected := _bulk_count(message)):
        raise RemoteProtocolError(
            f"{type(message).__name__} names {expected} bulk frames, got {len(bulk)}", ErrorCode.MALFORMED
        )
    return message, bulk


def _packer() -> msgpack.Packer:
    packer = getattr(_THREAD, "packer", None)
    if packer is None:
        packer = _THREAD.packer = msgpack.Packer()
    return packer


def _bulk_count(message: AnyMessage) -> int:
    kind = type(message)
    if kind is ToolRequest or kind is ToolReply:
        return len(message.bulk)  # type: ignore[union-attr]
    return 1 if kind is Chunk else 0


def _size_problem(frames: Sequence[Frame]) -> str | None:
    if len(frames) > MAX_FRAMES:
        return f"has {len(frames)} frames, over the limit of {MAX_FRAMES}"
    if len(frames[0]) > MAX_ENVELOPE_BYTES:
        return f"has an envelope of {len(frames[0])} bytes, over the limit of {MAX_ENVELOPE_BYTES}"
    total = 0
    for frame in frames[1:]:
        if len(frame) > MAX_BULK_FRAME_BYTES:
            return f"has a bulk frame of {len(frame)} bytes, over the limit of {MAX_BULK_FRAME_BYTES}"
        total += len(frame)
    return f"has {total} bulk bytes, over the limit of {MAX_MESSAGE_BYTES}" if total > MAX_MESSAGE_BYTES else None


def _without_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    # Two readers that disagree about which of two equal keys counts is how a checked value and a used one come apart.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one map")
    return fields


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not part of the protocol")


def _check_plain(value: Any, depth: int = 0) -> None:
    """Refuse what JSON could not say, so that arguments can be shown, hashed and recorded without loss."""
    if depth > MAX_DEPTH:
        raise RemoteProtocolError(f"the arguments are nested deeper than {MAX_DEPTH}", ErrorCode.MALFORMED)
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise RemoteProtocolError("argument maps need text keys", ErrorCode.MALFORMED)
            _check_plain(item, depth + 1)
    elif kind is list:
        for item in value:
            _check_plain(item, depth + 1)
    elif kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise RemoteProtocolError("arguments can't hold NaN or infinity", ErrorCode.MALFORMED)
    elif value is not None and kind not in (str, int, bool):
        raise RemoteProtocolError(
            f"arguments can't hold {kind.__name__}; bytes travel in bulk frames", ErrorCode.MALFORMED
        )


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
