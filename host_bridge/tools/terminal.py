"""Runs a command line: on the host, or where the settings say so in a sandbox like a kernel's.

A line that is one plain command is executed directly; anything else is given to bash, as the very text that was shown. Either
way the command has no terminal and no input, gets the session's variables only, and when it is over nothing of it remains:
not its process group, nor what left the group.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hermes_protocol.messages import secret_text
from host_bridge.config import sounds_secret
from host_bridge.errors import CallError, CallTimeoutError, InvalidCallError
from host_bridge.policy import commands, paths
from host_bridge.policy.paths import ResolvedPath
from host_bridge.secrets.vault import RESOURCE
from host_bridge.secrets.veil import veiled
from host_bridge.tools.background import BackgroundProcesses
from host_bridge.tools.capture import Capture
from host_bridge.tools.children import Child, Children
from host_bridge.tools.command_sandbox import CommandSandbox, ConfinedStart, runs_on_host, shares_network
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.launching import Launch, find_executable
from host_bridge.tools.settings import read_settings
from host_bridge.tools.terminal_settings import TerminalSettings

MAX_COMMAND_BYTES = 131_071  # what Linux takes as one argument (MAX_ARG_STRLEN), less its final NUL
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_QUICK_COMMAND_CHARACTERS = 1024  # reading a longer line takes more than a fraction of a millisecond


class Terminal(Tool):
    """Run a command line.

    With `background` the command keeps running when the call is over, without a time limit, until it ends, `process` kills
    it or the session ends; what it writes is kept for `process` to read. `notify_on_complete` and `watch_patterns` concern
    such a command and show up in its state. `secrets` are variables that the command gets, each of them one secret by its
    handle: in its environment, since a command line can be read by everybody on the machine.
    """

    name = "terminal"
    summary = "Run a command line on the host."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a kernel may say."""

        command: Annotated[str, Meta(min_length=1, max_length=MAX_COMMAND_BYTES)]
        timeout: Annotated[float, Meta(gt=0, le=86_400)] = 180
        workdir: str | None = None
        background: bool = False
        pty: bool = False
        notify_on_complete: bool = False
        watch_patterns: (
            Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(max_length=16)] | None
        ) = None
        secrets: Annotated[dict[str, str], Meta(max_length=32)] = {}

    secret_arguments = frozenset(("secrets",))

    def quick_prepare(self, arguments: Arguments, session: Session) -> bool:
        """Short lines in the workspace."""
        return (
            arguments.workdir is None
            and len(arguments.command) <= _QUICK_COMMAND_CHARACTERS
            and paths.is_local(session.workspace)
            and not _makes_sandbox(session)
        )

    def prepare(self, arguments: Arguments, session: Session) -> Call:
        """Read the line and find its folder."""
        _check_text(arguments)
        settings = read_settings(session, self.name, TerminalSettings)
        folder = paths.resolve(session.workspace, "." if arguments.workdir is None else arguments.workdir)
        try:
            kind = BackgroundCommand if arguments.background else ForegroundCommand
            call = kind(arguments, folder, settings)
            if call.is_confined:
                CommandSandbox.of(session, settings)  # what can't be done is said before anybody is asked to allow it
            return call
        except BaseException:
            folder.close()
            raise


class _Command(Call):
    """What both kinds of call share: where and how the line is started."""

    def __init__(self, arguments: Terminal.Arguments, folder: ResolvedPath, settings: TerminalSettings) -> None:
        self._arguments = arguments
        self._folder = folder
        self._settings = settings
        self._confined: ConfinedStart | None = None
        self._secrets: dict[str, str] = {}
        self.resources = commands.resources(arguments.command, folder.path)
        self.is_confined = not runs_on_host(settings, self.resources)
        self._network = shares_network(settings, self.resources) if self.is_confined else True
        self.shown = _shown(arguments, folder.path) | self._place()

    def close(self) -> None:
        """Let go of the folder."""
        self._folder.close()
        if self._confined is not None:
            self._confined.close()

    def _place(self) -> dict[str, str]:
        """Where it runs, for people and records."""
        if not self.is_confined:
            return {"confinement": "host"}
        return {"confinement": "workspace", "network": "full" if self._network else "none"}

    def _start(self, context: CallContext, **options: Any) -> Child:
        children = Children.of(context.session)
        children.grace_seconds = self._settings.grace_seconds
        if self._arguments.secrets:
            self._secrets = context.reveal(self._arguments.secrets)
            if any(value == self._arguments.secrets[name] for name, value in self._secrets.items()):
                raise InvalidCallError("secrets takes handles, and not text that looks like one: use hermes.secret(…)")
        entered = self._folder.open_folder()
        start = self._start_confined if self.is_confined else self._start_on_host
        try:
            return start(children, context.session, entered, options)
        except OSError as error:
            raise CallError(f"the command can't be started: {os.strerror(error.errno or 0)}") from None
        finally:
            os.close(entered)

    def _start_on_host(self, children: Children, _: Session, entered: int, options: Mapping[str, Any]) -> Child:
        environment = {**children.environment, **self._secrets} if self._secrets else None
        *direct, by_shell = [
            Launch(
                argv=argv,
                executable=executable,
                folder=self._folder.path,
                descriptor=entered,
                terminal=self._arguments.pty,
                environment=environment,
                **options,
            )
            for argv, executable in self._ways(children.search_path)
        ]
        for launch in direct:
            with contextlib.suppress(OSError):
                return children.start(launch)
        return children.start(by_shell)

    def _start_confined(self, children: Children, session: Session, entered: int, options: Mapping[str, Any]) -> Child:
        line = commands.parse(self._arguments.command)
        self._confined = CommandSandbox.of(session, self._settings).prepare(
            self._arguments.command,
            line.commands[0] if line is not None and line.is_single else (),
            folder=self._folder.path,
            descriptor=entered,
            environment={**children.environment, **self._secrets, **({"TERM": "xterm"} if self._arguments.pty else {})},
            share_network=self._network,
        )
        try:
            return children.start(
                Launch(
                    argv=self._confined.argv,
                    executable="/bin/sh",
                    folder="/",
                    terminal=self._arguments.pty,
                    environment={},
                    descriptors=self._confined.descriptors,
                    dies_with_starter=True,
                    **options,
                )
            )
        finally:
            self._confined.given()

    def _check_begun(self, child: Child) -> None:
        """Tell a sandbox that could not be made from a command that failed."""
        if self._confined is not None and child.exit_code and not self._confined.has_begun():
            raise CallError("the command was not run, because its sandbox could not be made; its error output says why")

    def _ways(self, search_path: str) -> list[tuple[tuple[str, ...], str]]:
        """How to run the line, as argv and executable: directly, if that is possible, and by a shell.

        A name that isn't found may be a builtin, and a file the kernel can't execute may be a script without a first line
        that says so: the shell knows, and says what a shell says if not.
        """
        ways = []
        line = commands.parse(self._arguments.command)
        if line is not None and line.is_single:
            argv = line.commands[0]
            if executable := argv[0] if "/" in argv[0] else find_executable(argv[0], search_path):
                ways.append((argv, executable))
        # `--`, or a line that begins with a dash would be taken for options.
        if bash := find_executable("bash", search_path):
            ways.append((("bash", "--norc", "--noprofile", "-c", "--", self._arguments.command), bash))
        else:
            ways.append((("sh", "-c", "--", self._arguments.command), "/bin/sh"))
        return ways


class ForegroundCommand(_Command):
    """A command that ends with its call."""

    def run(self, context: CallContext) -> ToolOutput:
        """Run the command and pass on what it writes."""
        children = Children.of(context.session)
        child = self._start(context)
        timed_out = False

        def end_in_time() -> None:
            nonlocal timed_out
            timed_out = True
            child.end()

        # Not left to the loop below, which may be waiting for a kernel that reads nothing.
        alarm = children.alarms.after(self._arguments.timeout, end_in_time)
        context.on_end(child.end)
        try:
            captures = self._follow(child, context)
        finally:
            alarm.cancel()
            child.close()
        if timed_out:
            raise CallTimeoutError(
                f"the command did not end within {self._arguments.timeout:g} s and was ended; give it a larger timeout, "
                "or run it with background=True"
            )
        context.check()
        self._check_begun(child)
        return _output(child, captures, self._place())

    def _follow(self, child: Child, context: CallContext) -> dict[str, Capture]:
        captures = {
            name: Capture(self._settings.max_output_bytes, self._settings.tail_bytes) for name in ("stdout", "stderr")
        }
        ended: CallError | None = None
        for name, data in veiled(context.session.resources.get(RESOURCE), child.output()):
            head = captures[name].take(data)
            if head and ended is None:
                try:
                    context.emit(name, head)
                except CallError as error:
                    # Read on until it is over: a command that is told to end may have last words to write.
                    ended = error
                    child.end()
        if ended is not None:
            raise ended
        for name, capture in captures.items():
            if not capture.omitted and (rest := capture.tail()):
                context.emit(name, rest)
        return captures


class BackgroundCommand(_Command):
    """A command that outlives its call."""

    def run(self, context: CallContext) -> ToolOutput:
        """Start the command and say how to name it."""
        processes = BackgroundProcesses.of(context.session)
        context.check()
        with processes.place():
            child = self._start(context, input="pipe", merged=True)
            process = processes.add(
                child,
                command=self._arguments.command,
                resources=self.resources,
                patterns=self._arguments.watch_patterns or (),
                notify=self._arguments.notify_on_complete,
            )
        try:
            context.check()
        except CallError:
            process.end()  # its name would reach nobody
            raise
        return ToolOutput({"session_id": process.session_id, "pid": child.pid, **self._place()})


def _output(child: Child, captures: dict[str, Capture], place: dict[str, str]) -> ToolOutput:
    value: dict[str, Any] = {
        "exit_code": child.exit_code,
        "duration_seconds": round(child.duration_seconds, 6),
        **place,
    }
    bulk = {}
    for name, capture in captures.items():
        value[f"{name}_bytes"] = capture.produced
        value[f"{name}_omitted"] = capture.omitted
        bulk[f"{name}_tail"] = capture.tail() if capture.omitted else b""
    return ToolOutput(value, bulk)


def _makes_sandbox(session: Session) -> bool:
    """Whether this call may be the one that makes the session's sandbox, which takes its time."""
    wanted = session.settings.get("terminal", {}).get("confinement", "host") != "host"
    return wanted and "command_sandbox" not in session.resources


def _check_text(arguments: Terminal.Arguments) -> None:
    if "\0" in arguments.command:
        raise InvalidCallError("the command contains a NUL character, which no command line can")
    if not arguments.command.strip():
        raise InvalidCallError("the command is empty")
    if len(arguments.command.encode()) > MAX_COMMAND_BYTES:
        raise InvalidCallError(
            f"the command is longer than {MAX_COMMAND_BYTES} bytes; write it to a file in the workspace and run that"
        )
    _check_secrets(arguments.secrets)
    if arguments.watch_patterns and not arguments.background:
        raise InvalidCallError(
            "watch_patterns needs background=True: a command in the foreground is watched by its call"
        )


def _check_secrets(secrets: Mapping[str, str]) -> None:
    """Refuse variables that mean something else to a program, and values that are no handle.

    That the text of a handle stands for a secret is checked where all marks are; without a mark it is only text.
    """
    for variable, text in secrets.items():
        name = text.removeprefix("[secret ").removesuffix("]")
        if text != secret_text(name):
            raise InvalidCallError(f"secrets: {variable[:100]!r} is given something else than hermes.secret(…)")
        if not _VARIABLE.fullmatch(variable):
            raise InvalidCallError(f"secrets: {variable[:100]!r} is no name of a variable")
        if variable != name and not sounds_secret(variable):
            raise InvalidCallError(
                f"secrets: the variable {variable} doesn't sound like a secret's; give it the secret's own name ({name}), "
                "or one with TOKEN, KEY, SECRET, PASSWORD or CREDENTIAL in it"
            )


def _shown(arguments: Terminal.Arguments, folder: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"command": arguments.command, "workdir": folder}
    if arguments.secrets:
        shown["secrets"] = dict(arguments.secrets)
    if arguments.background:
        shown |= {"background": True, "watch_patterns": list(arguments.watch_patterns or ())}
    else:
        shown["timeout"] = arguments.timeout
    return shown | ({"pty": True} if arguments.pty else {})
