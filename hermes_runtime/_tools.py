"""The tools, as a notebook calls them: names, parameters and defaults are those of Hermes Agent's tools.

Each function below says what to ask and gives an operation; `tool` makes of it the blocking function that `hermes` exports,
and `aio` the asynchronous one, so what a tool is stands here once.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

import msgspec

from hermes_protocol.frames import Frame
from hermes_protocol.messages import StatusReply, ToolDescription, Welcome
from hermes_runtime import _commands, _results
from hermes_runtime._calls import (
    Operation,
    StatusOperation,
    check_seconds,
    check_tool_name,
    split_arguments,
    to_plain,
    view_bytes,
)
from hermes_runtime._client import current, run
from hermes_runtime._commands import DEFAULT_SECONDS, CommandOperation, Process, StartOperation, TerminalResult
from hermes_runtime._errors import InvalidToolRequestError, ToolFailedError
from hermes_runtime._files import TRANSFER_SECONDS, WINDOW_BYTES, FileFacts, ReadOperation, plain_path
from hermes_runtime._results import (
    Budget,
    BudgetItem,
    Document,
    Documents,
    FileEntry,
    FileList,
    FileSearch,
    Match,
    PatchedFile,
    PatchResult,
    SearchResult,
    SearchResults,
    Status,
    ToolInfo,
    ToolList,
    WriteResult,
    convert,
)

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

SECONDS = 120.0  # for what is neither a command nor a transfer
STATUS_SECONDS = 30.0

Path = str | os.PathLike[str]
Content = str | bytes | bytearray | memoryview


class BlockingTool(Protocol[P, R_co]):
    """A tool as a function; `operation` gives what it would ask."""

    __name__: str

    def operation(self, *args: P.args, **kwargs: P.kwargs) -> Operation[R_co]:
        """Give the operation without doing it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Do it and wait for the result."""


def tool(build: Callable[P, Operation[R]]) -> BlockingTool[P, R]:
    """Make the blocking function of what builds an operation."""

    @functools.wraps(build)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        return run(build(*args, **kwargs))

    show_result(call, build)
    call.operation = build  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def show_result(function: Any, build: Callable[..., Any]) -> None:
    """Let help and completion show what a function gives, where its builder gives the operation for it."""
    signature = inspect.signature(build)
    result = str(signature.return_annotation).removeprefix("Operation[").removesuffix("]")
    parameters = [each.replace(annotation=Spelling(each.annotation)) for each in signature.parameters.values()]
    function.__signature__ = inspect.Signature(parameters, return_annotation=Spelling(result))
    function.__annotations__ = {**build.__annotations__, "return": result}


class Spelling(str):
    """Text that shows as it is, without quotes: an annotation or a default in a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ValueOperation(Operation[R]):
    """A call whose result is plain data and some bulk, made into a value by a function."""

    __slots__ = ("_make",)

    def __init__(
        self,
        tool: str,
        arguments: dict[str, Any],
        seconds: float,
        make: Callable[[Any, Mapping[str, Frame]], R],
        contents: Mapping[str, memoryview] | None = None,
    ) -> None:
        super().__init__(tool, arguments, seconds, contents=contents)
        self._make = make

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> R:
        """Make the value."""
        return self._make(result, bulk)


# commands --------------------------------------------------------------------------------------------------------------


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
            command, background, timeout, workdir, pty, notify_on_complete, watch_patterns, stream=stream
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
    stream: bool = True,
) -> Operation[Any]:
    """Give what `terminal` asks."""
    seconds = check_seconds(timeout)
    if not isinstance(command, str):
        raise InvalidToolRequestError(f"the command must be text, as a shell reads it, not {type(command).__name__}")
    arguments: dict[str, Any] = {"command": command, "timeout": seconds}
    if workdir is not None:
        arguments["workdir"] = plain_path(workdir)
    if pty:
        arguments["pty"] = True
    if not background:
        return CommandOperation(arguments, seconds, stream=stream)
    arguments["background"] = True
    if notify_on_complete:
        arguments["notify_on_complete"] = True
    if watch_patterns:
        arguments["watch_patterns"] = to_plain(list(watch_patterns), "watch_patterns")
    return StartOperation("terminal", arguments, SECONDS)


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
    return _commands.process_operation(action, session_id, data, timeout, offset, limit)


# files -----------------------------------------------------------------------------------------------------------------


@tool
def read_file(
    path: Path,
    offset: int = 1,
    limit: int | None = None,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    timeout: float = TRANSFER_SECONDS,
) -> Operation[str]:
    """Read a file's text, exactly as it is on disk.

    Args:
        path: The file; relative paths start from the workspace.
        offset: The first line to read, counted from 1.
        limit: How many lines; all by default.
        encoding: How the text is encoded; `errors` says what to do with bytes that aren't, as in the built-in `open`.
        timeout: Seconds it may take.

    Raises:
        ToolNotFoundError: It doesn't exist (a `FileNotFoundError`).
        UnicodeDecodeError: It isn't text in that encoding; `read_bytes` reads anything.
    """

    def decode(content: Any, _facts: FileFacts) -> str:
        return str(content, encoding, errors) if len(content) else ""

    return ReadOperation(plain_path(path), "lines", offset, limit, None, check_seconds(timeout), decode)


@tool
def read_bytes(
    path: Path, offset: int = 0, limit: int | None = None, *, timeout: float = TRANSFER_SECONDS
) -> Operation[bytes]:
    """Read a file's bytes, all of them or `limit` from byte `offset` on.

    Raises:
        ToolNotFoundError: It doesn't exist (a `FileNotFoundError`).
    """

    def give(content: Any, _facts: FileFacts) -> bytes:
        return bytes(content)  # a copy only of what came in the reply itself: bytes() gives bytes back as they are

    return ReadOperation(plain_path(path), "bytes", offset, limit, None, check_seconds(timeout), give)


@tool
def write_file(
    path: Path,
    content: Content,
    create_parents: bool = True,
    *,
    encoding: str = "utf-8",
    timeout: float = TRANSFER_SECONDS,
) -> Operation[WriteResult]:
    """Write a file whole, or not at all: nobody sees it half written.

    Args:
        path: The file; relative paths start from the workspace.
        content: Text, or bytes of any size.
        create_parents: Whether to make folders that are missing.
        encoding: How to encode text.
        timeout: Seconds it may take.
    """
    if isinstance(content, str):
        view = memoryview(content.encode(encoding))
    elif isinstance(content, bytes | bytearray | memoryview):
        view = view_bytes(content)
    else:
        raise InvalidToolRequestError(f"the content must be text or bytes, not {type(content).__name__}")
    plain = plain_path(path)

    def make(result: Any, _bulk: Mapping[str, Frame]) -> WriteResult:
        return convert({"path": plain, **_mapping(result, "write_file")}, WriteResult, "write_file")

    arguments: dict[str, Any] = {"path": plain}
    if not create_parents:
        arguments["create_parents"] = False
    return ValueOperation("write_file", arguments, check_seconds(timeout), make, {"content": view})


@tool
def patch(
    path: Path | None = None,
    old_string: str | None = None,
    new_string: str | None = None,
    replace_all: bool = False,
    *,
    mode: Literal["replace", "patch"] = "replace",
    patch: str | None = None,
    timeout: float = SECONDS,
) -> Operation[PatchResult]:
    """Change files: replace a text in one, or apply a patch to several.

    Args:
        path: The file, for mode `"replace"`.
        old_string: What to replace; it must stand there exactly once, unless `replace_all`.
        new_string: What to put in its place.
        replace_all: Replace it wherever it stands.
        mode: `"replace"`, or `"patch"` to apply `patch`.
        patch: A patch in the V4A format (`*** Begin Patch` …).
        timeout: Seconds it may take.
    """
    given: dict[str, Any] = {
        "path": None if path is None else plain_path(path),
        "old_string": old_string,
        "new_string": new_string,
    }
    arguments: dict[str, Any] = {name: value for name, value in {**given, "patch": patch}.items() if value is not None}
    arguments |= {"mode": mode, "replace_all": replace_all}

    def make(result: Any, _bulk: Mapping[str, Frame]) -> PatchResult:
        fields = _mapping(result, "patch")
        return PatchResult(
            convert(fields.get("files", []), list[PatchedFile], "patch"), diff=str(fields.get("diff", ""))
        )

    return ValueOperation("patch", arguments, check_seconds(timeout), make)


@tool
def list_files(
    path: Path = ".",
    pattern: str | None = None,
    recursive: bool = False,
    hidden: bool = False,
    limit: int = 1000,
    *,
    timeout: float = SECONDS,
) -> Operation[FileList]:
    """List a folder.

    Args:
        path: The folder; the workspace by default.
        pattern: Only names that match, such as `"*.py"`.
        recursive: Whether to go into folders.
        hidden: Whether to list names that begin with a dot.
        limit: How many entries at most; `.truncated` says whether there were more.
        timeout: Seconds it may take.
    """
    arguments = {"path": plain_path(path), "recursive": recursive, "hidden": hidden, "limit": limit, "pattern": pattern}

    def make(result: Any, _bulk: Mapping[str, Frame]) -> FileList:
        fields = _mapping(result, "list_files")
        entries = convert(fields.get("entries", []), list[FileEntry], "list_files")
        return FileList(entries, truncated=bool(fields.get("truncated")))

    return ValueOperation("list_files", arguments, check_seconds(timeout), make)


class _Found(_results.Record, frozen=True):
    matches: tuple[Match, ...] = ()
    files: tuple[str, ...] = ()
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    total: int = 0
    truncated: bool = False


@tool
def search_files(
    pattern: str,
    target: Literal["content", "files"] = "content",
    path: Path = ".",
    file_glob: str | None = None,
    limit: int = 50,
    offset: int = 0,
    output_mode: Literal["content", "files_only", "count"] = "content",
    context: int = 0,
    *,
    timeout: float = SECONDS,
) -> Operation[FileSearch]:
    """Search files by content or by name.

    Args:
        pattern: A regular expression for content; a glob for names.
        target: `"content"`, or `"files"` for names.
        path: Where to search; the workspace by default.
        file_glob: Only in files whose names match, such as `"*.py"`.
        limit: How many results at most; `.truncated` says whether there were more.
        offset: How many results to skip.
        output_mode: Matching lines, only the files they are in, or how many in each.
        context: How many lines around each match.
        timeout: Seconds it may take.
    """
    arguments = {
        "pattern": pattern,
        "target": target,
        "path": plain_path(path),
        "file_glob": file_glob,
        "limit": limit,
        "offset": offset,
        "output_mode": output_mode,
        "context": context,
    }

    def make(result: Any, _bulk: Mapping[str, Frame]) -> FileSearch:
        found = convert(result, _Found, "search_files")
        return FileSearch(
            matches=found.matches,
            files=found.files,
            counts=found.counts,
            total=found.total,
            truncated=found.truncated,
        )

    return ValueOperation("search_files", arguments, check_seconds(timeout), make)


# web -------------------------------------------------------------------------------------------------------------------


@tool
def web_search(query: str, limit: int = 5, *, timeout: float = SECONDS) -> Operation[SearchResults]:
    """Search the web.

    Args:
        query: What to search for.
        limit: How many results at most.
        timeout: Seconds it may take.

    Raises:
        ToolNotConfiguredError: The host has no search provider; the text says how to configure one.
    """

    def make(result: Any, _bulk: Mapping[str, Frame]) -> SearchResults:
        fields = _mapping(result, "web_search")
        items = convert(fields.get("results", []), list[SearchResult], "web_search")
        return SearchResults(items, query=query, provider=str(fields.get("provider", "")))

    return ValueOperation("web_search", {"query": query, "limit": limit}, check_seconds(timeout), make)


@tool
def web_extract(
    urls: str | Sequence[str], char_limit: int | None = None, *, timeout: float = SECONDS
) -> Operation[Documents]:
    """Read web pages as Markdown.

    Args:
        urls: One address, or up to five.
        char_limit: How many characters of each to give at most.
        timeout: Seconds it may take.

    Returns:
        A document for each address, in order. One that could not be read says why in its `.error`.
    """
    wanted = [urls] if isinstance(urls, str) else to_plain(list(urls), "urls")

    def make(result: Any, bulk: Mapping[str, Frame]) -> Documents:
        documents = _mapping(result, "web_extract").get("documents", [])
        texts = [{"markdown": str(bulk.get(f"markdown_{n}", b""), "utf-8", "replace")} for n in range(len(documents))]
        filled = [{**text, **_mapping(each, "web_extract")} for each, text in zip(documents, texts, strict=True)]
        return Documents(convert(filled, list[Document], "web_extract"))

    return ValueOperation("web_extract", {"urls": wanted, "char_limit": char_limit}, check_seconds(timeout), make)


# any tool, and the session ---------------------------------------------------------------------------------------------


class AnyOperation(Operation[Any]):
    """A call of a tool this package knows nothing about: plain data in and out, and whatever bytes come with it."""

    __slots__ = ("_streams",)

    def __init__(
        self, tool: str, arguments: dict[str, Any], seconds: float, contents: Mapping[str, memoryview] | None
    ) -> None:
        super().__init__(tool, arguments, seconds, contents=contents, window_bytes=WINDOW_BYTES)
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
            seconds += _commands.SETTLE_SECONDS
        else:
            del arguments["timeout"]
    elif tool_name == "terminal":
        seconds = DEFAULT_SECONDS + _commands.SETTLE_SECONDS
    plain, contents = split_arguments(arguments)
    return AnyOperation(tool_name, plain, seconds, contents)


def call(name: str, /, **arguments: Any) -> Any:
    """Call any tool by its name, also one that is no function of this module.

    Args:
        name: The tool; `hermes.tools()` lists what there is.
        arguments: Its arguments: text, numbers, lists, dicts; bytes are sent beside the request, whatever their size.
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


@tool
def tools(*, timeout: float = STATUS_SECONDS) -> Operation[ToolList]:
    """List the tools the host has. Being listed doesn't mean being allowed."""

    def make(welcome: Welcome, _reply: StatusReply) -> ToolList:
        return ToolList(ToolInfo(each.name, _signature(each), each.summary) for each in welcome.tools)

    return StatusOperation(check_seconds(timeout), make)


@tool
def budget(*, timeout: float = STATUS_SECONDS) -> Operation[Budget]:
    """Show what this session has used, and what it may use."""

    def make(_welcome: Welcome, reply: StatusReply) -> Budget:
        return Budget(BudgetItem(each.name, each.used, each.limit) for each in reply.budgets)

    return StatusOperation(check_seconds(timeout), make)


@tool
def status(*, timeout: float = STATUS_SECONDS) -> Operation[Status]:
    """Show what this session is: for whom, under which policy, where."""

    def make(welcome: Welcome, reply: StatusReply) -> Status:
        return Status(
            session_id=welcome.session_id,
            principal=welcome.principal,
            profile=welcome.profile,
            workspace=welcome.workspace,
            confinement=welcome.confinement,
            open_calls=reply.open_calls,
            tools=len(welcome.tools),
        )

    return StatusOperation(check_seconds(timeout), make)


def _signature(described: ToolDescription) -> str:
    parameters = []
    for each in described.parameters:
        default = "" if each.required else f" = {each.default or '…'}"
        parameters.append(f"{each.name}: {each.type}{default}")
    return f"({', '.join(parameters)})"


def _mapping(result: Any, name: str) -> dict[str, Any]:
    if isinstance(result, dict):
        return result
    raise ToolFailedError(f"{name}: the host's answer can't be read; host and notebook should use the same release")
