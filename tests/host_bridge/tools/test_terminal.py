from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from waiting import until

from host_bridge.errors import (
    CallCancelledError,
    CallError,
    CallTimeoutError,
    InvalidCallError,
    NotConfiguredError,
    NotFoundError,
)
from host_bridge.policy.model import CommandResource
from host_bridge.tools.children import Children
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.terminal import Terminal

TOOL = Terminal()
Run = Callable[..., tuple[ToolOutput, Any]]


@pytest.fixture
def run(session: Any, make_context: Any) -> Run:
    """Prepare and run a call, as the dispatcher does."""

    def run(command: str, *, context: Any = None, **arguments: Any) -> tuple[ToolOutput, Any]:
        context = context or make_context()
        call = TOOL.prepare(TOOL.Arguments(command, **arguments), session)
        try:
            return call.run(context), context
        finally:
            call.close()

    return run


def open_pipes() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("pipe:") or "pidfd" in name}


@pytest.fixture(autouse=True)
def _no_call_keeps_a_descriptor() -> Iterator[None]:
    before = open_pipes()
    yield
    assert open_pipes() <= before


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def in_thread(act: Callable[[], Any]) -> Callable[[], Any]:
    """Start `act` in a thread; calling what this gives waits for it and gives its result, or raises its error."""
    outcome: list[Any] = []

    def catch() -> None:
        try:
            outcome.append((act(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=catch)
    thread.start()

    def result() -> Any:
        thread.join(20)
        assert outcome, "it is still running"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return result


class TestWhatACommandGets:
    def test_a_plain_command_runs_without_a_shell(self, run: Run) -> None:
        _, context = run("cat /proc/self/stat")
        assert int(context.bytes_of("stdout").split()[3]) == os.getpid()  # no shell stands between
        _, context = run("cat /proc/self/stat | cat")
        assert int(context.bytes_of("stdout").split()[3]) != os.getpid()

    def test_a_line_that_is_more_runs_in_bash(self, run: Run) -> None:
        _, context = run('for i in {1..2}; do echo "$i $BASH"; done')
        assert context.bytes_of("stdout") == b"1 /usr/bin/bash\n2 /usr/bin/bash\n"
        assert run("echo a | tr a b && exit 7")[0].value["exit_code"] == 7

    @pytest.mark.parametrize("line", ["-x", "--version", "+e", "-c 'echo injected'", "-- true"])
    def test_a_line_that_begins_like_an_option_is_still_the_command(self, run: Run, line: str) -> None:
        output, context = run(line)
        assert output.value["exit_code"] in (2, 127)
        assert context.bytes_of("stdout") == b""

    @pytest.mark.parametrize("line", ["cd /", "exit 3", ":", "export A=1", "type cd", "ulimit -n"])
    def test_shell_builtins_work(self, run: Run, line: str) -> None:
        assert run(line)[0].value["exit_code"] == (3 if line == "exit 3" else 0)

    def test_a_script_without_a_first_line_runs(self, run: Run, session: Any) -> None:
        script = Path(session.workspace, "script")
        script.write_text("echo from the script $1\n")
        script.chmod(0o755)
        assert run("./script 1")[1].bytes_of("stdout") == b"from the script 1\n"

    def test_an_unknown_command_is_reported_as_a_shell_does(self, run: Run) -> None:
        output, context = run("no-such-command-anywhere")
        assert output.value["exit_code"] == 127
        assert b"no-such-command-anywhere" in context.bytes_of("stderr")

    def test_a_file_that_may_not_be_executed_is_reported_as_a_shell_does(self, run: Run, session: Any) -> None:
        Path(session.workspace, "data").write_text("x")
        output, context = run("./data")
        assert output.value["exit_code"] == 126
        assert b"Permission denied" in context.bytes_of("stderr")

    def test_commands_are_never_looked_up_in_the_workspace(self, run: Run, session: Any) -> None:
        planted = Path(session.workspace, "planted")
        planted.write_text("#!/bin/sh\necho planted\n")
        planted.chmod(0o755)
        session.environment = {"PATH": f".:{session.workspace[1:]}::/usr/bin:/bin"}
        for line in ("planted", "true; planted"):
            output, context = run(line)
            assert output.value["exit_code"] == 127
            assert context.bytes_of("stdout") == b""

    def test_only_the_sessions_variables_are_set(self, run: Run, session: Any, monkeypatch: Any) -> None:
        monkeypatch.setenv("HOST_SECRET", "x")
        session.environment = {
            "PATH": "/usr/bin:/bin",
            "COLOUR": "grün",
            "BASH_ENV": "/evil",
            "BASH_FUNC_ls%%": "() { :; }",
        }
        _, context = run("env")
        variables = dict(line.split("=", 1) for line in context.bytes_of("stdout").decode().splitlines())
        assert variables == {
            "PATH": "/usr/bin:/bin",
            "COLOUR": "grün",
            "PWD": session.workspace,
            "HERMES_RUNTIME_OWNER": str(os.getpid()),
        }

    def test_input_is_empty_and_no_descriptor_is_inherited(self, run: Run, session: Any) -> None:
        inherited = os.open("/dev/zero", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        try:
            output, context = run("cat; ls /proc/self/fd")
        finally:
            os.close(inherited)
        assert context.bytes_of("stdout").split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own
        assert output.value["exit_code"] == 0

    def test_text_reaches_the_command_unchanged(self, run: Run) -> None:
        text = "zwölf Boxkämpfer 🥊 \t x"
        assert run(f"printf %s '{text}'")[1].bytes_of("stdout").decode() == text

    def test_it_starts_in_the_workspace_or_in_workdir(self, run: Run, session: Any) -> None:
        inner = Path(session.workspace, "inner folder")
        inner.mkdir()
        assert run("pwd")[1].bytes_of("stdout").decode() == f"{session.workspace}\n"
        for workdir in ("inner folder", "./inner folder/", str(inner)):
            assert run("pwd -P && true", workdir=workdir)[1].bytes_of("stdout").decode() == f"{inner}\n"

    def test_the_folder_that_was_decided_about_is_entered_even_if_its_name_leads_elsewhere_now(
        self, session: Any, make_context: Any
    ) -> None:
        decided, other = Path(session.workspace, "decided"), Path(session.workspace, "other")
        decided.mkdir()
        other.mkdir()
        (decided / "mark").touch()
        call = TOOL.prepare(TOOL.Arguments("ls", workdir="decided"), session)
        decided.rename(Path(session.workspace, "moved"))
        decided.symlink_to(other)
        context = make_context()
        call.run(context)
        call.close()
        assert context.bytes_of("stdout") == b"mark\n"

    @pytest.mark.parametrize("background", [False, True])
    def test_a_missing_folder_is_an_error_of_its_own(self, run: Run, background: bool) -> None:
        with pytest.raises(NotFoundError):
            run("pwd", workdir="missing", background=background)
        with pytest.raises(CallError):
            run("pwd", workdir="/missing-at-the-root", background=background)

    def test_its_own_limits_come_back(self, run: Run, session: Any) -> None:
        limited = resource.getrlimit(resource.RLIMIT_CORE)
        session.resources["original_rlimits"] = {resource.RLIMIT_NOFILE: (1234, 2000), "RLIMIT_STACK": (7_340_032, -1)}
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        _, context = run("ulimit -n; ulimit -s")
        assert context.bytes_of("stdout").split() == [b"1234", b"7168"]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
        assert resource.getrlimit(resource.RLIMIT_CORE) == limited


class TestStreams:
    def test_both_streams_arrive_apart(self, run: Run) -> None:
        output, context = run("echo out; echo err >&2; exit 3")
        assert (context.bytes_of("stdout"), context.bytes_of("stderr")) == (b"out\n", b"err\n")
        assert output.value["exit_code"] == 3
        assert output.value["stdout_bytes"] == 4
        assert output.value["stdout_omitted"] == output.value["stderr_omitted"] == 0
        assert output.bulk == {"stdout_tail": b"", "stderr_tail": b""}
        assert output.value["duration_seconds"] > 0

    def test_output_arrives_while_the_command_runs_and_in_order(
        self, run: Run, session: Any, make_context: Any
    ) -> None:
        os.mkfifo(Path(session.workspace, "go"))
        context = make_context()
        result = in_thread(lambda: run("echo one; cat go; echo two >&2; cat go; echo three", context=context))
        for expected in (b"one\n", b"two\n"):
            context.wait_for(lambda context, expected=expected: context.chunks and context.chunks[-1][1] == expected)
            Path(session.workspace, "go").write_text("")
        result()
        assert context.chunks == [("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n")]

    def test_a_lot_of_output_is_counted_exactly_in_bounded_memory(self, run: Run, session: Any) -> None:
        session.settings["terminal"] = {"max_output_bytes": 1_000_000, "tail_bytes": 1000}
        before = psutil.Process().memory_info().rss
        output, context = run("head -c 209715200 /dev/zero; printf 'the end'")
        assert psutil.Process().memory_info().rss - before < 32 * 2**20
        assert output.value["stdout_bytes"] == 209_715_207
        assert len(context.bytes_of("stdout")) == 1_000_000
        assert output.value["stdout_omitted"] == 209_715_207 - 1_000_000 - 1000
        assert output.bulk["stdout_tail"] == b"\0" * 993 + b"the end"

    @pytest.mark.parametrize("size", [0, 9_999, 10_000, 10_001, 10_100, 10_101, 70_000])
    def test_head_omitted_and_tail_always_add_up(self, run: Run, session: Any, size: int) -> None:
        session.settings["terminal"] = {"max_output_bytes": 10_000, "tail_bytes": 100}
        Path(session.workspace, "file").write_bytes(written := os.urandom(size))
        output, context = run("cat file")
        head, tail = context.bytes_of("stdout"), output.bulk["stdout_tail"]
        assert output.value["stdout_bytes"] == size
        assert len(head) + output.value["stdout_omitted"] + len(tail) == size
        assert written.startswith(head)
        assert written.endswith(tail)
        assert (output.value["stdout_omitted"] > 0) == bool(tail)

    def test_a_pseudo_terminal_is_one_on_request(self, run: Run) -> None:
        script = "test -t 1 && test -t 2 && echo both >&2; stty size </dev/tty; exit 4"
        output, context = run(script, pty=True)
        assert context.bytes_of("stdout") == b"both\r\n24 80\r\n"
        assert context.bytes_of("stderr") == b""
        assert output.value["exit_code"] == 4
        assert run("test -t 1")[0].value["exit_code"] == 1


class TestEnds:
    def test_a_command_killed_by_a_signal_has_the_shells_exit_code(self, run: Run) -> None:
        assert run("kill -SEGV $$; true")[0].value["exit_code"] == 128 + signal.SIGSEGV

    def test_time_runs_out(self, run: Run, make_context: Any) -> None:
        context, started = make_context(), time.monotonic()
        with pytest.raises(CallTimeoutError, match=r"0\.3 s"):
            run("echo $$; sleep 60", timeout=0.3, context=context)
        assert time.monotonic() - started < 2
        assert not is_alive(int(context.bytes_of("stdout")))

    def test_last_words_after_term_arrive(self, run: Run, make_context: Any) -> None:
        context = make_context()
        with pytest.raises(CallTimeoutError):
            run("trap 'echo bye; exit' TERM; echo hi; sleep 60 & wait", timeout=0.5, context=context)
        assert context.bytes_of("stdout") == b"hi\nbye\n"

    def test_a_group_that_ignores_term_is_killed_after_the_grace(
        self, run: Run, session: Any, make_context: Any
    ) -> None:
        session.settings["terminal"] = {"grace_seconds": 0.3}
        context, started = make_context(), time.monotonic()
        with pytest.raises(CallTimeoutError):
            run("trap '' TERM; (echo $BASHPID; sleep 60; sleep 60) & echo $$; wait; wait", timeout=0.3, context=context)
        assert 0.6 <= time.monotonic() - started < 3
        assert not any(is_alive(int(pid)) for pid in context.bytes_of("stdout").split())

    def test_a_stopped_command_ends_too(self, run: Run) -> None:
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            run("kill -STOP $$; true", timeout=0.3)
        assert time.monotonic() - started < 1.5

    def test_cancelling_ends_the_command(self, run: Run, make_context: Any) -> None:
        context = make_context()
        result = in_thread(lambda: run("echo $$; sleep 60 & sleep 61", context=context))
        context.wait_for(lambda context: context.bytes_of("stdout").endswith(b"\n"))
        context.cancel()
        with pytest.raises(CallCancelledError):
            result()
        assert not is_alive(int(context.bytes_of("stdout")))

    def test_a_call_that_was_cancelled_before_it_began_leaves_nothing(self, run: Run, make_context: Any) -> None:
        context = make_context()
        context.cancel()
        with pytest.raises(CallCancelledError):
            run("sleep 60", context=context)

    def test_the_calls_deadline_ends_the_command(self, run: Run, make_context: Any) -> None:
        with pytest.raises(CallTimeoutError):
            run("sleep 60", context=make_context(timeout=0.3))

    def test_a_kernel_that_reads_nothing_holds_the_command_back_and_loses_nothing(
        self, run: Run, session: Any, make_context: Any
    ) -> None:
        context = make_context(credit=0)
        result = in_thread(lambda: run("head -c 1000000 /dev/zero; echo written >done", context=context))
        for _ in range(3):
            context.grant(65_536)
        context.wait_for(lambda context: len(context.bytes_of("stdout")) == 3 * 65_536)
        assert not Path(session.workspace, "done").exists()
        context.grant(10_000_000)
        output, _ = result()
        assert len(context.bytes_of("stdout")) == output.value["stdout_bytes"] == 1_000_000

    def test_time_runs_out_while_the_kernel_reads_nothing(self, run: Run, session: Any, make_context: Any) -> None:
        session.settings["terminal"] = {"grace_seconds": 0.2}
        context = make_context(credit=0, timeout=20)
        result = in_thread(lambda: run("echo $$ >pid; trap '' TERM; yes", timeout=0.3, context=context))
        pid_file = Path(session.workspace, "pid")
        until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        pid = int(pid_file.read_text())
        until(lambda: not is_alive(pid), otherwise="the command did not end")
        context.grant(10_000_000)
        with pytest.raises(CallTimeoutError):
            result()

    def test_cancelling_works_while_the_kernel_reads_nothing(self, run: Run, session: Any, make_context: Any) -> None:
        session.settings["terminal"] = {"grace_seconds": 0.2}
        context = make_context(credit=0)
        result = in_thread(lambda: run("trap '' TERM; yes", context=context))
        while not psutil.Process().children():
            pass
        context.cancel()
        with pytest.raises(CallCancelledError):
            result()


_WRITTEN = "until test -s pids; do :; done"
LEAVING = {
    "a background job": "sleep 99 & echo $! >pids",
    "a job that ignores HUP and TERM": f"(trap '' HUP TERM; echo $BASHPID >pids; while :; do sleep 9; done) & {_WRITTEN}",
    "a session of its own": f"setsid -f sh -c 'echo $$ >pids; exec sleep 99'; {_WRITTEN}",
    "a daemon": f"(setsid sh -c 'sh -c \"echo \\$\\$ >pids; exec sleep 99\" &' &) ; {_WRITTEN}",
    "a daemon without variables": f"env -i setsid -f sh -c 'echo $$ >pids; exec sleep 99'; {_WRITTEN}",
    "a daemon with children": f"setsid -f sh -c 'sleep 98 & setsid sleep 97 & echo $! $$ >pids; wait'; {_WRITTEN}",
    "a job of an interactive shell": "set -m; sleep 99 & echo $! >pids",
}
"""Lines that leave something behind, whose process ids are written to `pids`."""


class TestNothingIsLeftBehind:
    @pytest.mark.parametrize("line", LEAVING.values(), ids=LEAVING.keys())
    def test_when_the_command_ends(self, run: Run, session: Any, line: str) -> None:
        started = time.monotonic()
        run(line)
        assert time.monotonic() - started < 5
        self.check(session)

    @pytest.mark.parametrize("line", LEAVING.values(), ids=LEAVING.keys())
    def test_when_time_runs_out(self, run: Run, session: Any, line: str) -> None:
        with pytest.raises(CallTimeoutError):
            run(f"{line}; sleep 60", timeout=1)
        self.check(session)

    def check(self, session: Any) -> None:
        pids = [int(pid) for pid in Path(session.workspace, "pids").read_text().split()]
        assert pids
        assert not any(is_alive(pid) for pid in pids)
        assert not psutil.Process().children()

    def test_one_calls_end_does_not_touch_anothers_daemon(self, run: Run, session: Any, make_context: Any) -> None:
        context = make_context()
        line = "setsid -f sh -c 'echo $$; exec sleep 99'; sleep 60"
        result = in_thread(lambda: run(line, context=context))
        context.wait_for(lambda context: context.bytes_of("stdout").endswith(b"\n"))
        daemon = int(context.bytes_of("stdout"))
        run("true")
        run("setsid -f sleep 99; true")
        assert is_alive(daemon)
        context.cancel()
        with pytest.raises(CallCancelledError):
            result()
        assert not is_alive(daemon)

    def test_children_of_other_code_are_left_alone(self, run: Run) -> None:
        with psutil.Popen(["sleep", "60"]) as other:
            run("setsid -f sleep 99; true")
            assert is_alive(other.pid)
            other.kill()

    def test_the_session_ends_what_runs(self, run: Run, session: Any, make_context: Any) -> None:
        session.settings["terminal"] = {"grace_seconds": 0.3}
        context = make_context()
        result = in_thread(lambda: run("trap '' TERM; echo $$; sleep 60; sleep 60", context=context))
        context.wait_for(lambda context: context.bytes_of("stdout").endswith(b"\n"))
        session.resources["children"].close()
        result()
        assert not is_alive(int(context.bytes_of("stdout")))
        with pytest.raises(CallError, match="ending"):
            run("true")


class TestArguments:
    def test_what_is_shown_is_what_runs(self, session: Any) -> None:
        call = TOOL.prepare(TOOL.Arguments("git  status  # é"), session)
        call.close()
        shown = {"command": "git  status  # é", "workdir": session.workspace, "timeout": 180, "confinement": "host"}
        assert call.shown == shown
        assert all(isinstance(resource, CommandResource) for resource in call.resources)
        assert {resource.folder for resource in call.resources} == {session.workspace}

    def test_a_plain_command_is_one_resource(self, session: Any) -> None:
        call = TOOL.prepare(TOOL.Arguments("git status"), session)
        call.close()
        assert call.resources == (CommandResource(("git", "status"), "git status", session.workspace),)

    @pytest.mark.parametrize("command", ["\0", "ls\0-l", "   ", "\n", "x" * 100_000 + "é" * 20_000])
    def test_lines_nobody_could_mean_are_refused(self, session: Any, command: str) -> None:
        with pytest.raises(InvalidCallError):
            TOOL.prepare(TOOL.Arguments(command), session)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"command": ""},
            {"command": "x" * 131_072},
            {"command": ["ls"]},
            {"command": "ls", "timeout": 0},
            {"command": "ls", "timeout": -1},
            {"command": "ls", "timeout": None},
            {"command": "ls", "timeout": 1e9},
            {"command": "ls", "watch_patterns": [""]},
            {"command": "ls", "shell": True},
        ],
    )
    def test_arguments_that_do_not_fit_are_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(arguments, type=TOOL.Arguments)

    def test_watching_needs_the_background(self, session: Any) -> None:
        with pytest.raises(InvalidCallError, match="background"):
            TOOL.prepare(TOOL.Arguments("ls", watch_patterns=("x",)), session)

    def test_a_wrong_setting_names_its_key(self, session: Any) -> None:
        session.settings["terminal"] = {"max_output_bytes": "many"}
        with pytest.raises(NotConfiguredError, match=r"\[tools\.terminal\].*max_output_bytes"):
            TOOL.prepare(TOOL.Arguments("ls"), session)

    def test_preparing_is_quick_only_for_short_lines_in_the_workspace(self, session: Any) -> None:
        assert TOOL.quick_prepare(TOOL.Arguments("ls"), session)
        assert not TOOL.quick_prepare(TOOL.Arguments("ls", workdir="/mnt"), session)
        assert not TOOL.quick_prepare(TOOL.Arguments("x" * 2000), session)


def test_many_commands_run_at_once(run: Run, session: Any) -> None:
    started = time.monotonic()
    results = [in_thread(lambda index=index: run(f"sleep 0.5; echo {index}")) for index in range(16)]
    for index, result in enumerate(results):
        assert result()[1].bytes_of("stdout") == f"{index}\n".encode()
    assert time.monotonic() - started < 4
    assert not Children.of(session)._live
