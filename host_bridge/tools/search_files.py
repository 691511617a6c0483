"""`search_files`: which lines, or which names, beneath a folder match.

Lines are matched by Python's `re`, each on its own and without its ending; names by a glob. Left out are names that begin
with a dot (unless the glob names them, or the folder that is searched is one), what a `.gitignore` leaves out, binary files
(a NUL near the start), and links. `path` may also be one file, which is then searched whatever its name.

`total` counts all there is: matching lines for the mode `content`, files otherwise; `offset` and `limit` choose from that.
`truncated` says that there is more than was given, or that the search ended before the end: for its time, or the reply's
size. `skipped_files` counts files that were too large or could not be read.

The work is done by a process of its own, see `search_worker`.

Settings (`[tools.search_files]`): `max_file_bytes` (32 MiB), the largest file to look into; `gitignore` (true), whether such
files are heeded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access
from host_bridge.policy.paths import ResolvedPath, quoted, resolve
from host_bridge.tools.children import Child, Children
from host_bridge.tools.gitignore import FILE_NAME, read_rules
from host_bridge.tools.globs import Glob, GlobError
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.launching import Launch
from host_bridge.tools.list_files import MAX_RESULT_BYTES
from host_bridge.tools.overlay import Overlay, layer_over
from host_bridge.tools.reach import Reach
from host_bridge.tools.search_worker import Request
from host_bridge.tools.settings import read_settings

MAX_PATTERN_CHARACTERS = 4096
_SHARE_OF_TIME = 0.9  # of what the call has: the search ends then with what it has, instead of being ended with nothing
_WORKER = (sys.executable, "-I", "-m", "host_bridge.tools.search_worker")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tools.search_files]`."""

    max_file_bytes: Annotated[int, Meta(ge=1)] = 32 * 2**20
    gitignore: bool = True


class SearchFiles(Tool):
    """Search file contents by a regular expression (target "content"), or file names by a glob (target "files").

    output_mode is "content" for lines with context lines around them, "files_only" for paths, "count" for numbers by path.
    """

    name = "search_files"
    summary = "Search files by content or by name."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """As in a cell."""

        pattern: Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]
        target: Literal["content", "files"] = "content"
        path: str = "."
        file_glob: str | None = None
        limit: Annotated[int, Meta(ge=1, le=100_000)] = 50
        offset: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
        output_mode: Literal["content", "files_only", "count"] = "content"
        context: Annotated[int, Meta(ge=0, le=100)] = 0

    def prepare(self, arguments: Any, session: Session) -> Call:
        """Find the folder and hold it."""
        globs = {
            "file_glob": arguments.file_glob,
            "pattern": arguments.pattern if arguments.target == "files" else None,
        }
        for name, glob in globs.items():
            try:
                if glob is not None:
                    Glob(glob)
            except GlobError as error:
                raise InvalidCallError(f"{name}: {error}") from None
        settings = read_settings(session, self.name, Settings)
        return _Searching(resolve(session.workspace, arguments.path), arguments, settings)


class _Searching(Call):
    def __init__(self, resolved: ResolvedPath, arguments: SearchFiles.Arguments, settings: Settings) -> None:
        self._resolved = resolved
        self._arguments = arguments
        self._settings = settings
        self.resources = (resolved.resource(Access.READ),)
        self.shown = {**msgspec.structs.asdict(arguments), "path": resolved.canonical}

    def run(self, context: CallContext) -> ToolOutput:
        """Search."""
        workspace = context.session.workspace
        with contextlib.ExitStack() as at_end:
            root, only = self._resolved, ""
            if root.status is not None and stat.S_ISREG(root.status.st_mode):
                only = root.name
                root = at_end.enter_context(_folder_of(root, workspace))
            folder = root.open_folder()
            at_end.callback(os.close, folder)
            request = self._request(root, only, context)
            launch = Launch(argv=_WORKER, executable=_WORKER[0], folder=root.path, descriptor=folder, input="pipe")
            try:
                child = Children.of(context.session).start(launch)
            except OSError as error:
                raise CallError(f"the search could not be started: {error.strerror}; call again") from None
            at_end.callback(child.close)
            context.on_end(child.end)
            # A single file has been decided about itself; what is in a folder is asked about file by file.
            covers = (lambda path: True) if only else Reach(context, root).covers
            return ToolOutput(_Conversation(child, covers, context).hold(request))

    def close(self) -> None:
        """Let go of the folder."""
        self._resolved.close()

    def _request(self, root: ResolvedPath, only: str, context: CallContext) -> Request:
        arguments = self._arguments
        layer = None if only else layer_over(context.session, root.relative)
        return Request(
            pattern=arguments.pattern,
            target=arguments.target,
            output_mode=arguments.output_mode,
            file_glob=arguments.file_glob,
            only=only,
            prefix=_prefix(self._resolved.kernel_name, only),
            limit=arguments.limit,
            offset=arguments.offset,
            context=arguments.context,
            gitignore=self._settings.gitignore,
            above=_rules_above(root, context.session) if self._settings.gitignore and not only else [],
            layer="" if layer is None else layer.folder,
            touched=[] if layer is None else sorted(layer.touched),
            max_file_bytes=self._settings.max_file_bytes,
            max_result_bytes=MAX_RESULT_BYTES,
            seconds=context.remaining_seconds() * _SHARE_OF_TIME,
        )


class _Conversation:
    """With the worker: the request, its questions, its result."""

    def __init__(self, child: Child, covers: Callable[[str], bool], context: CallContext) -> None:
        self._child = child
        self._covers = covers
        self._context = context
        self._value: dict[str, Any] | None = None
        self._errors = b""

    def hold(self, request: Request) -> dict[str, Any]:
        """Give the result.

        Raises:
            CallError: There is none.
        """
        if self._child.input is not None:
            os.set_blocking(self._child.input, True)  # the request may be larger than a pipe; the worker reads it first
        self._tell(json.dumps(dataclasses.asdict(request)))
        line = b""
        for stream, data in self._child.output():
            if stream == "stderr":
                self._errors = (self._errors + data)[-8192:]
                continue
            *complete, line = (line + data).split(b"\n")
            for message in complete:
                self._take(json.loads(message))
        self._context.check()
        if self._value is None:
            if self._errors:
                print(self._errors.decode(errors="replace"), file=sys.stderr, flush=True)  # the host's log
            raise CallError("the search ended without a result: narrow the path or simplify the pattern")
        return self._value

    def _take(self, message: dict[str, Any]) -> None:
        if "ask" in message:
            self._tell("".join("1" if self._covers(path) else "0" for path in message["ask"]))
        elif "invalid" in message:
            raise InvalidCallError(f"pattern: {message['invalid']}; it is a regular expression as Python's re reads it")
        else:
            self._value = message["result"]

    def _tell(self, line: str) -> None:
        if self._child.input is None:
            return
        rest = line.encode() + b"\n"
        # A worker that was ended no longer listens; `hold` finds out why.
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(self._child.input, rest) :]


def _folder_of(file: ResolvedPath, workspace: str) -> ResolvedPath:
    path = file.path.rpartition("/")[0] or "/"
    folder = resolve(workspace, path)
    try:
        now = os.stat(file.name, dir_fd=folder.descriptor, follow_symlinks=False)
    except OSError:
        now = None
    if now is None or file.status is None or not os.path.samestat(now, file.status):
        folder.close()
        raise CallError(f"{quoted(file.asked)} was moved while the call was decided about: call again")
    return folder


def _prefix(name: str, only: str) -> str:
    """What goes before a path from the searched folder, to give one the kernel can use."""
    if only:
        return name.removesuffix(only)
    return "" if name == "." else name.rstrip("/") + "/"


def _rules_above(root: ResolvedPath, session: Session) -> list[tuple[str, str]]:
    """The rules of the folders between the workspace and the root, outermost first."""
    if not root.relative:
        return []
    names = root.relative.split("/")
    rules = []
    for depth in range(len(names)):
        if text := _rules_in("/".join(names[:depth]), session):
            rules.append(("/".join(names[depth:]), text))
    return rules


def _rules_in(path: str, session: Session) -> str:
    overlay = Overlay.of(session)
    layer = None if overlay is None else overlay.layer(path)
    if layer is not None and (above := layer.folder_of(FILE_NAME)) is not None:
        try:
            return read_rules(above)
        finally:
            os.close(above)
    try:
        with resolve(session.workspace, path or ".") as folder:
            return "" if folder.descriptor is None else read_rules(folder.descriptor)
    except NotFoundError:
        if layer is None:
            raise
        return ""  # it was made by a call that was simulated
