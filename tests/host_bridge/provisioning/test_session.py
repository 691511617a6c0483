"""Sessions whose process misbehaves: the scripted stand-in does what the real one can't be made to do."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_bridge.control import Asked, SessionConfig
from host_bridge.errors import AuditError, ConfigurationError, HostBridgeError, PolicyError, SessionError
from host_bridge.provisioning import session as session_module
from host_bridge.provisioning import spawning
from host_bridge.provisioning.callbacks import one_at_a_time
from host_bridge.provisioning.options import HostTool
from host_bridge.provisioning.session import BridgeSession

READY_SECONDS = 30.0


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "BRIDGE_MODULE", "scripted_bridge")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def make() -> Iterator[Callable[..., BridgeSession]]:
    made: list[BridgeSession] = []

    def make(behaviour: str, run_id: str = "", **arguments: Any) -> BridgeSession:
        session = BridgeSession(**arguments)
        made.append(session)
        config = SessionConfig(
            session_id="s1",
            endpoint="ipc:///nowhere",
            server_public_key="",
            server_secret_key="",
            workspace="/",
            audit_path="/dev/null",
            principal=behaviour,
            run_id=run_id,
        )
        session.start(config)
        return session

    yield make
    for session in made:
        session.close()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_session_becomes_ready_and_ends_with_its_process(make: Callable[..., BridgeSession]) -> None:
    session = make("obedient")
    assert session.wait_ready(READY_SECONDS) == "ipc:///nowhere"
    assert session.alive
    assert session.session_id == "s1"
    pid = session.pid
    assert pid is not None
    session.close()
    session.close()
    assert not session.alive
    assert session.failure is None
    assert session.ended is not None
    assert gone(pid)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PolicyError", PolicyError),
        ("ConfigurationError", ConfigurationError),
        ("AuditError", AuditError),
        ("NoSuchError", SessionError),
        ("ErrorCode", SessionError),
    ],
)
def test_a_refusal_raises_the_class_it_names(
    make: Callable[..., BridgeSession], name: str, kind: type[HostBridgeError]
) -> None:
    session = make(f"refuses:{name}")
    with pytest.raises(kind, match="line 3: no such tool") as caught:
        session.wait_ready(READY_SECONDS)
    assert type(caught.value) is kind
    if isinstance(caught.value, ConfigurationError):
        assert (caught.value.path, caught.value.key) == ("/p/policy.toml", "rules.3")


@pytest.mark.parametrize("behaviour", ["dies_before_ready", "floods_stderr"])
def test_a_death_says_how_and_what_was_written_last(make: Callable[..., BridgeSession], behaviour: str) -> None:
    session = make(behaviour)
    with pytest.raises(
        SessionError, match=r"exited with status 3; it wrote: (.|\n)*something broke in the bridge"
    ) as caught:
        session.wait_ready(READY_SECONDS)
    assert len(str(caught.value)) < 20_000
    assert not session.alive
    with pytest.raises(SessionError, match="something broke"):
        session.kernel_starting("k")


def test_a_kill_is_named(make: Callable[..., BridgeSession]) -> None:
    session = make("killed")
    with pytest.raises(SessionError, match="killed by SIGKILL"):
        session.wait_ready(READY_SECONDS)


def test_waiting_for_a_silent_process_is_bounded(make: Callable[..., BridgeSession]) -> None:
    session = make("silent")
    with pytest.raises(SessionError, match=r"not ready within 0\.2 s"):
        session.wait_ready(0.2)


def test_the_reason_of_an_early_end_is_kept(make: Callable[..., BridgeSession]) -> None:
    session = make("ends_with_reason")
    session.wait_ready(READY_SECONDS)
    session.cell_started(1)
    assert session.wait_over(READY_SECONDS)
    assert not session.alive
    assert "too large" in str(session.failure)
    with pytest.raises(SessionError, match="too large"):
        session.cell_started(2)


def test_nonsense_ends_the_session_with_a_named_cause(make: Callable[..., BridgeSession]) -> None:
    session = make("talks_nonsense")
    assert session.wait_over(READY_SECONDS)
    assert "unreadable control message" in str(session.failure)


def test_a_process_that_ignores_its_end_is_killed(
    make: Callable[..., BridgeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    from host_bridge.provisioning import channel

    monkeypatch.setattr(session_module, "END_SECONDS", 0.2)
    monkeypatch.setattr(channel, "EXIT_SECONDS", 0.2)
    monkeypatch.setattr(channel, "TERMINATE_SECONDS", 0.2)
    session = make("ignores_end")
    pid = session.pid
    assert pid is not None
    session.close()
    assert gone(pid)


def test_a_question_is_answered_in_a_thread_of_its_own(make: Callable[..., BridgeSession]) -> None:
    together = threading.Barrier(3, timeout=READY_SECONDS)
    settled = threading.Semaphore(0)

    def prompter(question: Asked) -> str:
        together.wait()  # passes only when all three questions are with a person at once
        if question.question_id == "q0":
            return "once"
        if question.question_id == "q1":
            return "certainly"
        raise RuntimeError("no terminal")

    session = make("asks", prompter=prompter, on_call=lambda _: settled.release())
    session.wait_ready(READY_SECONDS)
    session.cell_started(0)
    for _ in range(3):
        assert settled.acquire(timeout=READY_SECONDS)
    assert {call.call_id: call.outcome for call in session.calls} == {"q0": "once", "q1": "no", "q2": "no"}


def test_a_prompter_that_listens_is_told_when_nobody_waits_any_more(make: Callable[..., BridgeSession]) -> None:
    class Listening:
        def __init__(self) -> None:
            self.asked = threading.Semaphore(0)
            self.told: queue.Queue[tuple[str, str]] = queue.Queue()
            self.over = threading.Event()

        def __call__(self, asked: Asked) -> str:
            self.asked.release()
            self.over.wait(READY_SECONDS)
            return ""

        def withdraw(self, question_id: str, reason: str) -> None:
            self.told.put((question_id, reason))

    prompter = Listening()
    session = make("stops_asking", prompter=prompter)
    session.wait_ready(READY_SECONDS)
    session.cell_started(0)
    assert all(prompter.asked.acquire(timeout=READY_SECONDS) for _ in range(2))
    session.cell_settled(0)
    assert prompter.told.get(timeout=READY_SECONDS) == ("q0", "the call has ended")
    session.cell_started(1)
    told = [prompter.told.get(timeout=READY_SECONDS) for _ in range(2)]
    prompter.over.set()

    assert set(told) == {("q0", "the session is over"), ("q1", "the session is over")}


def test_without_a_prompter_every_question_is_a_no(make: Callable[..., BridgeSession]) -> None:
    settled = threading.Semaphore(0)
    session = make("asks", on_call=lambda _: settled.release())
    session.wait_ready(READY_SECONDS)
    session.cell_started(0)
    for _ in range(3):
        assert settled.acquire(timeout=READY_SECONDS)
    assert {call.outcome for call in session.calls} == {"no"}


def test_tools_of_the_host_application_run_fail_and_are_cancelled(make: Callable[..., BridgeSession]) -> None:
    settled = threading.Semaphore(0)

    def fails(_arguments: dict[str, Any], _over: threading.Event) -> None:
        raise LookupError("no such ticket")

    def waits(_arguments: dict[str, Any], over: threading.Event) -> str:
        return "cancelled" if over.wait(READY_SECONDS) else "waited in vain"

    tools = (
        HostTool("shout", lambda arguments, _: arguments["text"].upper()),
        HostTool("fails", fails),
        HostTool("waits", waits),
        HostTool("gives_objects", lambda *_: object()),
        HostTool("gives_much", lambda *_: "x" * (17 * 2**20)),
    )
    session = make("calls_host_tools", tools=tools, on_call=lambda _: settled.release())
    for _ in range(6):
        assert settled.acquire(timeout=READY_SECONDS)
    outcomes = {call.call_id: call.outcome for call in session.calls}
    assert outcomes["shout"] == "'HI'"
    assert outcomes["fails"] == "fails: no such ticket"
    assert outcomes["waits"] == "'cancelled'"
    assert "gives_objects" in outcomes["gives_objects"]
    assert "over the limit" in outcomes["gives_much"]
    assert "provides no tool absent" in outcomes["absent"]
    assert session.alive


def test_settled_calls_are_kept_up_to_a_bound(
    make: Callable[..., BridgeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_KEPT_CALLS", 100)
    done = threading.Event()
    session = make("reports_calls", run_id="250", on_call=lambda call: done.set() if call.call_id == "249" else None)
    assert done.wait(READY_SECONDS)
    assert [call.call_id for call in session.calls] == [str(number) for number in range(150, 250)]


def test_a_listener_that_fails_harms_nobody(make: Callable[..., BridgeSession]) -> None:
    done = threading.Event()

    def listener(call: Any) -> None:
        if call.call_id == "2":
            done.set()
        raise ValueError("listener broke")

    session = make("reports_calls", run_id="3", on_call=listener)
    assert done.wait(READY_SECONDS)
    session.wait_ready(READY_SECONDS)
    assert session.alive


def test_a_session_object_starts_once(make: Callable[..., BridgeSession]) -> None:
    session = make("obedient")
    assert session.config is not None
    with pytest.raises(SessionError, match="make another"):
        session.start(session.config)


def test_a_session_given_up_before_its_start_leaves_no_process(make: Callable[..., BridgeSession]) -> None:
    config = make("obedient").config
    assert config is not None
    session = BridgeSession()
    session.close()
    with pytest.raises(SessionError):
        session.start(config)
    assert session.pid is None


def test_a_supervisor_that_is_not_there_is_named(make: Callable[..., BridgeSession], tmp_path: Path) -> None:
    config = make("obedient").config
    assert config is not None
    with pytest.raises(SessionError, match="bridge serve"):
        BridgeSession().start(config, supervisor=str(tmp_path / "s"))


def test_the_process_inherits_no_secret_and_no_descriptor(
    make: Callable[..., BridgeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "hunter2")
    monkeypatch.setenv("SOME_PASSWORD", "hunter3")
    with open("/etc/hostname") as extra:
        os.set_inheritable(extra.fileno(), True)
        session = make("obedient")
        session.wait_ready(READY_SECONDS)
        environment = Path(f"/proc/{session.pid}/environ").read_bytes()
        open_files = {str(entry.readlink()) for entry in Path(f"/proc/{session.pid}/fd").iterdir()}
    assert b"hunter" not in environment
    assert "/etc/hostname" not in open_files
    assert os.getsid(session.pid or 0) == session.pid


def question(number: int, timeout_seconds: float) -> Asked:
    return Asked(
        question_id=str(number),
        tool="t",
        shown={},
        rule_id="",
        reason="",
        principal="",
        timeout_seconds=timeout_seconds,
    )


def test_questions_for_one_terminal_take_turns_within_their_own_time() -> None:
    asking, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def prompter(one: Asked) -> str:
        asked.append(one.question_id)
        assert one.timeout_seconds <= READY_SECONDS
        asking.set()
        assert go_on.wait(READY_SECONDS)
        return "once"

    ask = one_at_a_time(prompter)
    answers: list[str] = []
    first = threading.Thread(target=lambda: answers.append(ask(question(1, READY_SECONDS))))
    first.start()
    assert asking.wait(READY_SECONDS)
    assert ask(question(2, 0.05)) == ""
    go_on.set()
    first.join()
    assert answers == ["once"]
    assert ask(question(3, READY_SECONDS)) == "once"
    assert asked == ["1", "3"]
