"""A kernel's bytes are read with suspicion."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.session import Session

from host_bridge.executor.messages import MAX_DEPTH, KernelMessage, MalformedMessageError, clean, read_message

ROOM = 10_000


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(key=b"the key")


def frames_of(session: Session, kind: str, content: Any, **more: Any) -> list[zmq.Frame]:
    message = session.msg(kind, content=content if isinstance(content, dict) else {}, **more)
    parts = session.serialize(message)
    if not isinstance(content, dict):
        parts[-1] = content
        parts[1] = session.sign(parts[2:])
    return [zmq.Frame(part) for part in parts]


def read(session: Session, kind: str, content: Any, *, max_bytes: int = ROOM) -> KernelMessage:
    return read_message(session, frames_of(session, kind, content), max_bytes=max_bytes)


def test_a_message_is_read(session: Session) -> None:
    parent = session.msg("execute_request")
    frames = frames_of(session, "stream", {"name": "stdout", "text": "é😀"}, parent=parent)
    message = read_message(session, frames, max_bytes=ROOM)
    assert (message.msg_type, message.content["text"]) == ("stream", "é😀")
    assert message.parent_id == parent["header"]["msg_id"]


def test_a_message_signed_with_another_key_is_refused(session: Session) -> None:
    with pytest.raises(MalformedMessageError, match="signature"):
        read_message(Session(key=b"another"), frames_of(session, "stream", {}), max_bytes=ROOM)


@pytest.mark.parametrize("parts", [[], [b"x"], [b"<IDS|MSG>"], [b"<IDS|MSG>", b"", b"{}", b"{}"], [b"", b"", b"", b""]])
def test_too_few_parts_are_refused(session: Session, parts: list[bytes]) -> None:
    with pytest.raises(MalformedMessageError):
        read_message(session, [zmq.Frame(part) for part in parts], max_bytes=ROOM)


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[]", b"null", b'{"a": 1', b"\xff\xfe", b"{" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000],
)
def test_content_that_is_no_object_is_refused(session: Session, content: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        read(session, "display_data", content, max_bytes=10**6)


def test_content_nested_too_deeply_for_nbformat_is_refused(session: Session) -> None:
    deep = {"data": "x"}
    for _ in range(MAX_DEPTH + 1):
        deep = {"data": deep}  # type: ignore[dict-item]
    with pytest.raises(MalformedMessageError):
        read(session, "display_data", json.dumps(deep).encode())


def test_what_no_file_can_hold_is_replaced(session: Session) -> None:
    content = b'{"text": "half \\ud83d of a pair", "number": NaN, "pair": "\\ud83d\\ude00", "big": -Infinity}'
    message = read(session, "display_data", content)
    assert message.content == {"text": "half \ufffd of a pair", "number": None, "pair": "😀", "big": None}


@given(
    st.recursive(
        st.none() | st.floats() | st.text(st.characters()), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_clean_data_can_be_written(value: Any) -> None:
    json.dumps(clean(value), allow_nan=False).encode("utf-8")


def test_of_an_oversized_stream_the_beginning_is_kept(session: Session) -> None:
    text = 'a"\\\n\u20ac😀' * 10_000
    message = read(session, "stream", {"name": "stderr", "text": text}, max_bytes=5_000)
    assert message.is_cut
    assert message.content["name"] == "stderr"
    assert text.startswith(message.content["text"].rstrip("\ufffd"))
    assert 1_000 < len(message.content["text"]) <= 5_000
    assert message.size > len(text)


@pytest.mark.parametrize("cut", range(40, 60))
def test_a_cut_anywhere_leaves_a_beginning(session: Session, cut: int) -> None:
    text = '\\"\n\té\u20ac😀\x01' * 20
    message = read(session, "stream", json.dumps({"name": "stdout", "text": text}).encode(), max_bytes=cut)
    assert text.startswith(message.content["text"].rstrip("\ufffd"))


def test_an_oversized_display_is_not_decoded(session: Session) -> None:
    message = read(session, "display_data", {"data": {"image/png": "x" * 100_000}, "metadata": {}}, max_bytes=1_000)
    assert message.is_cut
    assert message.content == {}
    assert message.size > 100_000


def test_oversized_buffers_count(session: Session) -> None:
    parts = [*session.serialize(session.msg("comm_msg", content={"data": {}})), b"x" * 50_000]
    message = read_message(session, [zmq.Frame(part) for part in parts], max_bytes=1_000)
    assert message.is_cut
    assert message.buffers == []


def test_a_message_without_a_type_is_refused(session: Session) -> None:
    parts = session.serialize(session.msg("stream", content={}))
    parts[2] = b'{"msg_type": 3}'
    parts[1] = session.sign(parts[2:])
    with pytest.raises(MalformedMessageError, match="type"):
        read_message(session, [zmq.Frame(part) for part in parts], max_bytes=ROOM)
