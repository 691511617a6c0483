"""The files that a planned run would have changed: private copies, on which the real tools work.

A file is named by its path from the workspace, whatever links or absolute paths a call named it by: with that name the tools
find the copy, and nothing else. What was touched is read from the copies, and who lists or searches a folder sees them over the
real files (`host_bridge.tools.overlay`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from host_bridge.errors import CallError, NotFoundError
from host_bridge.policy.methods import METHOD_TOOLS
from host_bridge.policy.model import PathResource
from host_bridge.policy.paths import resolve
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.overlay import Overlay
from host_bridge.tools.patch import shown_text
from host_bridge.tools.v4a import with_paths

_PIECE_BYTES = 2**20


class RehearsedFiles:
    """See the module. Thread-safe.

    Args:
        session: The real one.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix="hermes-plan-"))
        self._shadow = _ShadowSession(session, self._folder)
        self._overlay = Overlay(self._folder)
        self._overlay.lay(session)
        self._turn = threading.Lock()

    def close(self) -> None:
        """Forget the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def reading(self, tool: Tool, arguments: Any) -> Call:
        """Prepare a call that reads a file, or looks around in a folder."""
        try:
            call = tool.prepare(arguments, self._session)
            names = _relatives(call)
        except NotFoundError:
            if not self._overlay.touched:
                raise
            call, names = None, self._names(tool, arguments)  # it may be there since an earlier call of this run
            if None in names:
                raise
        if call is not None and not self._overlay.touched.intersection(filter(None, names)):
            return call
        if call is not None:
            call.close()
        return self._on_copies(tool, arguments, names)

    def writing(self, tool: Tool, arguments: Any) -> tuple[Call, list[str]]:
        """Prepare a call that changes files; gives it as it is to be shown and decided about, and the files' names.

        Raises:
            CallError: It can't be made, or not be simulated.
        """
        try:
            call = tool.prepare(arguments, self._session)
        except CallError:
            names = self._names(tool, arguments)
            if not self._overlay.touched.intersection(filter(None, names)):
                raise
            # Whether it can be made is a matter of what earlier calls of this run left.
            self._take(_inside(tool, names))
            call = self._on_copies(tool, arguments, names)
            if tool.name == "patch" and arguments.patch is not None:
                call.shown = {**call.shown, "patch": shown_text(arguments.patch)}  # as it was given, whatever it names
            return call, _inside(tool, names)
        try:
            return call, _inside(tool, _relatives(call))
        except CallError:
            call.close()
            raise

    def write(self, tool: Tool, arguments: Any, names: Sequence[str], context: CallContext) -> ToolOutput:
        """Change the copies."""
        self._take(names)
        call = self._on_copies(tool, arguments, names)
        try:
            return call.run(_ShadowContext(context, self._shadow))
        finally:
            call.close()

    def _on_copies(self, tool: Tool, arguments: Any, names: Sequence[str | None]) -> Call:
        """Prepare a call where the copies are.

        Raises:
            CallError: It would leave that place.
        """
        call = tool.prepare(_named(tool, arguments, _inside(tool, names)), self._shadow)
        for resource in call.resources:
            if not isinstance(resource, PathResource) or f"{resource.path}/".startswith(f"{self._folder}/"):
                continue
            call.close()
            raise _unsimulated(tool)
        return call

    def _names(self, tool: Tool, arguments: Any) -> list[str | None]:
        """Give the files that a call names; None for one outside of the workspace."""
        names: list[str | None] = []
        for path in _paths(tool, arguments):
            with resolve(self._session.workspace, path, must_exist=False) as found:
                names.append(found.relative)
        return names

    def _take(self, names: Sequence[str]) -> None:
        with self._turn:
            for name in names:
                if name not in self._overlay.touched:
                    self._copy(name)
                    self._overlay.add(name)

    def _copy(self, name: str) -> None:
        """Take what a file is now into the private folder, and of its folders those that there are."""
        with resolve(self._session.workspace, _asked(name), must_exist=False) as found:
            target = Path(self._folder, name)
            folders = Path(self._folder, *Path(name).parts[: -1 - len(found.missing_folders)])
            folders.mkdir(parents=True, exist_ok=True)
            if found.status is None:
                return
            status = found.require_file(write=True)
            with os.fdopen(found.open(os.O_RDONLY), "rb") as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, _PIECE_BYTES)
            target.chmod(status.st_mode & 0o777)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


class _ShadowSession:
    """The session, but with the private folder as its workspace."""

    def __init__(self, session: Session, workspace: str) -> None:
        self._session = session
        self.workspace = workspace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class _ShadowContext:
    """A call's context, of which no file is kept."""

    keep_image = None

    def __init__(self, context: CallContext, session: Session) -> None:
        self._context = context
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _relatives(call: Call) -> list[str | None]:
    return [resource.relative for resource in call.resources if isinstance(resource, PathResource)]


def _inside(tool: Tool, names: Sequence[str | None]) -> list[str]:
    if None in names:
        raise CallError(f"{tool.name} outside of the workspace can't be simulated")
    return [name for name in names if name is not None]


def _asked(name: str) -> str:
    """Give the path that means a name: `~` at its beginning would mean something else."""
    return f"./{name}" if name.startswith("~") else name or "."


def _paths(tool: Tool, arguments: Any) -> list[str]:
    paths: list[str] = []
    if tool.name == "patch" and arguments.patch is not None:
        with_paths(arguments.patch, lambda path: paths.append(path) or path)  # type: ignore[func-returns-value]
    elif (path := getattr(arguments, _path_argument(tool))) is not None:
        paths.append(path)
    return paths


def _path_argument(tool: Tool) -> str:
    return "save_to" if tool.name in METHOD_TOOLS else "path"


def _named(tool: Tool, arguments: Any, names: Sequence[str]) -> Any:
    """Give the arguments with the files' own names.

    Raises:
        CallError: The names are not those of the arguments' paths.
    """
    if len(names) != len(_paths(tool, arguments)):
        raise _unsimulated(tool)
    asked = map(_asked, names)
    if tool.name == "patch" and arguments.patch is not None:
        return msgspec.structs.replace(arguments, patch=with_paths(arguments.patch, lambda path: next(asked)))
    return msgspec.structs.replace(arguments, **{_path_argument(tool): next(asked)})


def _unsimulated(tool: Tool) -> CallError:
    return CallError(f"{tool.name} of these paths can't be simulated; the plan has it as an effect")
