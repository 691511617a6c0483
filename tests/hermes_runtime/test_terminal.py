"""Commands, from a notebook's side: the same with a fake host and with a real bridge."""

from __future__ import annotations

import io
import pickle
import sys
import threading
import time

import pytest
from sdk_hosts import Place, is_running
from waiting import until

import hermes_runtime as hermes
from hermes_runtime.testing import Command, FakeHost, Reply


def test_a_result_has_both_streams_the_exit_code_and_exact_counts(place: Place) -> None:
    result = hermes.terminal("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
    assert (result.stdout_bytes, result.stderr_bytes, result.omitted_bytes) == (4, 4, 0)
    assert sorted(result.output.split()) == ["err", "out"]
    assert not result.ok
    assert not result.truncated
    assert result.duration_seconds > 0


def test_check_gives_the_result_or_raises_with_the_last_words(place: Place) -> None:
    assert hermes.terminal("echo fine").check().stdout == "fine\n"
    with pytest.raises(hermes.ToolCommandError, match=r"exit code 7.*\n.*it broke") as caught:
        hermes.terminal("echo it broke >&2; exit 7").check()
    assert caught.value.result.exit_code == 7
    assert pickle.loads(pickle.dumps(caught.value)).result.exit_code == 7


def test_the_output_of_a_command_killed_by_a_signal_is_kept(place: Place) -> None:
    result = hermes.terminal("echo before; kill -9 $$")
    assert (result.stdout, result.exit_code) == ("before\n", 137)


class Tape(io.StringIO):
    """Remembers what was written when, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_output_is_shown_while_the_command_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Tape(), Tape()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    command = "echo first; echo problem >&2; while [ ! -e go ]; do sleep 0.02; done; echo last"
    caller = threading.Thread(target=hermes.terminal, args=(command,))
    caller.start()
    assert out.written.wait(10)
    assert err.written.wait(10)
    assert (out.getvalue(), err.getvalue()) == ("first\n", "problem\n")
    place.write("go", b"")
    caller.join(10)
    assert out.getvalue() == "first\nlast\n"


def test_stream_false_shows_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert hermes.terminal("echo quiet", stream=False).stdout == "quiet\n"
    assert capsys.readouterr().out == ""


def test_a_character_cut_between_chunks_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    def drip(call, command, timeout):
        for byte in "é…😀\n".encode():
            call.emit("stdout", bytes([byte]))
        call.emit("stderr", b"\xff")
        return Command(exit_code=0)

    with FakeHost({"terminal": drip}):
        result = hermes.terminal("x")
    assert capsys.readouterr() == ("é…😀\n", "�")
    assert result.stdout == "é…😀\n"
    assert result.stderr_data == b"\xff"
    assert result.output == "é…😀\n�"


def test_a_command_that_takes_too_long_raises_with_what_it_wrote(place: Place) -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        hermes.terminal("echo $$; echo early; sleep 60", timeout=0.5)
    assert time.monotonic() - started < 10
    assert isinstance(caught.value, hermes.ToolTimeoutError)
    partial = caught.value.result
    process_id, word = partial.stdout.split()
    assert (word, partial.exit_code, partial.stdout_bytes) == ("early", None, len(partial.stdout_data))
    until(lambda: not is_running(int(process_id)))
    assert hermes.terminal("echo next").stdout == "next\n"


@pytest.mark.parametrize("timeout", [None, 0, -1, float("nan"), float("inf"), "5", True, 90_000, [1]])
def test_a_timeout_that_is_no_limit_is_refused_before_anything_is_sent(timeout) -> None:
    with FakeHost({"terminal": lambda command, timeout: ""}) as host:
        with pytest.raises(hermes.InvalidToolRequestError, match="timeout"):
            hermes.terminal("true", timeout=timeout)
        assert host.calls == []


def test_more_output_than_the_window_arrives_whole_and_in_order(place: Place) -> None:
    result = hermes.terminal("seq 1 600000", stream=False)
    assert result.stdout_data == b"".join(b"%d\n" % n for n in range(1, 600_001))


def test_the_place_of_omitted_output_is_marked_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def chatty(call, command, timeout):
        call.emit("stdout", b"head\n")
        facts = {"exit_code": 0, "stdout_bytes": 1_000_010, "stdout_omitted": 1_000_000, "stderr_omitted": 0}
        return Reply(facts, {"stdout_tail": b"tail\n", "stderr_tail": b""})

    with FakeHost({"terminal": chatty}):
        result = hermes.terminal("yes")
    assert result.truncated
    assert (result.stdout_bytes, result.omitted_bytes) == (1_000_010, 1_000_000)
    assert result.stdout == "head\n\n[… 1,000,000 bytes of stdout omitted …]\ntail\n"
    assert capsys.readouterr().out == result.stdout
    assert "1,000,000 B omitted" in repr(result)


def test_workdir_is_where_it_runs(place: Place) -> None:
    (place.workspace / "below").mkdir()
    assert hermes.terminal("pwd", workdir="below").stdout.strip().endswith("/below")


def test_arguments_that_are_not_text_are_refused() -> None:
    with pytest.raises(hermes.InvalidToolRequestError, match="command must be text"):
        hermes.terminal(["ls"])  # type: ignore[call-overload]


def test_a_background_process_is_a_handle(bridge: Place) -> None:
    process = hermes.terminal("echo hello; read line; echo got $line", background=True)
    until(lambda: "hello" in process.read().output)
    assert process.poll().running
    assert [state.session_id for state in hermes.process("list")] == [process.session_id]
    process.submit("word")
    state = process.wait(10)
    assert (state.exit_code, state.running) == (0, False)
    assert process.read().output == "hello\ngot word\n"
    log = process.read(offset=6, limit=3)
    assert (log.data, log.offset, log.next_offset) == (b"got", 6, 9)
    assert pickle.loads(pickle.dumps(process)) == process


def test_the_lines_of_a_background_process_come_until_it_ends(bridge: Place) -> None:
    process = hermes.terminal("echo one; sleep 0.3; printf 'two\\nthree'", background=True)
    assert list(process.lines(timeout=10)) == ["one\n", "two\n", "three"]
    assert list(process) == ["one\n", "two\n", "three"]


def test_waiting_for_a_background_process_is_bounded_and_killing_ends_it(bridge: Place) -> None:
    process = hermes.terminal("sleep 60", background=True)
    with pytest.raises(hermes.ToolTimeoutError, match="still runs") as caught:
        process.wait(0.2)
    assert caught.value.result.running
    with pytest.raises(hermes.ToolTimeoutError, match="still runs"):
        list(process.lines(timeout=0.3))
    process.kill()
    assert not process.wait(10).running


def test_waiting_without_a_limit_is_refused() -> None:
    with pytest.raises(hermes.InvalidToolRequestError, match="needs a timeout"):
        hermes.process("wait", "p1")
