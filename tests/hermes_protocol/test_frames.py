"""Messages to frames and back, and what hostile bytes come to."""

from __future__ import annotations

import json
import pickle
import random

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_protocol import ErrorCode, LocalProtocolError, ProtocolError, RemoteProtocolError
from hermes_protocol.frames import MAX_BULK_FRAME_BYTES, MAX_ENVELOPE_BYTES, MAX_FRAMES, decode, encode
from hermes_protocol.messages import (
    MAX_CALL_ID,
    MESSAGE_TYPES,
    Chunk,
    Failure,
    Heartbeat,
    Hello,
    ToolReply,
    ToolRequest,
)

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ENVELOPE = {"type": "tool_request", "id": 1, "tool": "terminal", "arguments": {}, "timeout_seconds": 1.0}


def refused(frames, code=ErrorCode.MALFORMED):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(frames)
    assert caught.value.code is code
    return str(caught.value)


@given(arguments=st.dictionaries(st.text(), PLAIN, max_size=5), call_id=st.integers(1, MAX_CALL_ID))
def test_a_request_arrives_as_it_was_sent(arguments, call_id):
    message = ToolRequest(id=call_id, tool="terminal", arguments=arguments, timeout_seconds=1.0)
    assert decode(encode(message)) == (message, [])


@given(contents=st.lists(st.binary(max_size=100), max_size=5))
def test_bulk_bytes_arrive_in_frames_of_their_own(contents):
    message = ToolReply(id=1, result={}, bulk=tuple(f"part_{n}" for n in range(len(contents))))
    frames = encode(message, contents)
    assert frames[1:] == contents
    assert decode(frames) == (message, contents)


@settings(max_examples=500)
@given(frames=st.lists(st.binary(max_size=60), max_size=4))
def test_random_bytes_are_refused_with_a_typed_error(frames):
    with pytest.raises(RemoteProtocolError):
        decode(frames)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_message_is_refused_or_another_valid_one(seed):
    chance = random.Random(seed)
    good = ToolRequest(
        id=3, tool="terminal", arguments={"command": "ls", "timeout": 3}, timeout_seconds=3.0, bulk=("a",)
    )
    envelope = bytearray(encode(good, [b"x"])[0])
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(envelope))
        match chance.randrange(3):
            case 0:
                envelope[place] = chance.randrange(256)
            case 1:
                del envelope[place]
            case 2:
                envelope.insert(place, chance.randrange(256))
    try:
        message, _ = decode([bytes(envelope), b"x"])
    except RemoteProtocolError:
        return
    assert type(message) in MESSAGE_TYPES.values()


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"\x80",
        json.dumps(ENVELOPE).encode(),
        pickle.dumps(ENVELOPE),
        msgpack.packb(ENVELOPE)[:-3],
        msgpack.packb(ENVELOPE) + b"\0",
        msgpack.packb([1, 2]),
        msgpack.packb(None),
        msgpack.packb({"type": "no_such_message"}),
        msgpack.packb({"type": ["tool_request"]}),
        msgpack.packb({**ENVELOPE, "surprise": 1}),
        msgpack.packb({**ENVELOPE, 5: 1}, strict_types=False),
        msgpack.packb({**ENVELOPE, "arguments": "NOT A DICT"}),
        msgpack.packb({**ENVELOPE, "arguments": {"when": msgpack.Timestamp(1)}}),
        msgpack.packb({**ENVELOPE, "arguments": {"x": msgpack.ExtType(5, b"x")}}),
        msgpack.packb({**ENVELOPE, "arguments": {"x": b"bytes"}}),
        msgpack.packb({**ENVELOPE, "arguments": {"x": float("nan")}}),
        msgpack.packb({**ENVELOPE, "arguments": {"x": [float("inf")]}}),
        msgpack.packb({**ENVELOPE, "tool": "Terminal"}),
        msgpack.packb({**ENVELOPE, "tool": "terminal "}),
        msgpack.packb({**ENVELOPE, "tool": "os.system"}),
        msgpack.packb({**ENVELOPE, "tool": "__class__"}),
        msgpack.packb({**ENVELOPE, "tool": "terminal\n"}),
        b"\xdf\xff\xff\xff\xff",  # a map that announces four thousand million entries
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x81\xa4type" * 3000,
        b"\x82\xa4type\xa5hello\xa4type\xa9heartbeat",
        b"\x81\xa4type\xa3\xff\xfe\xfd",
    ],
)
def test_what_is_not_a_message_is_refused(envelope):
    refused([envelope])


@pytest.mark.parametrize("bad", [0, -1, MAX_CALL_ID + 1, 2**64 - 1, 1.0, 1.5, float("nan"), True, None, "1", [1]])
def test_an_id_that_is_no_id_is_refused(bad):
    refused([msgpack.packb({**ENVELOPE, "id": bad})])


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), 1e9, "1", None])
def test_a_timeout_that_would_not_end_is_refused(bad):
    refused([msgpack.packb({**ENVELOPE, "timeout_seconds": bad})])


def test_arguments_nested_too_deep_are_refused():
    nested: object = 1
    for _ in range(40):
        nested = [nested]
    assert "nested" in refused([msgpack.packb({**ENVELOPE, "arguments": {"x": nested}})])


def test_sizes_are_checked_before_anything_is_parsed():
    heartbeat = encode(Heartbeat())[0]
    refused([b"x" * (MAX_ENVELOPE_BYTES + 1)], ErrorCode.TOO_LARGE)
    refused([heartbeat, b"x" * (MAX_BULK_FRAME_BYTES + 1)], ErrorCode.TOO_LARGE)
    refused([heartbeat] + [b""] * MAX_FRAMES, ErrorCode.TOO_LARGE)
    refused([heartbeat] + [b"x" * MAX_BULK_FRAME_BYTES] * 3, ErrorCode.TOO_LARGE)


def test_bulk_that_is_not_named_is_refused():
    refused([encode(Heartbeat())[0], b"x"])
    refused([msgpack.packb({"type": "tool_reply", "id": 1, "bulk": ["content"]})])
    refused([msgpack.packb({"type": "chunk", "id": 1, "stream": "body"})])


def test_no_frames_is_no_message():
    refused([])


def test_this_side_finds_its_own_mistakes_before_sending():
    with pytest.raises(LocalProtocolError, match="names 1 bulk"):
        encode(Chunk(id=1, stream="body"))
    with pytest.raises(LocalProtocolError, match="over the limit"):
        encode(Chunk(id=1, stream="body"), [b"x" * (MAX_BULK_FRAME_BYTES + 1)])
    with pytest.raises(LocalProtocolError, match="can't be encoded"):
        encode(ToolReply(id=1, result=object()))
    assert decode(encode(Heartbeat()))[0] == Heartbeat()  # the packer is fit for use after a failure


def test_an_error_says_whose_fault_it_is():
    with pytest.raises(TypeError):
        ProtocolError("somebody's")
    error = pickle.loads(pickle.dumps(RemoteProtocolError("bad", ErrorCode.MALFORMED)))
    assert (str(error), error.code) == ("bad", ErrorCode.MALFORMED)


def test_a_failure_travels_with_its_rule_and_remedy():
    failure = Failure(code=ErrorCode.DENIED, message="no", rule_id="user:3", remedy="allow it")
    assert decode(encode(ToolReply(id=1, failure=failure)))[0].failure == failure


def test_defaults_do_not_travel():
    assert msgpack.unpackb(encode(Heartbeat())[0]) == {"type": "heartbeat"}
    assert msgspec.structs.asdict(decode(encode(Hello(versions=(1,))))[0])["client"] == ""
