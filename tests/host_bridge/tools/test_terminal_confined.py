"""The terminal with `confinement = "workspace"`: in real sandboxes, against what is outside of them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from host_bridge.config import state_folder
from host_bridge.errors import CallCancelledError, CallError, CallTimeoutError, NotConfiguredError
from host_bridge.sandbox import probing
from host_bridge.sandbox.covers import covers_in_use
from host_bridge.tools.command_sandbox import PROTECTED_PATHS, READS_ONLY
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.process import Process
from host_bridge.tools.terminal import Terminal

pytestmark = pytest.mark.skipif(not probing.probe("bubblewrap").works, reason="needs a bubblewrap that works")

TOOL = Terminal()
Run = Callable[..., tuple[ToolOutput, Any]]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def settings(session: Any) -> dict[str, Any]:
    """`[tools.terminal]`; change it before the first call."""
    session.settings["terminal"] = {"confinement": "workspace"}
    return session.settings["terminal"]  # type: ignore[no-any-return]


@pytest.fixture
def run(session: Any, settings: dict[str, Any], make_context: Any) -> Run:
    """Prepare and run a call, as the dispatcher does."""

    def run(command: str, *, context: Any = None, **arguments: Any) -> tuple[ToolOutput, Any]:
        context = context or make_context()
        call = TOOL.prepare(TOOL.Arguments(command, **arguments), session)
        try:
            return call.run(context), context
        finally:
            call.close()

    return run


@pytest.fixture
def out(run: Run) -> Callable[..., str]:
    """Run a line and give what it wrote to both streams."""

    def out(command: str, **arguments: Any) -> str:
        _, context = run(command, **arguments)
        return (context.bytes_of("stdout") + context.bytes_of("stderr")).decode()

    return out


@pytest.fixture
def workspace(session: Any) -> Path:
    return Path(session.workspace)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def connect_to(server: socket.socket) -> str:
    return f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {server.getsockname()[1]}), 5)'"


def processes_with(mark: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if mark in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


class TestFiles:
    def test_what_is_outside_of_the_workspace_is_not_there(self, out: Callable[..., str], tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("s3cret")
        for path in (secret, "/etc/shadow", "/etc/machine-id", "/root/.bashrc", "/run/hermes/command"):
            assert out(f"cat {path} 2>/dev/null") == "", path
        assert out(f"ls -A {tmp_path}").split() == ["workspace"]
        assert out("ls -A /var /run /home /srv /mnt 2>/dev/null | grep -v :").split() in ([], ["hermes"])
        assert "root:" not in out("cat /etc/passwd")

    def test_a_way_up_leads_nowhere(self, out: Callable[..., str], workspace: Path) -> None:
        (workspace.parent / "beside").write_text("s3cret")
        (workspace / "link").symlink_to(workspace.parent / "beside")
        assert "s3cret" not in out("cat ../beside link; ls -R .. 2>&1")

    def test_the_workspace_can_be_read_and_written(self, run: Run, workspace: Path) -> None:
        (workspace / "in").write_text("1\n2\n")
        assert run("wc -l <in >out; mkdir d; mv out d")[0].value["exit_code"] == 0
        assert (workspace / "d/out").read_text().strip() == "2"

    def test_files_belong_to_who_runs_the_session(self, run: Run, workspace: Path) -> None:
        run("touch new")
        assert (workspace / "new").stat().st_uid == os.getuid()

    @pytest.mark.parametrize(
        "line",
        [
            "echo x >.git/hooks/pre-commit",
            "mv .git g",
            "rm -rf .git; mkdir .git",
            "ln -sf /etc .vscode",
            "mkdir .claude/x",
            "echo x >.envrc",
            "rm .mcp.json",
            "echo x >>.bashrc",
            "echo x >rules.toml",
            "mv sub sub2",
        ],
    )
    def test_islands_stay_as_they_are(self, run: Run, session: Any, workspace: Path, line: str) -> None:
        (workspace / ".git/hooks").mkdir(parents=True)
        (workspace / ".bashrc").write_text("mine")
        (workspace / "sub").mkdir()
        policy = workspace / "sub/rules.toml"
        policy.write_text("version = 1")
        session.resources[PROTECTED_PATHS] = (str(policy),)
        before = sorted((str(path), path.is_file() and path.read_text()) for path in workspace.rglob("*"))
        if "rules" in line:
            line = f"cd sub; {line}"
        assert run(line)[0].value["exit_code"] != 0
        session.close()
        assert sorted((str(path), path.is_file() and path.read_text()) for path in workspace.rglob("*")) == before

    def test_missing_names_are_covered_while_the_session_lives_and_gone_afterwards(
        self, run: Run, session: Any, workspace: Path
    ) -> None:
        assert run("mkdir .git; touch .git/config; test ! -e .git/config")[0].value["exit_code"] == 0
        assert str(workspace / ".git") in covers_in_use()
        session.close()
        assert list(workspace.iterdir()) == []
        assert str(workspace / ".git") not in covers_in_use()

    def test_a_link_under_a_protected_name_stops_the_command(self, run: Run, workspace: Path) -> None:
        (workspace / ".git").symlink_to("/etc")
        with pytest.raises(CallError, match="symbolic link"):
            run("true")

    def test_a_workspace_that_is_only_read_stays_as_it_is(
        self, run: Run, settings: dict[str, Any], workspace: Path
    ) -> None:
        settings["workspace"] = "read"
        output, context = run("touch new")
        assert output.value["exit_code"] == 1
        assert b"Read-only" in context.bytes_of("stderr")
        assert list(workspace.iterdir()) == []

    def test_a_profile_that_changes_nothing_wins(self, run: Run, session: Any) -> None:
        session.resources[READS_ONLY] = True
        assert run("touch new")[0].value["exit_code"] == 1

    def test_further_paths_are_there_as_the_settings_say(
        self, run: Run, settings: dict[str, Any], tmp_path: Path
    ) -> None:
        for name in ("data", "results"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "f").write_text(name)
        settings["read_only_paths"] = [str(tmp_path / "data")]
        settings["writable_paths"] = [str(tmp_path / "results")]
        data, results = tmp_path / "data", tmp_path / "results"
        assert run(f"cat {data}/f && touch {results}/new")[0].value["exit_code"] == 0
        assert run(f"touch {data}/new")[0].value["exit_code"] == 1
        assert (results / "new").exists()
        assert run("pwd", workdir=str(data))[1].bytes_of("stdout").decode() == f"{data}\n"

    def test_temporary_space_is_its_own_and_limited(self, out: Callable[..., str], settings: dict[str, Any]) -> None:
        settings["temporary_bytes"] = 2**20
        assert "No space left" in out("head -c 2000000 /dev/zero >/tmp/f")
        assert out("ls -A /tmp/home; touch /tmp/left /dev/shm/left") == ""
        assert out("ls /tmp/left /dev/shm/left 2>/dev/null") == ""

    def test_a_folder_that_is_not_in_the_sandbox_is_refused(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(CallError, match="leave out workdir"):
            run("pwd", workdir=str(tmp_path))

    def test_a_folder_that_was_replaced_is_not_entered(
        self, session: Any, settings: dict[str, Any], make_context: Any, workspace: Path
    ) -> None:
        decided, other = workspace / "decided", workspace / "other"
        decided.mkdir()
        other.mkdir()
        call = TOOL.prepare(TOOL.Arguments("touch done", workdir="decided"), session)
        decided.rename(workspace / "moved")
        other.rename(decided)
        context = make_context()
        with pytest.raises(CallError, match="sandbox could not be made"):
            call.run(context)
        call.close()
        assert b"replaced" in context.bytes_of("stderr")
        assert not list(workspace.rglob("done"))


class TestAuthority:
    def test_both_layers_hold(self, out: Callable[..., str]) -> None:
        fields = dict(line.split(":\t") for line in out("cat /proc/self/status").splitlines() if ":\t" in line)
        assert (fields["Seccomp"], fields["NoNewPrivs"], int(fields["CapEff"], 16)) == ("2", "1", 0)
        for name in ("user", "mnt", "pid", "net", "ipc", "uts"):
            assert out(f"readlink /proc/self/ns/{name}").strip() != os.readlink(f"/proc/self/ns/{name}"), name  # noqa: PTH115

    @pytest.mark.skipif(probing.landlock_version() == 0, reason="needs Landlock")
    def test_landlock_is_a_wall_of_its_own(self, out: Callable[..., str]) -> None:
        # By its mode and owner it could be read.
        assert out("stat -c '%U %a' /run/hermes/command") == "user 600\n"
        assert "Permission denied" in out("cat /run/hermes/command")

    @pytest.mark.parametrize(
        "code",
        [
            "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
            "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "import os; os.unshare(os.CLONE_NEWUSER) if hasattr(os, 'unshare') else os.chroot('/')",
            "import fcntl, termios; fcntl.ioctl(1, termios.TIOCSTI, b'x')",
        ],
    )
    def test_ways_out_of_namespaces_are_closed(self, run: Run, workspace: Path, code: str) -> None:
        (workspace / "try.py").write_text(code)
        assert run("python3 try.py")[0].value["exit_code"] == 1

    def test_no_process_of_the_host_is_seen(self, out: Callable[..., str]) -> None:
        assert str(os.getpid()) not in out("ls /proc").split()
        assert "1" in out(f"kill -0 {os.getpid()}; echo $?")

    def test_variables_are_the_sessions_and_none_lead_outside(
        self, run: Run, session: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOST_TOKEN", "s3cret")
        session.environment = {
            "PATH": "/usr/bin:/bin",
            "COLOUR": "grün",
            "HOME": str(Path.home()),
            "USER": "me",
            "XDG_CONFIG_HOME": "/x",
            "BASH_ENV": "/evil",
        }
        _, context = run("env")
        variables = dict(line.split("=", 1) for line in context.bytes_of("stdout").decode().splitlines())
        assert variables == {
            "PATH": "/usr/bin:/bin",
            "COLOUR": "grün",
            "PWD": str(workspace),
            "HOME": "/tmp/home",
            "USER": "user",
            "LOGNAME": "user",
            "TMPDIR": "/tmp",
            "SHELL": "/bin/sh",
        }
        everywhere = "for f in /proc/[0-9]*/environ; do cat $f; done 2>/dev/null"
        assert b"s3cret" not in run(everywhere)[1].bytes_of("stdout")

    def test_no_descriptor_but_the_streams_is_inherited(self, run: Run) -> None:
        inherited = os.open("/dev/zero", os.O_RDONLY)
        os.set_inheritable(inherited, True)
        try:
            _, context = run("ls /proc/self/fd")
        finally:
            os.close(inherited)
        assert context.bytes_of("stdout").split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own

    def test_signals_python_ignores_are_not_ignored(self, out: Callable[..., str]) -> None:
        status = dict(line.split(":\t") for line in out("cat /proc/self/status").splitlines() if ":\t" in line)
        c_librarys_own = 0b11 << 31  # 32 and 33, ignored in whatever posix_spawn() starts, as make does
        assert int(status["SigIgn"], 16) & ~c_librarys_own == 0


class TestNetwork:
    def test_there_is_none(self, run: Run, listener: socket.socket) -> None:
        output, _ = run(connect_to(listener))
        assert output.value["exit_code"] == 1
        assert output.value["network"] == "none"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()

    def test_there_is_the_hosts_where_the_settings_say_so(
        self, run: Run, settings: dict[str, Any], listener: socket.socket
    ) -> None:
        settings["network"] = "full"
        output, context = run(connect_to(listener))
        assert output.value["exit_code"] == 0, context.bytes_of("stderr")
        assert output.value["network"] == "full"
        listener.accept()[0].close()

    @pytest.mark.skipif(probing.landlock_version() < 6, reason="older versions leave abstract sockets")
    def test_the_hosts_abstract_sockets_are_out_of_reach_even_then(self, run: Run, settings: dict[str, Any]) -> None:
        settings["network"] = "full"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"\0hermes-test-{os.getpid()}")
            server.listen()
            code = f"import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + 'hermes-test-{os.getpid()}')"
            output, context = run(f'python3 -c "{code}"')
            assert output.value["exit_code"] == 1
            assert b"PermissionError" in context.bytes_of("stderr")

    def test_a_pattern_gives_it_to_its_commands_only(self, run: Run, settings: dict[str, Any]) -> None:
        settings["network_for"] = ["echo online *"]
        assert run("echo online now")[0].value["network"] == "full"
        assert run("echo online a; echo online b")[0].value["network"] == "full"
        for line in ("echo offline", "echo online now | cat", "cat; echo online now", "echo online $(cat x)"):
            assert run(line)[0].value["network"] == "none", line

    def test_a_pattern_that_would_give_it_to_everything_is_refused(self, run: Run, settings: dict[str, Any]) -> None:
        for pattern in ("*", "bash *", "env *"):
            settings["network_for"] = [pattern]
            with pytest.raises(NotConfiguredError, match="network_for"):
                run("true")


class TestWhatStaysTheSame:
    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("true", 0),
            ("exit 7", 7),
            ("sh -c 'exit 255'", 255),
            ("no-such-command-anywhere", 127),
            ("/etc/hosts", 126),
            ("kill -TERM $$", 143),
            ("kill -KILL $$", 137),
            ("cd /", 0),
            ("yes | head -1", 0),
        ],
    )
    def test_exit_codes(self, run: Run, line: str, code: int) -> None:
        output, context = run(line)
        assert output.value["exit_code"] == code, context.chunks

    def test_a_script_without_a_first_line_runs(self, run: Run, workspace: Path) -> None:
        script = workspace / "script"
        script.write_text("echo from the script $1\n")
        script.chmod(0o755)
        assert run("./script 1")[1].bytes_of("stdout") == b"from the script 1\n"

    def test_text_reaches_the_command_unchanged(self, out: Callable[..., str]) -> None:
        text = "zwölf Boxkämpfer 🥊 \t {command} x"
        assert out(f"printf %s '{text}'") == text

    def test_output_streams_while_it_runs(self, run: Run, make_context: Any, workspace: Path) -> None:
        context = make_context()
        thread = threading.Thread(
            target=run,
            args=("echo one; until test -e go; do sleep 0.02; done; echo two >&2",),
            kwargs={"context": context},
        )
        thread.start()
        context.wait_for(lambda context: context.bytes_of("stdout") == b"one\n")
        (workspace / "go").touch()
        thread.join(10)
        assert context.bytes_of("stderr") == b"two\n"

    def test_a_large_output_is_complete(self, run: Run) -> None:
        output, context = run("head -c 3000000 /dev/zero")
        assert len(context.bytes_of("stdout")) == output.value["stdout_bytes"] == 3_000_000

    def test_a_terminal_is_one(self, out: Callable[..., str]) -> None:
        assert out("test -t 1 && stty size </dev/tty && echo $TERM", pty=True).split() == ["24", "80", "xterm"]

    def test_it_says_how_it_ran(self, run: Run, session: Any) -> None:
        call = TOOL.prepare(TOOL.Arguments("true"), session)
        call.close()
        assert (call.shown["confinement"], call.shown["network"]) == ("workspace", "none")
        output, _ = run("true")
        assert (output.value["confinement"], output.value["network"]) == ("workspace", "none")


class TestTheEnd:
    def test_when_time_is_up_nothing_is_left_inside(self, run: Run) -> None:
        mark = f"{os.getpid()}.125"
        line = f"trap '' TERM; setsid -f sleep 6{mark}; (sleep 7{mark} &); sleep 8{mark}"
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            run(line, timeout=0.7)
        assert time.monotonic() - started < 6
        assert not processes_with(mark)

    def test_a_command_that_is_told_to_end_has_its_last_words(self, run: Run, make_context: Any) -> None:
        context = make_context()
        line = "trap 'echo last words; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
        thread = threading.Thread(target=self._cancelled, args=(run, line, context))
        thread.start()
        context.wait_for(lambda context: b"ready" in context.bytes_of("stdout"))
        before = time.monotonic()
        context.cancel()
        thread.join(10)
        assert not thread.is_alive()
        assert time.monotonic() - before < 1.5  # it did not take a KILL

    def _cancelled(self, run: Run, line: str, context: Any) -> None:
        with pytest.raises(CallCancelledError):
            run(line, context=context)

    def test_what_a_command_leaves_behind_ends_with_it(self, run: Run) -> None:
        mark = f"9{os.getpid()}.125"
        assert run(f"setsid -f sleep {mark}; nohup sleep {mark} & true")[0].value["exit_code"] == 0
        until(lambda: not processes_with(mark), otherwise="something outlived its command")

    def test_a_background_command_runs_until_it_is_ended(self, run: Run, session: Any, make_context: Any) -> None:
        process = Process()
        output, _ = run('while read line; do echo "got $line"; done; echo over', background=True)
        assert output.value["confinement"] == "workspace"

        def ask(action: str, **arguments: Any) -> ToolOutput:
            asked = process.Arguments(action, session_id=output.value["session_id"], **arguments)
            return process.prepare(asked, session).run(make_context())

        ask("submit", data="this")
        until(lambda: ask("log").bulk["output"] == b"got this\n", otherwise="it said nothing")
        assert ask("poll").value["state"] == "running"
        ask("close")
        assert ask("wait", timeout=10).value["exit_code"] == 0
        assert ask("log").bulk["output"] == b"got this\nover\n"

    def test_a_background_command_is_ended_whole(self, run: Run, session: Any, make_context: Any) -> None:
        mark = f"5{os.getpid()}.125"
        output, _ = run(f"trap '' TERM; setsid -f sleep {mark}; while :; do sleep {mark}; done", background=True)
        until(lambda: len(processes_with(mark)) >= 2, otherwise="it did not start")
        process = Process()
        asked = process.Arguments("kill", session_id=output.value["session_id"], timeout=10)
        assert process.prepare(asked, session).run(make_context()).value["exit_code"] == 137
        assert not processes_with(mark)

    def test_the_session_ends_them_all(self, run: Run, session: Any) -> None:
        mark = f"4{os.getpid()}.125"
        run(f"sleep {mark}", background=True)
        until(lambda: bool(processes_with(mark)), otherwise="it did not start")
        session.close()
        assert not processes_with(mark)


class TestSettings:
    def test_without_bubblewrap_it_is_refused_with_what_to_install(
        self, session: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "host_bridge.tools.command_sandbox.probe",
            lambda backend: probing.Finding(works=False, problem="it is gone"),
        )
        with pytest.raises(NotConfiguredError, match="it is gone") as caught:
            TOOL.prepare(TOOL.Arguments("true"), session)
        assert "bubblewrap" in caught.value.remedy

    def test_a_workspace_that_holds_the_users_things_is_refused(self, session: Any, settings: dict[str, Any]) -> None:
        state_folder().mkdir(parents=True)
        session.workspace = str(state_folder().parent.resolve())
        with pytest.raises(NotConfiguredError, match="can't be"):
            TOOL.prepare(TOOL.Arguments("true"), session)

    def test_commands_of_a_pattern_run_on_the_host(self, run: Run, settings: dict[str, Any]) -> None:
        settings["host_for"] = ["cat /proc/self/stat"]
        output, context = run("cat /proc/self/stat")
        assert output.value["confinement"] == "host"
        assert int(context.bytes_of("stdout").split()[3]) == os.getpid()
        assert run("cat /proc/self/stat | cat")[0].value["confinement"] == "workspace"

    def test_a_path_that_is_not_there_is_named(self, session: Any, settings: dict[str, Any]) -> None:
        settings["read_only_paths"] = ["/no/such/place"]
        with pytest.raises(NotConfiguredError, match="/no/such/place"):
            TOOL.prepare(TOOL.Arguments("true"), session)
