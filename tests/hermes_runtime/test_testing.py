"""`FakeHost`, as somebody uses it who tests a notebook's code."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import hermes_runtime as hermes
from hermes_runtime import _client, testing
from hermes_runtime.testing import Command, FakeHost, Reply


def test_the_example_of_the_docstring_works() -> None:
    assert testing.__doc__ is not None
    lines = [line[4:] for line in testing.__doc__.splitlines() if line.startswith("    ")]
    exec("\n".join(lines), {"FakeHost": FakeHost, "hermes": hermes})


def test_what_was_in_use_before_is_in_use_again() -> None:
    before = _client._current
    with FakeHost({"where": lambda: "outer"}):
        with FakeHost({"where": lambda: "inner"}):
            assert hermes.call("where") == "inner"
        assert hermes.call("where") == "outer"
    assert _client._current is before


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = threading.active_count()
    with FakeHost({"echo": lambda word: word}):
        hermes.call("echo", word="x")
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    assert threading.active_count() == threads


def test_calls_are_kept_in_order_with_their_arguments() -> None:
    with FakeHost({"echo": lambda word: word}) as host:
        for word in "abc":
            hermes.call("echo", word=word)
        assert [call.arguments for call in host.calls] == [{"word": word} for word in "abc"]
        assert host.calls[0].tool == "echo"
        assert "echo" in repr(host.calls[0])


def test_files_are_a_workspace_in_memory() -> None:
    with FakeHost(files={"notes/a.md": "text", ".hidden": b"\xff", "b.txt": "b"}) as host:
        assert hermes.read_file("notes/a.md") == "text"
        hermes.write_file("new.bin", b"\0")
        hermes.write_file("huge.bin", bytes(3 * 2**20))
        assert host.files["new.bin"] == b"\0"
        assert host.files["huge.bin"] == bytes(3 * 2**20)
        assert {entry.path for entry in hermes.list_files()} == {"notes/a.md", "b.txt", "new.bin", "huge.bin"}
        assert [entry.path for entry in hermes.list_files(pattern="*.txt")] == ["b.txt"]
        listed = hermes.list_files(hidden=True, limit=1)
        assert ([entry.path for entry in listed], listed.truncated) == ([".hidden"], True)


@pytest.mark.parametrize(
    ("returned", "stdout", "code"),
    [("text\n", "text\n", 0), (b"bytes", "bytes", 0), (None, "", 0), (Command("out", "err", 3), "out", 3)],
)
def test_a_terminal_may_return_plain_values(returned: object, stdout: str, code: int) -> None:
    with FakeHost({"terminal": lambda **_: returned}):
        result = hermes.terminal("x", stream=False)
    assert (result.stdout, result.exit_code, result.stdout_bytes) == (stdout, code, len(stdout))


def test_a_read_file_may_return_text_and_ranges_are_cut_from_it() -> None:
    with FakeHost({"read_file": lambda path, **_: "one\ntwo\nthree\n"}):
        assert hermes.read_file("a", offset=2, limit=1) == "two\n"
        assert hermes.read_bytes("a", offset=4) == b"two\nthree\n"


def test_a_denial_can_be_played() -> None:
    def no(**_):
        raise hermes.ToolDeniedError("not here", rule_id="r7", remedy="add a rule")

    with FakeHost({"terminal": no}), pytest.raises(PermissionError, match="not here") as caught:
        hermes.terminal("rm -rf /")
    assert (caught.value.rule_id, caught.value.remedy) == ("r7", "add a rule")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "kind",
    [
        hermes.InvalidToolRequestError,
        hermes.UnknownToolError,
        hermes.BudgetExceededError,
        hermes.ToolTimeoutError,
        hermes.ToolCancelledError,
        hermes.ToolNotFoundError,
        hermes.ToolFailedError,
        hermes.ToolNotConfiguredError,
    ],
)
def test_every_failure_of_a_call_can_be_played(kind: type[hermes.HermesError]) -> None:
    def fail():
        raise kind("played")

    with FakeHost({"fail": fail}), pytest.raises(kind, match="played") as caught:
        hermes.call("fail")
    assert type(caught.value) is kind


def test_a_mistake_in_a_function_is_shown() -> None:
    with FakeHost({"broken": lambda: 1 / 0}), pytest.raises(hermes.ToolFailedError, match="raised ZeroDivisionError"):
        hermes.call("broken")


def test_a_result_that_cannot_be_sent_is_an_error_of_that_call_only() -> None:
    with FakeHost({"broken": lambda: Reply(object()), "fine": lambda: 1}):
        with pytest.raises(hermes.ToolFailedError, match="can't be sent"):
            hermes.call("broken")
        assert hermes.call("fine") == 1


def test_a_function_sees_that_it_was_cancelled() -> None:
    ended = threading.Event()

    def slow(call):
        assert call.timeout_seconds == pytest.approx(0.3, abs=0.1)
        if call.wait_cancelled(10) and call.is_cancelled:
            ended.set()

    with FakeHost({"slow": slow}):
        with pytest.raises(hermes.ToolTimeoutError):
            hermes.call("slow", timeout=0.3)
        assert ended.wait(10)


def test_another_process_finds_the_host_by_its_environment() -> None:
    with FakeHost({"echo": lambda word: word}) as host:
        code = "import hermes_runtime as hermes; print(hermes.call('echo', word='from afar'))"
        ran = subprocess.run([sys.executable, "-c", code], env=host.environment(), capture_output=True, text=True)
        assert (ran.stdout, ran.returncode) == ("from afar\n", 0)


def test_the_example_of_the_documentation_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})


def test_a_host_can_be_played_that_dies_or_ends() -> None:
    for play in (FakeHost.crash, FakeHost.end):
        with FakeHost({"echo": lambda word: word}) as host:
            assert hermes.call("echo", word="x") == "x"
            play(host)
            with pytest.raises(hermes.BridgeUnavailableError):
                hermes.call("echo", word="y")
