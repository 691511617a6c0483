"""One session process among hostile peers: whatever they send, it is answered or ignored, and serves its kernel on."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

import msgpack
import psutil
import pytest
import zmq
from bare_kernel import WAIT_SECONDS, BareKernel, Host, commands_like, is_goodbye, open_host, open_kernel
from waiting import until

from hermes_protocol.messages import Heartbeat, Hello
from host_bridge import control

ALLOW_ALL = (("test", 'version = 1\n[rules]\nallow = ["terminal", "read_file"]\n'),)


@pytest.fixture
def host():
    with open_host(policy_texts=ALLOW_ALL) as host:
        host.expect(control.Ready)
        yield host


def still_serves(host: Host, kernel: BareKernel) -> None:
    host.write("still.txt", b"still here")
    assert kernel.call("read_file", path="still.txt").content == b"still here"


@pytest.fixture
def keys(host):
    return host.new_key()


def test_an_unknown_key_is_met_with_silence(host, keys):
    with open_kernel(host, keys) as kernel, open_kernel(host, zmq.curve_keypair()) as stranger:
        kernel.greet()
        with contextlib.suppress(zmq.Again):  # once the handshake has failed there is nowhere to send to
            stranger.socket.send_multipart(stranger.connection.send(Hello(versions=(1,))), zmq.NOBLOCK)
        assert stranger.is_silent()
        still_serves(host, kernel)
    until(lambda: host.records("peer_refused"))


def test_without_curve_nothing_is_heard(host, keys):
    with open_kernel(host, keys) as kernel:
        kernel.greet()
        context = zmq.Context()
        plain = context.socket(zmq.DEALER)
        plain.connect(host.config.endpoint)
        plain.send_multipart([msgpack.packb({"type": "hello", "versions": [1]})])
        assert not plain.poll(500)
        context.destroy(linger=0)
        still_serves(host, kernel)


def test_a_restarted_kernels_old_key_and_connection_are_worth_nothing(host):
    old_keys = host.new_key()
    with open_kernel(host, old_keys) as old:
        old.greet()
        old.ask("terminal", command="sleep 300.125")
        with open_kernel(host, host.new_key()) as new:
            new.greet()
            until(lambda: not commands_like("300.125"))
            old.say(Heartbeat())
            assert is_goodbye(old.receive()[0], "session_ended")
            with open_kernel(host, old_keys) as again:
                again.say(Hello(versions=(1,)))
                assert again.is_silent()
            still_serves(host, new)


def test_a_client_of_another_version_is_told_so(host, keys):
    with open_kernel(host, keys) as kernel:
        kernel.say(Hello(versions=(7, 9)))
        assert is_goodbye(kernel.receive()[0], "version_mismatch")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"\xc1"], "malformed"),
        ([b""], "malformed"),
        ([], "malformed"),
        ([b'{"type": "hello"}'], "malformed"),
        ([b"\x91" * 5000], "malformed"),
        ([b"x" * (1 << 20) + b"x"], "too_large"),
        ([msgpack.packb({"type": "heartbeat"})] + [b""] * 70, "too_large"),
        ([msgpack.packb({"type": "cancel", "id": 99})], "out_of_turn"),
        ([msgpack.packb({"type": "welcome"})], "malformed"),
        ([msgpack.packb({"type": "tool_reply", "id": 1})], "out_of_turn"),
    ],
)
def test_a_broken_rule_closes_that_connection_and_no_other(host, keys, frames, code):
    with open_kernel(host, keys) as kernel, open_kernel(host, keys) as rude:
        kernel.greet()
        rude.greet()
        rude.say_raw(frames or [b""])
        assert is_goodbye(rude.receive()[0], code)
        rude.say_raw([msgpack.packb({"type": "heartbeat"})])
        assert rude.is_silent(0.2)
        still_serves(host, kernel)
    assert host.records("peer_refused")[-1]["code"] == code


def test_a_replayed_request_closes_the_connection(host, keys):
    host.write("a.txt", b"a")
    with open_kernel(host, keys) as kernel, open_kernel(host, keys) as replayer:
        kernel.greet()
        replayer.greet()
        frames = raw_request(1)
        replayer.say_raw(frames)
        assert isinstance(replayer.socket.recv_multipart(), list)
        replayer.say_raw(frames)
        assert b"out_of_turn" in replayer.socket.recv_multipart()[0]
        still_serves(host, kernel)


def test_a_frame_over_the_limit_never_reaches_the_bridge(host, keys):
    with open_kernel(host, keys) as kernel, open_kernel(host, keys) as rude:
        kernel.greet()
        rude.greet()
        rude.say_raw([b"x" * (5 << 20)])
        still_serves(host, kernel)


def test_ten_thousand_fuzzed_messages_disturb_nobody(host, keys):
    """Malformed, mutated and out-of-turn messages on many connections, beside a kernel that goes on working."""
    chance = random.Random(20261123)
    with open_kernel(host, keys) as kernel:
        kernel.greet()
        host.write("still.txt", b"still here")
        sent = 0
        rude = None
        while sent < 10_000:
            if rude is None or chance.random() < 0.02:
                if rude is not None:
                    rude.close()
                rude = BareKernel(host, keys)
                if chance.random() < 0.7:
                    rude.greet()
            rude.socket.send_multipart(fuzzed(chance), zmq.NOBLOCK if sent % 7 else 0)
            sent += 1
            if sent % 100 == 0:
                assert kernel.call("read_file", path="still.txt").content == b"still here"
        rude.close()
        assert host.process.poll() is None
        still_serves(host, kernel)
    host.send(control.End())
    assert "Traceback" not in host.errors()


def raw_request(call_id: int) -> list[bytes]:
    fields = {"id": call_id, "tool": "read_file", "arguments": {"path": "a.txt"}, "timeout_seconds": 5.0}
    return [msgpack.packb({"type": "tool_request", **fields})]


def fuzzed(chance: random.Random) -> list[bytes]:
    good = {
        "type": "tool_request",
        "id": chance.choice([1, 1, 2, 3, 2**53, -1, True, None, 1.5]),
        "tool": chance.choice(["read_file", "terminal", "nope", "READ", "__init__"]),
        "arguments": chance.choice([{"path": "still.txt"}, {"path": "../x"}, {"path": 3}, {}, [], {"command": "$(x"}]),
        "timeout_seconds": chance.choice([1.0, 0, -1, 1e300, "x"]),
    }
    match chance.randrange(6):
        case 0:
            return [chance.randbytes(chance.randrange(200)) for _ in range(chance.randrange(1, 5))]
        case 1:
            good["type"] = chance.choice(["hello", "cancel", "credit", "chunk", "goodbye", "tool_reply", "xyz", 5])
            return [msgpack.packb(good)]
        case 2:
            envelope = bytearray(msgpack.packb(good))
            envelope[chance.randrange(len(envelope))] = chance.randrange(256)
            return [bytes(envelope)]
        case 3:
            return [
                msgpack.packb(
                    {"type": chance.choice(["credit", "cancel", "chunk"]), "id": chance.randrange(5), "bytes": 7}
                )
            ]
        case 4:
            return [msgpack.packb(good), *[b"x" * chance.randrange(100)] * chance.randrange(70)]
        case _:
            return [msgpack.packb(good)[: chance.randrange(40)]]


def test_five_hundred_silent_connections_do_not_keep_others_out(host, keys):
    path = host.config.endpoint.removeprefix("ipc://")
    silent = []
    try:
        for _ in range(500):
            peer = socket.socket(socket.AF_UNIX)
            silent.append(peer)
            until(lambda peer=peer: peer.connect_ex(path) == 0)  # EAGAIN while the backlog is full
        silent[0].send(b"GET / HTTP/1.1\r\n\r\n")
        with open_kernel(host, keys) as kernel:
            kernel.greet()
            still_serves(host, kernel)
    finally:
        for peer in silent:
            peer.close()


@pytest.mark.slow
def test_a_message_that_never_ends_costs_its_own_session_and_says_why():
    """libzmq sends a multipart message only when it is whole, so a link in between holds the end of it back."""
    with (
        open_host(policy_texts=ALLOW_ALL, memory_bytes=200 << 20) as attacked,
        open_host(policy_texts=ALLOW_ALL) as neighbour,
        open_kernel(neighbour) as good,
        cut_link(attacked, after_bytes=290 << 20) as endpoint,
        open_kernel(attacked, endpoint=endpoint) as rude,
    ):
        good.greet()
        attacked.expect(control.Ready)
        rude.greet()
        rude.say_raw([b"x" * (1 << 20)] * 300)
        ended = attacked.expect(control.Ended)
        assert "MiB" in ended.reason
        assert attacked.wait() == 70
        assert attacked.records()[-1]["reason"] == ended.reason
        still_serves(neighbour, good)


@contextlib.contextmanager
def cut_link(host: Host, *, after_bytes: int) -> Iterator[str]:
    """A socket that passes a kernel's bytes on to the bridge up to a number, and then holds them for ever."""
    path = host.folder / "link"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    bridge = socket.socket(socket.AF_UNIX)

    def carry() -> None:
        kernel, _ = listener.accept()
        with kernel:
            until(lambda: (host.folder / "bridge").exists())
            bridge.connect(host.config.endpoint.removeprefix("ipc://"))
            back = threading.Thread(target=copy, args=(bridge, kernel, 1 << 60))
            back.start()
            copy(kernel, bridge, after_bytes)
            back.join()

    carrier = threading.Thread(target=carry)
    carrier.start()
    try:
        yield f"ipc://{path}"
    finally:
        with contextlib.suppress(OSError):  # closed already when the session has ended
            bridge.shutdown(socket.SHUT_RDWR)
        carrier.join(WAIT_SECONDS)
        bridge.close()
        listener.close()


def copy(source: socket.socket, target: socket.socket, limit: int) -> None:
    while limit:
        try:
            data = source.recv(min(1 << 20, limit))
            target.sendall(data)
        except OSError:
            return
        if not data:
            return
        limit -= len(data)


def test_a_flood_of_requests_that_are_never_read_is_bounded(host, keys):
    host.write("a.txt", b"a" * 100_000)
    with open_kernel(host, keys) as kernel, open_kernel(host, keys) as deaf:
        kernel.greet()
        deaf.greet()
        deaf.socket.rcvhwm = 1
        for number in range(2, 3000):
            frames = raw_request(number)
            try:
                deaf.socket.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                break
        still_serves(host, kernel)
        assert psutil.Process(host.process.pid).memory_info().rss < 400 << 20
