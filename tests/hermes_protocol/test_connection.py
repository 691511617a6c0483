"""Who may say what, and when."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conversation import WELCOME, Link, open_link, request
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_protocol import ErrorCode, LocalProtocolError, RemoteProtocolError, Role, State
from hermes_protocol.connection import LEADS_TO, MAY_SEND
from hermes_protocol.messages import (
    MAX_WINDOW_BYTES,
    MESSAGE_TYPES,
    Cancel,
    Chunk,
    Credit,
    Goodbye,
    Heartbeat,
    Hello,
    Pending,
    StatusReply,
    StatusRequest,
    ToolReply,
)

KERNEL, BRIDGE = Role.KERNEL, Role.BRIDGE


def test_a_conversation_from_hello_to_goodbye():
    link = Link()
    assert link.tell(KERNEL, Hello(versions=(1,))) == Hello(versions=(1,))
    assert link.tell(BRIDGE, WELCOME) == WELCOME
    assert link.tell(KERNEL, request(1, window_bytes=10)).id == 1
    assert link.tell(BRIDGE, Chunk(id=1, stream="stdout"), b"hello") == Chunk(id=1, stream="stdout")
    assert link.tell(BRIDGE, ToolReply(id=1, result={"exit_code": 0})).result == {"exit_code": 0}
    assert link.tell(KERNEL, Goodbye()) == Goodbye()
    assert [end.state for end in link.ends.values()] == [State.CLOSED, State.CLOSED]


def test_replies_may_arrive_in_any_order():
    link = open_link()
    for call_id in (1, 2, 3):
        link.tell(KERNEL, request(call_id))
    assert [link.tell(BRIDGE, ToolReply(id=call_id, result=call_id)).result for call_id in (3, 1, 2)] == [3, 1, 2]


def test_nothing_but_hello_may_begin():
    link = Link()
    for message in (request(1), Heartbeat(), Cancel(id=1), Credit(id=1, bytes=1)):
        with pytest.raises(LocalProtocolError, match="while the connection is new"):
            link.say(KERNEL, message)
    with pytest.raises(LocalProtocolError):
        link.say(BRIDGE, WELCOME)


@pytest.mark.parametrize("bad", [1, 5], ids=["equal", "lower"])
def test_a_request_id_that_does_not_rise_closes_the_connection(bad):
    link = open_link()
    frames = link.ends[KERNEL].send(request(5))
    link.ends[BRIDGE].receive(frames)
    liar = open_link()
    with pytest.raises(RemoteProtocolError, match="ids must rise"):
        link.ends[BRIDGE].receive(liar.ends[KERNEL].send(request(bad)))
    assert link.ends[BRIDGE].state is State.CLOSED


def test_a_call_is_answered_only_once():
    link = open_link()
    link.tell(KERNEL, request(1))
    again = ToolReply(id=1, result="second")
    link.tell(BRIDGE, ToolReply(id=1, result="first"))
    with pytest.raises(LocalProtocolError, match="not open"):
        link.say(BRIDGE, again)
    liar = open_link()
    liar.tell(KERNEL, request(1))
    with pytest.raises(RemoteProtocolError, match="not open"):
        link.ends[KERNEL].receive(liar.ends[BRIDGE].send(again))


def test_an_answer_to_a_call_never_made_closes_the_connection():
    link, liar = open_link(), open_link()
    liar.tell(KERNEL, request(7))
    with pytest.raises(RemoteProtocolError):
        link.ends[KERNEL].receive(liar.ends[BRIDGE].send(ToolReply(id=7)))


@pytest.mark.parametrize(
    "message", [Cancel(id=1), Credit(id=1, bytes=5), Chunk(id=1, stream="body")], ids=["cancel", "credit", "chunk"]
)
def test_what_crosses_a_reply_on_its_way_means_nothing_and_harms_nothing(message):
    link = open_link()
    link.tell(KERNEL, request(1, upload="content"))
    link.say(BRIDGE, ToolReply(id=1))
    bulk = (b"late",) if isinstance(message, Chunk) else ()
    link.say(KERNEL, message, *bulk)
    assert link.hear(BRIDGE) is None
    assert link.hear(KERNEL) == ToolReply(id=1)
    assert link.tell(KERNEL, request(2)).id == 2


def test_cancelling_a_call_that_was_never_made_closes_the_connection():
    link, liar = open_link(), open_link()
    liar.tell(KERNEL, request(9))
    with pytest.raises(RemoteProtocolError, match="never made"):
        link.ends[BRIDGE].receive(liar.ends[KERNEL].send(Cancel(id=9)))


def test_the_bridge_sends_no_more_than_the_kernel_can_hold():
    link = open_link()
    link.tell(KERNEL, request(1, window_bytes=10))
    link.tell(BRIDGE, Chunk(id=1, stream="body"), b"12345678")
    assert link.ends[BRIDGE].download_credit(1) == 2
    with pytest.raises(LocalProtocolError, match="credit for 2"):
        link.say(BRIDGE, Chunk(id=1, stream="body"), b"123")
    link.tell(KERNEL, Credit(id=1, bytes=100))
    assert link.ends[BRIDGE].download_credit(1) == 102


def test_the_kernel_uploads_no_more_than_the_bridge_can_hold():
    link = open_link()
    link.tell(KERNEL, request(1, upload="content"))
    assert link.ends[KERNEL].upload_credit(1) == 1000
    link.tell(KERNEL, Chunk(id=1, stream="body"), b"x" * 1000)
    with pytest.raises(LocalProtocolError, match="credit for 0"):
        link.say(KERNEL, Chunk(id=1, stream="body"), b"x")
    link.tell(BRIDGE, Credit(id=1, bytes=1))
    link.tell(KERNEL, Chunk(id=1, stream="body", end=True), b"x")
    with pytest.raises(LocalProtocolError, match="no upload under way"):
        link.say(KERNEL, Chunk(id=1, stream="body"), b"")


def test_a_kernel_has_no_terminal_streams():
    link = open_link()
    link.tell(KERNEL, request(1, upload="content"))
    with pytest.raises(LocalProtocolError, match="no stream"):
        link.say(KERNEL, Chunk(id=1, stream="stdout"), b"x")


def test_credit_has_a_ceiling():
    link = open_link()
    link.tell(KERNEL, request(1, window_bytes=MAX_WINDOW_BYTES))
    with pytest.raises(LocalProtocolError, match="over the limit"):
        link.say(KERNEL, Credit(id=1, bytes=1))


def test_a_waiting_call_can_be_told_so():
    link = open_link()
    link.tell(KERNEL, request(1))
    assert link.tell(BRIDGE, Pending(id=1, seconds=60, reason="asking")).seconds == 60


def test_status_shares_the_sequence_of_ids():
    link = open_link()
    link.tell(KERNEL, StatusRequest(id=1))
    assert link.tell(BRIDGE, StatusReply(id=1)) == StatusReply(id=1)
    with pytest.raises(LocalProtocolError, match="ids must rise"):
        link.say(KERNEL, request(1))


def test_after_a_violation_nothing_more_is_heard():
    link = open_link()
    with pytest.raises(RemoteProtocolError):
        link.ends[BRIDGE].receive([b"\xc1"])
    with pytest.raises(LocalProtocolError):
        link.ends[BRIDGE].send(Heartbeat())
    with pytest.raises(RemoteProtocolError, match="closed"):
        link.ends[BRIDGE].receive(link.ends[KERNEL].send(Heartbeat()))


def test_the_tables_cover_every_message_role_and_state():
    assert set(MAY_SEND) == {(role, state) for role in Role for state in State}
    assert set().union(*MAY_SEND.values()) == set(MESSAGE_TYPES.values())
    assert set(LEADS_TO) <= set(MESSAGE_TYPES.values())


def test_the_documentation_shows_the_tables_as_they_are():
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    for (role, state), kinds in MAY_SEND.items():
        names = ", ".join(f"`{kind.__struct_config__.tag}`" for kind in MESSAGE_TYPES.values() if kind in kinds)
        assert f"| {role.value} | {state.value} | {names or 'nothing'} |" in page
    for code in ErrorCode:
        assert f"`{code.value}`" in page


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), begun=st.booleans())
def test_two_ends_that_keep_the_rules_never_accuse_each_other(seed, begun):
    """Random conversations over a delaying link: every call settles once, with its own result, and no rule is broken."""
    chance = random.Random(seed)
    link = open_link() if begun else Link()
    settled: dict[int, int] = {}
    unanswered: list[int] = []  # calls the bridge knows and hasn't answered
    for _ in range(120):
        kernel, bridge = link.ends[KERNEL], link.ends[BRIDGE]
        match chance.choice(
            ["ask", "ask", "answer", "chunk", "credit", "cancel", "upload", "hear", "hear", "hear", "status"]
        ):
            case "ask" if kernel.state is State.NEW:
                link.say(KERNEL, Hello(versions=(1,)))
            case "ask" if kernel.state is State.OPEN:
                call_id = kernel.next_id()
                upload = chance.choice(["", "content"])
                link.say(KERNEL, request(call_id, window_bytes=chance.randint(0, 50), upload=upload))
            case "status" if kernel.state is State.OPEN:
                link.say(KERNEL, Heartbeat())
            case "answer" if bridge.state is State.GREETED:
                link.say(BRIDGE, WELCOME)
            case "answer" if unanswered:
                call_id = unanswered.pop(chance.randrange(len(unanswered)))
                link.say(BRIDGE, ToolReply(id=call_id, result=call_id * 7))
            case "chunk" if unanswered:
                call_id = chance.choice(unanswered)
                link.say(BRIDGE, Chunk(id=call_id, stream="stdout"), b"x" * min(9, bridge.download_credit(call_id)))
            case "upload" if kernel.open_calls:
                call_id = chance.choice(list(kernel.open_calls))
                if kernel.open_calls[call_id].uploading:
                    piece = b"u" * min(400, kernel.upload_credit(call_id))
                    link.say(KERNEL, Chunk(id=call_id, stream="body", end=chance.random() < 0.3), piece)
            case "credit" if kernel.open_calls:
                link.say(KERNEL, Credit(id=chance.choice(list(kernel.open_calls)), bytes=chance.randint(1, 40)))
            case "cancel" if kernel.open_calls:
                link.say(KERNEL, Cancel(id=chance.choice(list(kernel.open_calls))))
            case "hear":
                listener = chance.choice([KERNEL, BRIDGE])
                if link.on_the_way[listener]:
                    message = link.hear(listener)
                    if isinstance(message, ToolReply):
                        assert message.id not in settled
                        settled[message.id] = message.result
                    elif type(message).__name__ == "ToolRequest":
                        unanswered.append(message.id)
    assert all(result == call_id * 7 for call_id, result in settled.items())
