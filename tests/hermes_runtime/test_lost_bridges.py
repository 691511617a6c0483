"""A bridge that isn't there, goes away, hangs, or breaks the rules: clear errors, soon, and a new connection where possible."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import zmq
from sdk_hosts import Place
from waiting import until

import hermes_runtime as hermes
from hermes_protocol import Connection, ErrorCode, Role
from hermes_protocol.connection import OpenCall
from hermes_protocol.frames import MAX_ENVELOPE_BYTES, Frame
from hermes_protocol.messages import (
    AnyMessage,
    Chunk,
    Credit,
    Goodbye,
    Heartbeat,
    Hello,
    Limits,
    Pending,
    ToolReply,
    ToolRequest,
)
from hermes_protocol.ticket import Ticket
from hermes_runtime import _client
from hermes_runtime._client import Client
from hermes_runtime.testing import FakeHost

QUICK = Limits(open_calls=8, frame_bytes=2**20, upload_window_bytes=2**20, heartbeat_seconds=0.1)


class RudeHost(FakeHost):
    """A host that does something else when it gets a message of a kind.

    Args:
        kind: The message.
        act: What to do then, given the host, the peer and the message; true to handle the message as usual too.
    """

    def __init__(self, kind: type, act: Callable[[RudeHost, bytes, Any], Any], **options: Any) -> None:
        super().__init__({"echo": lambda word="": word, **options.pop("tools", {})}, **options)
        self._kind = kind
        self._act = act
        self.seen: list[AnyMessage] = []

    def _handle(self, peer: bytes, message: AnyMessage, bulk: Sequence[Frame]) -> None:
        self.seen.append(message)
        if isinstance(message, self._kind) and not self._act(self, peer, message):
            return
        super()._handle(peer, message, bulk)

    def say_raw(self, peer: bytes, *frames: bytes) -> None:
        self._router.send_multipart([peer, *frames])

    def say_against_the_rules(self, peer: bytes, message: AnyMessage, *bulk: bytes) -> None:
        """Encode a message without regard to what may be said now."""
        connection = Connection(Role.BRIDGE)
        connection.receive(Connection(Role.KERNEL).send(Hello(versions=(1,))))
        connection.send(self._welcome())
        connection.open_calls = {number: OpenCall(2**40, 0, False) for number in self._connections[peer].open_calls}
        connection._last_id = 2**50
        self.say_raw(peer, *connection.send(message, bulk))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    """Have this process use another client."""

    def use_client(client: Client) -> None:
        monkeypatch.setattr(_client, "_current", client)

    yield use_client
    if _client._current is not None:
        _client._current.close()


def some_ticket(endpoint: str) -> Ticket:
    server, own = zmq.curve_keypair(), zmq.curve_keypair()
    return Ticket(
        session_id="s",
        endpoint=endpoint,
        server_public_key=server[0].decode(),
        public_key=own[0].decode(),
        secret_key=own[1].decode(),
    )


def test_without_a_ticket_a_call_says_how_to_get_a_bridge(use) -> None:
    use(Client(None))
    with pytest.raises(ConnectionError, match=r"without a bridge.*kernel `hermes`.*pip install.*doctor"):
        hermes.read_file("a")
    assert not hasattr(hermes, "some_tool")


def test_a_ticket_that_could_not_be_read_is_said(use) -> None:
    use(Client(None, "the ticket given to this kernel can't be used: not JSON"))
    with pytest.raises(hermes.BridgeUnavailableError, match="can't be used: not JSON"):
        hermes.status()


def test_nobody_at_the_endpoint_is_noticed_within_the_time_to_connect(use) -> None:
    use(Client(some_ticket("ipc:///tmp/hermes-nobody-there"), connect_seconds=0.3))
    started = time.monotonic()
    with pytest.raises(hermes.BridgeUnavailableError, match=r"did not answer within 0\.3 s"):
        hermes.status()
    assert time.monotonic() - started < 5
    with pytest.raises(hermes.BridgeUnavailableError):
        asyncio.run(hermes.aio.status())


def test_a_call_with_less_time_than_connecting_takes_gives_up_in_its_own_time(use) -> None:
    use(Client(some_ticket("ipc:///tmp/hermes-nobody-there")))
    started = time.monotonic()
    with pytest.raises(hermes.BridgeUnavailableError, match="in time"):
        hermes.status(timeout=0.3)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("endpoint", ["nonsense", "ipc://" + "x" * 300, "tcp://127.0.0.1:notaport"])
def test_an_endpoint_that_cannot_be_one_is_an_error_and_not_a_crash(use, endpoint: str) -> None:
    use(Client(some_ticket(endpoint), connect_seconds=0.3))
    with pytest.raises(hermes.BridgeUnavailableError):
        hermes.status()


def test_a_bridge_that_starts_late_is_waited_for(use) -> None:
    host = FakeHost({"echo": lambda word: word})
    client = Client(host.ticket)
    use(client)
    thread = threading.Thread(target=lambda: until(lambda: client._link is not None) and host.__enter__())
    thread.start()
    assert hermes.call("echo", word="hello") == "hello"
    thread.join()
    client.close()
    _client.replace(client)
    host.end()


def test_a_key_the_bridge_does_not_know_is_refused_with_the_reason(bridge: Place, use) -> None:
    stranger = some_ticket(bridge.ticket.endpoint)
    ticket = Ticket(
        session_id="test",
        endpoint=bridge.ticket.endpoint,
        server_public_key=bridge.ticket.server_public_key,
        public_key=stranger.public_key,
        secret_key=stranger.secret_key,
    )
    use(Client(ticket))
    started = time.monotonic()
    with pytest.raises(hermes.BridgeUnavailableError, match="session has ended or belongs to a newer kernel"):
        hermes.status()
    assert time.monotonic() - started < 3


def test_the_death_of_the_bridge_is_noticed_at_once(place: Place) -> None:
    errors: list[Exception] = []

    def call() -> None:
        try:
            hermes.terminal("touch started; sleep 60")
        except hermes.HermesError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: (place.workspace / "started").exists())
    started = time.monotonic()
    place.crash()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - started < 3
    assert [type(error) for error in errors] == [hermes.BridgeUnavailableError] * 3
    assert "terminal was under way: whether it was carried out is not known" in str(errors[0])


def test_calls_after_the_death_of_the_bridge_fail_soon(place: Place) -> None:
    hermes.terminal("true")
    place.crash()
    started = time.monotonic()
    with pytest.raises(hermes.BridgeUnavailableError):  # its death may be noticed only while this one waits
        hermes.terminal("true")
    for _ in range(2):
        with pytest.raises(hermes.BridgeUnavailableError, match="Restart the kernel"):
            hermes.terminal("true")
    assert time.monotonic() - started < 15


def test_awaited_calls_notice_the_death_of_the_bridge(place: Place) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(hermes.aio.terminal("touch started; sleep 60")) for _ in range(3)]
        while not (place.workspace / "started").exists():
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().run_in_executor(None, place.crash)
        started = time.monotonic()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - started < 3
        assert {type(result) for result in results} == {hermes.BridgeUnavailableError}

    asyncio.run(main())


def test_an_orderly_end_of_the_session_is_told(use) -> None:
    with FakeHost({"slow": lambda call: call.wait_cancelled(10)}) as host:
        hermes.status()
        thread = threading.Thread(target=lambda: until(lambda: host.calls) and host.end())
        thread.start()
        with pytest.raises(hermes.BridgeUnavailableError, match="closed the connection: the session ended"):
            hermes.call("slow")
        thread.join()


def test_a_later_call_connects_anew_if_the_session_still_answers() -> None:
    with FakeHost({"echo": lambda word: word}) as host:
        assert hermes.call("echo", word="one") == "one"
        (peer,) = host._connections
        host._post(peer, Goodbye(code=ErrorCode.OUT_OF_TURN, message="start again"))
        first = _client.current()._link
        assert first is not None
        until(lambda: first._idle_poll.poll(0))
        assert hermes.call("echo", word="two") == "two"
        assert _client.current()._link is not first


def test_a_host_that_hangs_is_given_up_after_three_heartbeats(use) -> None:
    with FakeHost({"slow": lambda call: call.wait_cancelled(10)}, limits=QUICK) as host:
        hermes.status()
        thread = threading.Thread(target=lambda: until(lambda: host.calls) and host.freeze())
        thread.start()
        started = time.monotonic()
        with pytest.raises(hermes.BridgeUnavailableError, match="has not answered 3 heartbeats"):
            hermes.call("slow", timeout=60)
        assert time.monotonic() - started < 5
        thread.join()


def test_awaited_calls_notice_a_host_that_hangs() -> None:
    async def main(host: FakeHost) -> None:
        task = asyncio.create_task(hermes.aio.call("slow", timeout=60))
        while not host.calls:
            await asyncio.sleep(0.01)
        host.freeze()
        with pytest.raises(hermes.BridgeUnavailableError, match="heartbeats"):
            await asyncio.wait_for(task, 10)

    with FakeHost({"slow": lambda call: call.wait_cancelled(10)}, limits=QUICK) as host:
        asyncio.run(main(host))


def test_heartbeats_keep_a_long_silent_call_alive() -> None:
    with RudeHost(
        Heartbeat, lambda *_: True, tools={"slow": lambda call: call.wait_cancelled(1)}, limits=QUICK
    ) as host:
        assert hermes.call("slow") is False
        beats = [message for message in host.seen if isinstance(message, Heartbeat)]
        assert 4 <= len(beats) <= 11


def test_a_heartbeat_of_the_bridge_is_answered() -> None:
    def ask(host: RudeHost, peer: bytes, message: Any) -> bool:
        host._send(peer, Heartbeat())
        return True

    with RudeHost(ToolRequest, ask) as host:
        assert hermes.call("echo", word="x") == "x"
        hermes.status()
        until(lambda: Heartbeat(reply=True) in host.seen)


def test_a_call_the_host_never_settles_ends_some_seconds_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes_runtime._transport.GRACE_SECONDS", 0.2)
    with RudeHost(ToolRequest, lambda *_: False) as host:
        started = time.monotonic()
        with pytest.raises(hermes.ToolTimeoutError, match=r"echo was not answered within 0\.3 s"):
            hermes.call("echo", timeout=0.3)
        assert 0.4 < time.monotonic() - started < 5
        until(lambda: any(type(message).__name__ == "Cancel" for message in host.seen))


def test_a_call_that_waits_for_a_person_gets_the_time_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermes_runtime._transport.GRACE_SECONDS", 0.1)

    def ask(host: RudeHost, peer: bytes, message: ToolRequest) -> bool:
        host._send(peer, Pending(id=message.id, seconds=30.0, reason="a person is asked"))
        threading.Timer(0.8, host._post, [peer, ToolReply(id=message.id, result="allowed")]).start()
        return False

    with RudeHost(ToolRequest, ask):
        assert hermes.call("echo", timeout=0.2) == "allowed"


def violations() -> dict[str, Callable[[RudeHost, bytes, ToolRequest], Any]]:
    """What a host could say that it may not."""
    return {
        "garbage": lambda host, peer, _: host.say_raw(peer, b"\xc1garbage"),
        "nothing": lambda host, peer, _: host.say_raw(peer, b""),
        "unknown type": lambda host, peer, _: host.say_raw(peer, b"\x81\xa4type\xa4nope"),
        "huge envelope": lambda host, peer, _: host.say_raw(peer, bytes(MAX_ENVELOPE_BYTES + 1)),
        "many frames": lambda host, peer, _: host.say_raw(peer, *[b"x"] * 100),
        "a reply to nothing": lambda host, peer, request: host.say_raw(
            peer, b"\x82\xa4type\xaatool_reply\xa2id\xcd\x03\xe7"
        ),
        "a request": lambda host, peer, request: host.say_raw(
            peer, *Connection(Role.KERNEL).send(Hello(versions=(1,)))
        ),
        "a second welcome": lambda host, peer, _: host.say_raw(peer, *_opened().send(host._welcome())),
        "a chunk of a call never made": lambda host, peer, request: host.say_raw(
            peer, b"\x83\xa4type\xa5chunk\xa2id\xcd\x03\xe7\xa6stream\xa4body", b"x"
        ),
        "credit without end": lambda host, peer, request: [
            host.say_against_the_rules(peer, Credit(id=request.id, bytes=2**26)) for _ in range(2)
        ],
    }


def _opened() -> Connection:
    connection = Connection(Role.BRIDGE)
    connection.receive(Connection(Role.KERNEL).send(Hello(versions=(1,))))
    return connection


@pytest.mark.parametrize("name", violations())
def test_a_host_that_breaks_the_protocol_ends_the_connection_and_nothing_else(name: str) -> None:
    broken = []

    def act(host: RudeHost, peer: bytes, request: ToolRequest) -> bool:
        if request.arguments.get("word") != "rude":
            return True
        broken.append(peer)
        violations()[name](host, peer, request)
        return False

    with RudeHost(ToolRequest, act):
        assert hermes.call("echo", word="polite") == "polite"
        with pytest.raises(hermes.BridgeUnavailableError, match=r"broke the protocol.*echo was under way"):
            hermes.call("echo", word="rude", timeout=20)
        assert hermes.call("echo", word="polite again") == "polite again"
        assert len(broken) == 1


def test_a_chunk_beyond_the_credit_ends_the_connection() -> None:
    def act(host: RudeHost, peer: bytes, request: ToolRequest) -> bool:
        if request.tool == "echo":
            return True
        host.say_against_the_rules(peer, Chunk(id=request.id, stream="stdout"), bytes(request.window_bytes + 1))
        return False

    with RudeHost(ToolRequest, act):
        with pytest.raises(hermes.BridgeUnavailableError, match=r"bytes sent with credit for"):
            hermes.terminal("yes", timeout=20)
        assert hermes.call("echo", word="polite") == "polite"


def test_messages_about_settled_calls_are_ignored() -> None:
    def act(host: RudeHost, peer: bytes, request: ToolRequest) -> bool:
        if request.id > 1:
            for message, bulk in ((Chunk(id=1, stream="body"), [b"late"]), (Credit(id=1, bytes=5), [])):
                host.say_raw(peer, *_saying(message, *bulk))
        return True

    with RudeHost(ToolRequest, act):
        link = None
        for number in range(5):
            assert hermes.call("echo", word=number) == number
            link = link or _client.current()._link
        assert _client.current()._link is link


def _saying(message: AnyMessage, *bulk: bytes) -> list[Frame]:
    connection = _opened()
    connection.send(FakeHost()._welcome())
    connection._last_id = 10
    return connection.send(message, bulk)


def test_a_version_that_was_not_offered_is_refused(use) -> None:
    class Newer(FakeHost):
        def _welcome(self, version: int = 0) -> Any:
            import msgspec

            return msgspec.structs.replace(super()._welcome(), version=7)

    with Newer() as host:
        use(Client(host.ticket))
        with pytest.raises(hermes.BridgeUnavailableError, match=r"chose version 7.*same release"):
            hermes.status()


def test_a_refusal_instead_of_a_welcome_is_told() -> None:
    def refuse(host: RudeHost, peer: bytes, message: Any) -> bool:
        host._send(peer, Goodbye(code=ErrorCode.VERSION_MISMATCH, message="the bridge speaks version 9"))
        return False

    with RudeHost(Hello, refuse), pytest.raises(hermes.BridgeUnavailableError, match="speaks version 9"):
        hermes.status()
