"""What a narrowing is on the wire, and who may send one."""

from __future__ import annotations

import msgpack
import pytest
from conversation import WELCOME, Link, request
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hermes_protocol import LocalProtocolError, RemoteProtocolError, Role
from hermes_protocol.frames import decode, encode
from hermes_protocol.messages import (
    MAX_NARROWING_LEVELS,
    MAX_NARROWING_RULES,
    MAX_RULE_CHARACTERS,
    PROTOCOL_VERSIONS,
    Hello,
    SecretMark,
    StatusReply,
    StatusRequest,
)

KERNEL, BRIDGE = Role.KERNEL, Role.BRIDGE
LEVELS = st.lists(
    st.lists(st.text(min_size=1, max_size=MAX_RULE_CHARACTERS), max_size=MAX_NARROWING_RULES).map(tuple),
    max_size=MAX_NARROWING_LEVELS,
).map(tuple)


def speaking(version: int) -> Link:
    link = Link()
    link.tell(KERNEL, Hello(versions=PROTOCOL_VERSIONS))
    link.tell(BRIDGE, replace(WELCOME, version=version))
    return link


@given(narrow=LEVELS)
def test_a_narrowing_arrives_level_by_level_as_it_was_sent(narrow):
    for message in (request(1, narrow=narrow), StatusRequest(id=1, narrow=narrow), StatusReply(id=1, narrow=narrow)):
        assert decode(encode(message)) == (message, [])


def test_a_call_that_narrows_nothing_says_nothing_about_it():
    assert b"narrow" not in bytes(encode(request(1))[0])


@pytest.mark.parametrize(
    "narrow",
    [
        "read_file",
        ["read_file"],
        [[3]],
        [[""]],
        [["x" * (MAX_RULE_CHARACTERS + 1)]],
        [["read_file"] * (MAX_NARROWING_RULES + 1)],
        [["read_file"]] * (MAX_NARROWING_LEVELS + 1),
        {"read_file": True},
        None,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_anything_but_bounded_lists_of_rules_is_refused(narrow):
    fields = msgpack.unpackb(encode(request(1))[0]) | {"narrow": narrow}
    with pytest.raises(RemoteProtocolError):
        decode([msgpack.packb(fields)])


def test_a_secret_is_not_sent_to_a_bridge_that_would_take_its_mark_for_text():
    mark = SecretMark(name="TOKEN", argument=("path",))
    with pytest.raises(LocalProtocolError, match="version 1 of the protocol has no secrets"):
        speaking(1).say(KERNEL, request(1, secrets=(mark,)))
    assert speaking(2).tell(KERNEL, request(1, secrets=(mark,))).secrets == (mark,)


@pytest.mark.parametrize("message", [request(1, narrow=(("read_file",),)), StatusRequest(id=1, narrow=((),))])
def test_a_narrowing_is_never_sent_to_a_bridge_that_would_not_keep_it(message):
    link = speaking(1)
    with pytest.raises(LocalProtocolError, match="version 1 of the protocol can't narrow"):
        link.say(KERNEL, message)
    # …nor taken by one that said so, whatever the kernel sends.
    with pytest.raises(RemoteProtocolError, match="can't narrow"):
        link.ends[BRIDGE].receive(encode(message))


def test_since_version_2_it_is():
    link = speaking(2)
    assert link.tell(KERNEL, request(1, narrow=(("read_file",), ()))).narrow == (("read_file",), ())
