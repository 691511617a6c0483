"""Starts commands and ends them, whole: the process, its group, and what escaped from the group.

    Launch     what to start: a value
    Children   all commands of a session; closing it ends them
    Child      one started command: `output()` gives what it writes until it is over, `end()` may be called from any thread

Nothing here runs Python code between fork and exec, so a command costs a millisecond whatever threads there are.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from host_bridge.errors import CallError
from host_bridge.tools.alarms import Alarms
from host_bridge.tools.interface import Session
from host_bridge.tools.launching import Launch, command_environment, limits_lifted, soft_limits
from host_bridge.tools.orphans import ORPHANS, OWNER_VARIABLE
from host_bridge.tools.pipes import Pipes, read, rest

_STUCK_SECONDS = 10.0  # a process that survives KILL for so long hangs in the kernel (a dead network file system)
_POLL_SECONDS_WITHOUT_PIDFD = 0.02

# A session leader that opens a terminal for reading gets it as its controlling one: the only way without code after fork.
_TAKE_TERMINAL = 'exec 3<>"$0"; exec "$@" <&3 >&3 2>&3 3>&-'
_TAKE_TERMINAL_WITHOUT_INPUT = 'exec 3<>"$0"; exec "$@" </dev/null >&3 2>&3 3>&-'

# Never idle long enough to end, unlike the threads of calls; made with the first launch that needs it.
_lasting = ThreadPoolExecutor(1, thread_name_prefix="command-starter")

_spawning = threading.Lock()  # limits and marks belong to the whole process while a child inherits them


class Children:
    """The commands of one session."""

    def __init__(self, session: Session) -> None:
        self.grace_seconds = 2.0
        self.alarms = Alarms()
        self._environment = command_environment(session.environment)
        self._limits = soft_limits(session.resources.get("original_rlimits", {}))
        self._umask: int = session.resources.get("original_umask", -1)
        self._live: set[Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def of(cls, session: Session) -> Children:
        """Give the session's one instance."""
        found = session.resources.get("children")
        if found is None:
            found = session.resources.setdefault("children", cls(session))  # atomic, should two threads come at once
        assert isinstance(found, cls)
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables commands get, but for the few that depend on the command."""
        return self._environment

    @property
    def search_path(self) -> str:
        """The folders commands are looked up in, all absolute."""
        return self._environment["PATH"]

    def start(self, launch: Launch) -> Child:
        """Start a command in a session and process group of its own.

        Raises:
            OSError: It could not be started.
            CallError: The session is ending.
        """
        return _lasting.submit(self._start, launch).result() if launch.dies_with_starter else self._start(launch)

    def _start(self, launch: Launch) -> Child:
        pipes = Pipes(launch)
        started = time.monotonic()
        try:
            with _spawning, ORPHANS.marking() as mark, limits_lifted(self._limits):
                process = self._spawn(launch, pipes)
        except BaseException:
            pipes.close()
            raise
        child = Child(process, pipes, mark, self, started)
        with self._lock:
            self._live.add(child)
            refused = self._closed
        if refused:
            child.close()
            raise CallError("the session is ending; nothing can be started any more")
        return child

    def forget(self, child: Child) -> None:
        """Drop a command that is over."""
        with self._lock:
            self._live.discard(child)

    def close(self) -> None:
        """End all commands, and give none of them more than the grace time."""
        with self._lock:
            self._closed = True
            live = list(self._live)
        for child in live:
            child.end()
        deadline = time.monotonic() + self.grace_seconds
        while live and time.monotonic() < deadline:
            live = [child for child in live if not child.settle_if_over()]
            if live:
                time.sleep(0.005)
        for child in live:
            child.kill()
        for child in live:
            child.finish()
        self.alarms.close()
        ORPHANS.sweep()

    def _spawn(self, launch: Launch, pipes: Pipes) -> subprocess.Popen[bytes]:
        argv, executable = launch.argv, launch.executable
        if launch.terminal:
            take = _TAKE_TERMINAL if launch.input == "pipe" else _TAKE_TERMINAL_WITHOUT_INPUT
            argv, executable = ("sh", "-c", take, pipes.terminal_name, executable, *argv[1:]), "/bin/sh"
        entered = launch.descriptor is not None and sys.platform == "linux"
        return subprocess.Popen(
            [argument.encode() for argument in argv],  # UTF-8 whatever this process's locale is
            executable=executable.encode(),
            cwd=f"/proc/self/fd/{launch.descriptor}" if entered else launch.folder,
            env=self._variables(launch),
            stdin=pipes.child_input,
            stdout=pipes.child_output,
            stderr=pipes.child_errors,
            start_new_session=True,
            umask=self._umask,
            pass_fds=launch.descriptors,
        )

    def _variables(self, launch: Launch) -> dict[str, str]:
        chosen = self._environment if launch.environment is None else launch.environment
        added = {"PWD": launch.folder, OWNER_VARIABLE: str(os.getpid())}
        return {**chosen, **added, **({"TERM": "xterm"} if launch.terminal else {})}


class Child:
    """One started command.

    Attributes:
        pid: Also the id of its process group and session.
        started: On the monotonic clock.
        exit_code: As a shell would say it (128 + n for signal n); None until it is over.
        input: Descriptor to write its standard input to, None without one.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], pipes: Pipes, mark: int | None, children: Children, started: float
    ) -> None:
        self.pid = process.pid
        self.started = started
        self.exit_code: int | None = None
        self.duration_seconds = 0.0
        self.input = pipes.input
        self._process = process
        self._pipes = pipes
        self._mark = mark
        self._children = children
        self._lock = threading.Lock()
        self._ending = False
        self._killed_at: float | None = None
        self._pidfd = _open_pidfd(self.pid)
        pipes.keep_parent_ends()

    def output(self) -> Iterator[tuple[str, bytes]]:
        """Give what the command writes as `("stdout" or "stderr", bytes)`, until its main process is over.

        Then the rest of its group is ended, and what the pipes still hold is given: a process that escaped and holds a pipe
        open keeps nobody waiting.

        Raises:
            CallError: It survives even KILL.
        """
        poller = select.poll()
        streams = dict(self._pipes.streams)
        for descriptor in streams:
            poller.register(descriptor, select.POLLIN)
        if self._pidfd is not None:
            poller.register(self._pidfd, select.POLLIN)
        over = False
        while not over:
            for descriptor, _ in poller.poll(self._patience()):
                if descriptor == self._pidfd:
                    over = True
                elif data := read(descriptor):
                    yield streams[descriptor], data
                elif data is not None:
                    poller.unregister(descriptor)
                    del streams[descriptor]
            over = over or (self._pidfd is None and self._is_over())
            self._check_stuck()
        self.settle()
        for descriptor, name in streams.items():
            for data in rest(descriptor):
                yield name, data

    def end(self) -> None:
        """Ask the whole group to end (TERM), and make it end (KILL) after the grace time. From any thread, at any time."""
        with self._lock:
            if self._ending or self.exit_code is not None:
                return
            self._ending = True
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped process would never see the TERM
        self._children.alarms.after(self._children.grace_seconds, self.kill)

    def kill(self) -> None:
        """Make the whole group end now."""
        with self._lock:
            if self.exit_code is None:
                self._ending = True
                self._killed_at = self._killed_at or time.monotonic()
                self._signal(signal.SIGKILL)

    def settle(self) -> None:
        """Take the exit status of the main process, which is over, and end what it leaves behind."""
        with self._lock:
            if self.exit_code is None:
                # Before the main process is reaped: until then the group's id is surely its own.
                self._signal(signal.SIGKILL)
                _, status = os.waitpid(self.pid, 0)
                code = os.waitstatus_to_exitcode(status)
                self._process.returncode = code
                self.duration_seconds = time.monotonic() - self.started
                self.exit_code = code if code >= 0 else 128 - code
        ORPHANS.end(self._mark)
        self._children.forget(self)

    def settle_if_over(self) -> bool:
        """Settle without waiting, if the main process is over. Says whether it was."""
        if self._is_over():
            self.settle()
            return True
        return False

    def finish(self) -> None:
        """End it now, and wait until it is over; from any thread."""
        self.kill()
        if self.exit_code is None and self._await_end(_STUCK_SECONDS):
            self.settle()

    def close(self) -> None:
        """End it now, and let go of everything. For the thread that reads the output, as nobody may read after it."""
        self.finish()
        self.input = None
        self._pipes.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def close_input(self) -> None:
        """Let the command's reads from its standard input end."""
        self._pipes.close_input()
        self.input = None

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _await_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._is_over():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def _is_over(self) -> bool:
        with self._lock:
            if self.exit_code is not None:
                return True
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _patience(self) -> int | None:
        if self._pidfd is None:
            return int(_POLL_SECONDS_WITHOUT_PIDFD * 1000)
        return 1000 if self._ending else None

    def _check_stuck(self) -> None:
        if self._killed_at is not None and time.monotonic() - self._killed_at > _STUCK_SECONDS and not self._is_over():
            raise CallError(f"process {self.pid} does not end even when killed: it hangs in the host's kernel")


def _open_pidfd(pid: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None  # an old or emulated kernel: polled instead
