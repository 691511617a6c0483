"""Where the kernel may not connect, it binds and the bridge connects: with every property the other direction has."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from bare_kernel import Host, open_host
from sdk_hosts import Place, is_running
from waiting import until

import hermes_runtime as hermes
from hermes_protocol.ticket import Ticket
from hermes_runtime import _client
from hermes_runtime._client import Client
from host_bridge import control


@pytest.fixture
def host() -> Iterator[Host]:
    """A session process that dials in."""
    with open_host(profile="full", dials=True) as opened:
        opened.expect(control.Ready)
        yield opened


def ticket_of(host: Host, keys: tuple[bytes, bytes] | None = None, server: str = "") -> Ticket:
    public, secret = (key.decode() for key in keys or host.new_key())
    return Ticket(
        session_id="test",
        endpoint=host.config.endpoint,
        server_public_key=server or host.server_public,
        public_key=public,
        secret_key=secret,
        bridge_dials=True,
    )


@contextlib.contextmanager
def in_use(client: Client) -> Iterator[Client]:
    previous = _client.replace(client)
    try:
        yield client
    finally:
        _client.replace(previous)
        client.close()


def test_calls_work_in_both_ways_and_of_every_kind(host: Host) -> None:
    content = os.urandom(3 * 2**20)
    with in_use(Client(ticket_of(host))):
        assert hermes.terminal("echo there", stream=False).stdout == "there\n"
        hermes.write_file("large", content)  # an upload in chunks
        assert hermes.read_bytes("large") == content


def test_a_kernel_that_listens_early_finds_its_bridge_there(host: Host) -> None:
    client = Client(ticket_of(host))
    client.listen()
    link = client._link
    assert link is not None
    until(lambda: link._idle_poll.poll(0))  # the bridge has come, long before anybody calls
    link.due = time.monotonic() - 1  # however long ago the kernel started
    with in_use(client):
        started = time.monotonic()
        assert hermes.terminal("echo x", stream=False).exit_code == 0
    assert time.monotonic() - started < 5


def test_a_restarted_kernel_is_reached_at_once(host: Host) -> None:
    delays = []
    for _ in range(3):
        with in_use(Client(ticket_of(host))):
            started = time.monotonic()
            assert hermes.terminal("echo again", stream=False).stdout == "again\n"
            delays.append(time.monotonic() - started)
    assert max(delays) < 2, delays


def test_a_kernel_that_died_without_a_word_leaves_nothing_to_the_next(host: Host) -> None:
    place = Place("bridge", Path(host.config.workspace), ticket_of(host), host.process.kill)
    with place.start_python(
        "import hermes_runtime as hermes; print('calling', flush=True); hermes.terminal('echo $$ > pid; sleep 60')"
    ) as first:
        pid_file = Path(host.config.workspace, "pid")
        pid = until(lambda: pid_file.exists() and pid_file.read_text().strip())
        first.kill()
    assert Path(host.config.endpoint.removeprefix("ipc://")).exists()  # its socket's file, bound by nobody
    with in_use(Client(ticket_of(host))):  # whose key ends the other's calls
        until(lambda: not is_running(int(pid)))
        assert hermes.terminal("echo mine", stream=False).stdout == "mine\n"


def test_a_link_lost_and_bound_again_is_reached_by_the_same_bridge(host: Host) -> None:
    with in_use(Client(ticket_of(host))) as client:
        for _ in range(20):  # a late removal of the former link's file would take the next one's away
            assert hermes.terminal("true", stream=False).exit_code == 0
            assert client._link is not None
            client._link.fail("lost")


@pytest.mark.parametrize("whose", ["kernel's", "bridge's"])
def test_a_wrong_key_reaches_nobody(host: Host, whose: str) -> None:
    other = zmq.curve_keypair()
    host.new_key()
    ticket = ticket_of(host, keys=other) if whose == "kernel's" else ticket_of(host, server=other[0].decode())
    with in_use(Client(ticket, connect_seconds=1.0)), pytest.raises(hermes.BridgeUnavailableError):
        hermes.terminal("echo no > reached")
    assert not Path(host.config.workspace, "reached").exists()


def test_a_key_is_worth_nothing_once_its_kernel_has_ended(host: Host) -> None:
    old = ticket_of(host)
    with in_use(Client(old)):
        assert hermes.terminal("true", stream=False).exit_code == 0
    host.new_key()
    with in_use(Client(old, connect_seconds=1.0)), pytest.raises(hermes.BridgeUnavailableError):
        hermes.terminal("echo no > reached")
    assert not Path(host.config.workspace, "reached").exists()


def test_who_knocks_without_being_the_bridge_disturbs_nothing(host: Host) -> None:
    client = Client(ticket_of(host))
    host.process.send_signal(signal.SIGSTOP)  # so that the stranger comes first
    client.listen()
    path = host.config.endpoint.removeprefix("ipc://")
    with socket.socket(socket.AF_UNIX) as stranger, contextlib.suppress(ConnectionResetError):
        stranger.connect(path)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while stranger.recv(64):
            pass  # until ZeroMQ has had enough
    host.process.send_signal(signal.SIGCONT)
    with in_use(client):
        assert hermes.terminal("echo still", stream=False).stdout == "still\n"


def test_a_bridge_that_met_something_else_at_the_endpoint_reaches_the_next_kernel(host: Host) -> None:
    path = Path(host.config.endpoint.removeprefix("ipc://"))
    host.new_key()
    with socket.socket(socket.AF_UNIX) as decoy:  # a socket that isn't ZeroMQ's, as a link could lead to
        decoy.bind(str(path))
        decoy.listen(1)
        decoy.settimeout(10)
        connection, _ = decoy.accept()
        with connection:
            greeting = connection.recv(64)
            assert greeting.startswith(b"\xff")  # all that is sent to whom hasn't shown the kernel's key
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.settimeout(10)
            rest = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(4096):
                    rest += piece
            assert len(greeting + rest) <= 64
    with in_use(Client(ticket_of(host))):
        assert hermes.terminal("echo there", stream=False).stdout == "there\n"


def test_a_forked_process_is_told_why_it_has_no_bridge(host: Host) -> None:
    place = Place("bridge", Path(host.config.workspace), ticket_of(host), host.process.kill)
    place.run_python(
        """
import os
import hermes_runtime as hermes

def in_child():
    child = os.fork()
    if child == 0:
        try:
            hermes.terminal("true")
        except hermes.BridgeUnavailableError as error:
            os._exit(0 if "forked" in str(error) and "Landlock" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0

in_child()  # before the parent has called
assert hermes.terminal("true", stream=False).exit_code == 0
in_child()
assert hermes.terminal("echo mine", stream=False).stdout == "mine\\n"
"""
    )


def test_the_death_of_the_bridge_is_noticed_by_a_call_under_way(host: Host) -> None:
    with in_use(Client(ticket_of(host))):
        hermes.terminal("true", stream=False)
        host.process.kill()
        with pytest.raises(hermes.BridgeUnavailableError):
            hermes.terminal("sleep 30")


def test_an_endpoint_elsewhere_is_not_dialled() -> None:
    with open_host(endpoint="tcp://127.0.0.1:1", dials=True) as opened:
        refused = opened.expect(control.Refused)
    assert "of this machine only" in refused.message


def test_an_endpoint_that_can_not_be_bound_says_so() -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    ticket = Ticket(
        session_id="test",
        endpoint="ipc:///nowhere/at/all",
        server_public_key=public,
        public_key=public,
        secret_key=secret,
        bridge_dials=True,
    )
    with in_use(Client(ticket)), pytest.raises(hermes.BridgeUnavailableError, match="can't listen at"):
        hermes.terminal("true")
