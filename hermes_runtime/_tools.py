"""The tools, as a notebook calls them: names, parameters and defaults are those of Hermes Agent's tools.

Those for commands, and the way to call any tool, stand here; the others are in a file per family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds, check_tool_name, split_arguments, to_plain
from hermes_runtime._blocking import SECONDS, Path, tool
from hermes_runtime._calls import Operation
from hermes_runtime._client import current
from hermes_runtime._commands import DEFAULT_SECONDS, SETTLE_SECONDS, CommandOperation, TerminalResult
from hermes_runtime._errors import InvalidToolRequestError
from hermes_runtime._file_tools import list_files, patch, read_bytes, read_file, search_files, write_file
from hermes_runtime._files import WINDOW_BYTES, plain_path
from hermes_runtime._http import http_request
from hermes_runtime._processes import Process, StartOperation, process_operation
from hermes_runtime._running import run
from hermes_runtime._secrets import Marks, SecretHandle, command_secrets, is_hidden, take_handles
from hermes_runtime._session_tools import budget, status, tools
from hermes_runtime._web_tools import web_extract, web_search

Secrets = Sequence[SecretHandle] | Mapping[str, SecretHandle]

__all__ = [
    "budget",
    "call",
    "http_request",
    "list_files",
    "patch",
    "process",
    "read_bytes",
    "read_file",
    "search_files",
    "status",
    "terminal",
    "tools",
    "web_extract",
    "web_search",
    "write_file",
]


@overload
def terminal(
    command: str,
    background: Literal[False] = False,
    timeout: float = DEFAULT_SECONDS,
    workdir: Path | None = None,
    pty: bool = False,
    notify_on_complete: bool = False,
    watch_patterns: Sequence[str] | None = None,
    *,
    secrets: Secrets = (),
    stream: bool = True,
) -> TerminalResult: ...
@overload
def terminal(
    command: str,
    background: Literal[True],
    timeout: float = DEFAULT_SECONDS,
    workdir: Path | None = None,
    pty: bool = False,
    notify_on_complete: bool = False,
    watch_patterns: Sequence[str] | None = None,
    *,
    secrets: Secrets = (),
    stream: bool = True,
) -> Process: ...
def terminal(
    command: str,
    background: bool = False,
    timeout: float = DEFAULT_SECONDS,
    workdir: Path | None = None,
    pty: bool = False,
    notify_on_complete: bool = False,
    watch_patterns: Sequence[str] | None = None,
    *,
    secrets: Secrets = (),
    stream: bool = True,
) -> TerminalResult | Process:
    """Run a command line on the host.

    Its output appears in the cell while it runs. Interrupting the cell ends the command, with everything it started.

    Args:
        command: The command line. One plain command is the easiest to allow; pipes and `&&` are judged part by part.
        background: Return at once with a `Process`, which runs until it ends, is killed, or the session ends.
        timeout: Seconds after which the command is ended.
        workdir: The folder to run in; the workspace by default.
        pty: Give it a pseudo terminal.
        notify_on_complete: Have the state of a background process say once that it has ended.
        watch_patterns: Lines with one of these texts are kept in the state of a background process.
        secrets: Secrets that the command gets as variables: handles from `hermes.secret`, or a dict of them by variable.
        stream: Whether to show the output while it comes.

    Returns:
        A `TerminalResult` with `.output`, `.stdout`, `.stderr`, `.exit_code`, `.check()`; or a `Process`.

    Raises:
        ToolDeniedError: The policy or a person said no; the text names the rule.
        ToolTimeoutError: Its time was up; `.result` is what there was until then.

    Example:
        >>> terminal("git log --oneline -5").check().stdout.splitlines()
    """
    __tracebackhide__ = True
    result: TerminalResult | Process = run(
        terminal_operation(
            command,
            background,
            timeout,
            workdir,
            pty,
            notify_on_complete,
            watch_patterns,
            secrets=secrets,
            stream=stream,
        )
    )
    return result


def terminal_operation(
    command: str,
    background: bool = False,
    timeout: float = DEFAULT_SECONDS,
    workdir: Path | None = None,
    pty: bool = False,
    notify_on_complete: bool = False,
    watch_patterns: Sequence[str] | None = None,
    *,
    secrets: Secrets = (),
    stream: bool = True,
) -> Operation[Any]:
    """Give what `terminal` asks."""
    seconds = check_seconds(timeout)
    if is_hidden(command):
        raise InvalidToolRequestError(
            "a secret can't stand in a command line, which everybody on the machine can read: pass it as a variable, "
            "terminal(…, secrets=[hermes.secret(…)])"
        )
    if not isinstance(command, str):
        raise InvalidToolRequestError(f"the command must be text, as a shell reads it, not {type(command).__name__}")
    arguments: dict[str, Any] = {"command": command, "timeout": seconds}
    if workdir is not None:
        arguments["workdir"] = plain_path(workdir)
    if pty:
        arguments["pty"] = True
    marks: Marks = ()
    if secrets:
        taken, marks = take_handles({"secrets": command_secrets(secrets)})
        arguments |= taken
    if not background:
        return CommandOperation(arguments, seconds, stream=stream, secrets=marks)
    arguments["background"] = True
    if notify_on_complete:
        arguments["notify_on_complete"] = True
    if watch_patterns:
        arguments["watch_patterns"] = to_plain(list(watch_patterns), "watch_patterns")
    return StartOperation("terminal", arguments, SECONDS, secrets=marks)


terminal.operation = terminal_operation  # type: ignore[attr-defined]


@tool
def process(
    action: Literal["list", "poll", "log", "wait", "kill", "write", "submit", "close"],
    session_id: str | None = None,
    data: str | None = None,
    timeout: float | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> Operation[Any]:
    """Look after commands started with `terminal(…, background=True)`; the `Process` it gives has all this as methods.

    Args:
        action: `list` them; `poll`, `wait` for, `kill` one; read its `log`; `write` to its input, `submit` a line, `close` it.
        session_id: Which one.
        data: What to write.
        timeout: For `wait`, which needs it: the seconds to wait at most, after which it returns whatever the state.
        offset: For `log`: from which byte on; from the end if negative.
        limit: For `log`: how many bytes at most.

    Returns:
        A `ProcessState`; for `list` a list of them; for `log` a `ProcessLog`.
    """
    return process_operation(action, session_id, data, timeout, offset, limit)


class AnyOperation(Operation[Any]):
    """A call of a tool this package knows nothing about: plain data in and out, and whatever bytes come with it."""

    __slots__ = ("_streams",)

    def __init__(
        self,
        tool: str,
        arguments: dict[str, Any],
        seconds: float,
        contents: Mapping[str, memoryview] | None,
        secrets: Marks,
    ) -> None:
        super().__init__(tool, arguments, seconds, contents=contents, window_bytes=WINDOW_BYTES, secrets=secrets)
        self._streams: dict[str, bytearray] = {}

    def take(self, stream: str, data: Frame) -> None:
        """Collect it by stream."""
        self._streams.setdefault(stream, bytearray()).extend(data)

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> Any:
        """Give the result; where bytes came with it, a dict that has them by name."""
        contents = {name: bytes(data) for name, data in {**self._streams, **bulk}.items()}
        if not contents:
            return result
        return {**(result if isinstance(result, dict) else {"result": result}), **contents}


def call_operation(name: str, /, **arguments: Any) -> Operation[Any]:
    """Give what `call` asks."""
    tool_name = check_tool_name(name)
    seconds = SECONDS
    if "timeout" in arguments:
        seconds = check_seconds(arguments["timeout"])
        if _takes_timeout(tool_name):
            seconds += SETTLE_SECONDS
        else:
            del arguments["timeout"]
    elif tool_name == "terminal":
        seconds = DEFAULT_SECONDS + SETTLE_SECONDS
    given, marks = take_handles(arguments)
    plain, contents = split_arguments(given)
    return AnyOperation(tool_name, plain, seconds, contents, marks)


def call(name: str, /, **arguments: Any) -> Any:
    """Call any tool by its name, also one that is no function of this module.

    Args:
        name: The tool; `hermes.tools()` lists what there is.
        arguments: Its arguments: text, numbers, lists, dicts; bytes are sent beside the request, whatever their size. Where
            the tool takes them, handles from `hermes.secret`, also in lists and dicts and joined to text by `+`.
            `timeout` limits the call (120 s without it), and is passed on to tools that have a limit of that name.

    Returns:
        The tool's result as plain data. Where bytes come with it they are in the dict by their names.

    Raises:
        UnknownToolError: There is no such tool.
    """
    __tracebackhide__ = True
    return run(call_operation(name, **arguments))


call.operation = call_operation  # type: ignore[attr-defined]


def _takes_timeout(name: str) -> bool:
    welcome = current().welcome
    described = next((each for each in welcome.tools if each.name == name), None) if welcome else None
    if described is None:
        return name in ("terminal", "process")
    return any(parameter.name == "timeout" for parameter in described.parameters)
