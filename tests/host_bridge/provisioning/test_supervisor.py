from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host_bridge.control import SessionConfig
from host_bridge.errors import SessionError
from host_bridge.provisioning import supervisor as supervisor_module
from host_bridge.provisioning.session import BridgeSession
from host_bridge.provisioning.supervisor import default_socket_path, peer_user, running_supervisor, serve
from host_bridge.rundirs.processes import identify, wait_for_end

WAIT_SECONDS = 30.0
NOBODY = 65534
SERVE = """
import sys
from host_bridge.errors import SessionError
from host_bridge.provisioning import spawning
from host_bridge.provisioning.supervisor import serve
spawning.BRIDGE_MODULE = "scripted_bridge"
try:
    serve(sys.argv[1], max_sessions=int(sys.argv[2]))
except SessionError as error:
    raise SystemExit(f"REFUSED {error}")
"""


class Daemon:
    def __init__(self, path: Path, max_sessions: int = 10) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-c", SERVE, str(path), str(max_sessions)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.path = path
        self.first_line = self.next_line()

    def next_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().strip()

    def wait_for(self, text: str) -> str:
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            if text in line:
                return line.strip()
            said.append(line)
        raise AssertionError(f"the supervisor never said {text!r}, but: {''.join(said)}")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()  # not read to its end: sessions that live on hold it open


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="su-", dir="/tmp") as folder:
        yield Path(folder) / "private" / "bridge.sock"


@pytest.fixture
def launch(place: Path) -> Iterator[Callable[..., Daemon]]:
    daemons: list[Daemon] = []

    def launch(path: Path = place, **arguments: int) -> Daemon:
        daemons.append(Daemon(path, **arguments))
        return daemons[-1]

    yield launch
    for daemon in daemons:
        daemon.kill()


def open_session(path: Path, behaviour: str = "obedient") -> BridgeSession:
    session = BridgeSession()
    config = SessionConfig(
        session_id="s",
        endpoint="ipc:///nowhere",
        server_public_key="",
        server_secret_key="",
        workspace="/",
        audit_path="/dev/null",
        principal=behaviour,
    )
    session.start(config, supervisor=str(path))
    return session


def children(daemon: Daemon) -> list[int]:
    pid = daemon.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_listens_privately_and_says_so(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch()
    assert daemon.first_line.endswith(f"listening at {place}")
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert running_supervisor(place) == daemon.process.pid


def test_each_connection_is_a_session_that_ends_with_it(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch()
    with open_session(place) as first, open_session(place) as second:
        first.wait_ready(WAIT_SECONDS)
        second.wait_ready(WAIT_SECONDS)
        assert len(children(daemon)) == 2
        assert first.pid is None
    daemon.wait_for("ended with 0; 1 running")
    daemon.wait_for("ended with 0; 0 running")
    assert children(daemon) == []


def test_a_session_that_breaks_is_reported_and_harms_no_other(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch()
    with open_session(place) as good, open_session(place, "killed") as bad:
        with pytest.raises(SessionError, match="ended unexpectedly"):
            bad.wait_ready(WAIT_SECONDS)
        daemon.wait_for("ended with -9; 1 running")
        good.wait_ready(WAIT_SECONDS)
        assert good.alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_end_ends_what_is_left_and_removes_the_socket(
    launch: Callable[..., Daemon], place: Path, number: int
) -> None:
    daemon = launch()
    with open_session(place) as session:
        session.wait_ready(WAIT_SECONDS)
        (child,) = (identify(pid) for pid in children(daemon))
        assert daemon.end(number) == 0
        assert child is not None
        assert wait_for_end(child, WAIT_SECONDS)
        assert session.wait_over(WAIT_SECONDS)
    assert not place.exists()
    assert running_supervisor(place) is None


def test_sessions_survive_a_killed_supervisor(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch()
    with open_session(place) as session:
        session.wait_ready(WAIT_SECONDS)
        daemon.kill()
        session.cell_started(1)
        assert session.alive


def test_a_second_one_refuses_and_the_first_serves_on(launch: Callable[..., Daemon], place: Path) -> None:
    first = launch()
    second = launch()
    assert f"REFUSED a supervisor (process {first.process.pid}) already listens" in second.first_line
    assert second.process.wait(WAIT_SECONDS) == 1
    with open_session(place) as session:
        session.wait_ready(WAIT_SECONDS)


def test_a_stale_socket_is_replaced(launch: Callable[..., Daemon], place: Path) -> None:
    first = launch()
    first.kill()
    assert place.exists()
    launch()
    with open_session(place) as session:
        session.wait_ready(WAIT_SECONDS)


def test_there_are_no_more_sessions_than_allowed(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch(max_sessions=1)
    with open_session(place) as first:
        first.wait_ready(WAIT_SECONDS)
        with pytest.raises(SessionError, match="standard error says why"), open_session(place) as second:
            second.wait_ready(WAIT_SECONDS)
        daemon.wait_for("refused a connection: 1 sessions are running")
    daemon.wait_for("ended with 0; 0 running")
    with open_session(place) as third:
        third.wait_ready(WAIT_SECONDS)


def test_peers_that_give_up_or_say_nothing_hold_up_nobody(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch(max_sessions=50)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for channel in silent:
        channel.connect(str(place))
    for channel in silent[:2]:
        channel.close()
    with open_session(place) as session:
        session.wait_ready(WAIT_SECONDS)
    for channel in silent[2:]:
        channel.close()
    daemon.wait_for("; 0 running")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_user_is_refused(launch: Callable[..., Daemon], place: Path) -> None:
    daemon = launch()
    # As if the modes had failed.
    place.parent.parent.chmod(0o755)
    place.parent.chmod(0o755)
    place.chmod(0o666)
    child = os.fork()
    if child == 0:  # a fork, because the other user may not be able to start this interpreter
        os.setuid(NOBODY)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(place))
            os._exit(len(channel.recv(1)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert f"from user {NOBODY}" in daemon.next_line()
    assert children(daemon) == []


def test_a_place_others_may_enter_is_refused(place: Path) -> None:
    place.parent.mkdir()
    place.parent.chmod(0o755)
    with pytest.raises(SessionError, match="chmod 700"):
        serve(place)


def test_a_folder_behind_a_link_is_refused(place: Path) -> None:
    (place.parent.parent / "real").mkdir(mode=0o700)
    place.parent.symlink_to("real")
    with pytest.raises(SessionError, match="folder of yours"):
        serve(place)


def test_a_place_too_long_for_a_socket_is_refused(place: Path) -> None:
    with pytest.raises(SessionError, match="too long"):
        serve(place.parent / ("x" * 120))


def test_without_a_word_it_listens_in_the_runtime_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert default_socket_path() == Path("/run/user/1/hermes-runtime/bridge.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_socket_path() == Path(f"/tmp/hermes-runtime-{os.getuid()}/bridge.sock")


def test_nobody_listening_is_nobody(place: Path) -> None:
    assert running_supervisor(place) is None
    place.parent.mkdir()
    lock = Path(f"{place}.lock")
    lock.write_text("17")
    assert running_supervisor(place) is None
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert running_supervisor(place) == 17


def test_peers_are_known_by_their_user() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert peer_user(left) == os.getuid()


def test_signals_are_as_before_afterwards(place: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
    with supervisor_module._signals():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in before} == before
