"""`list_files`: what is in a folder, and on request in the folders beneath it.

Links are shown and not followed. Names come sorted, a folder before what is in it. When a limit, or the size of a reply, cuts
the list short, it says so; so it does when a folder could not be entered.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from host_bridge.errors import InvalidCallError
from host_bridge.policy.model import Access
from host_bridge.policy.paths import ResolvedPath, is_local, path_error, resolve
from host_bridge.tools.globs import Glob, GlobError
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.overlay import layer_over
from host_bridge.tools.reach import Reach
from host_bridge.tools.tree import Entry, Tree

MAX_RESULT_BYTES = 700_000  # a reply's envelope holds 1 MiB
_ENTRY_BYTES = 64  # of an entry in a reply, besides its path
_CHECK_EVERY = 256


class ListFiles(Tool):
    """List a folder.

    With a pattern only entries that fit are given: without a slash it is about names, with one about paths from the folder.
    Names that begin with a dot are left out unless hidden is true or the pattern names them.
    """

    name = "list_files"
    summary = "List what is in a folder."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """As in a cell."""

        path: str = "."
        pattern: str | None = None
        recursive: bool = False
        hidden: bool = False
        limit: Annotated[int, Meta(ge=1, le=100_000)] = 1000

    def quick_prepare(self, arguments: Any, session: Session) -> bool:
        """Only the workspace is known to be on a local disk, and a pattern takes a while to read."""
        return arguments.pattern is None and not arguments.path.startswith("/") and is_local(session.workspace)

    def prepare(self, arguments: Any, session: Session) -> Call:
        """Find the folder and hold it."""
        try:
            glob = None if arguments.pattern is None else Glob(arguments.pattern)
        except GlobError as error:
            raise InvalidCallError(f"pattern: {error}") from None
        return _Listing(resolve(session.workspace, arguments.path), glob, arguments)


class _Listing(Call):
    def __init__(self, resolved: ResolvedPath, glob: Glob | None, arguments: ListFiles.Arguments) -> None:
        self._resolved = resolved
        self._glob = glob
        self._recursive = arguments.recursive
        self._hidden = arguments.hidden or (glob is not None and glob.wants_hidden)
        self._limit = arguments.limit
        self.resources = (resolved.resource(Access.READ),)
        self.shown = {
            "path": resolved.canonical,
            "pattern": arguments.pattern,
            "recursive": arguments.recursive,
            "hidden": arguments.hidden,
            "limit": arguments.limit,
        }

    def run(self, context: CallContext) -> ToolOutput:
        """List it."""
        folder = self._resolved.open_folder()
        try:
            layer = layer_over(context.session, self._resolved.relative)
            tree = Tree(folder, hidden=self._hidden, check=context.check, layer=layer)
            reach = Reach(context, self._resolved)
            entries, is_full = self._collect(tree, reach, context)
        except OSError as error:
            raise path_error(error, self._resolved.asked) from None
        finally:
            os.close(folder)
        return ToolOutput({"entries": entries, "truncated": is_full or tree.is_cut})

    def close(self) -> None:
        """Let go of the folder."""
        self._resolved.close()

    def _collect(self, tree: Tree, reach: Reach, context: CallContext) -> tuple[list[dict[str, Any]], bool]:
        name = self._resolved.kernel_name
        prefix = "" if name == "." else name.rstrip("/") + "/"
        entries: list[dict[str, Any]] = []
        room = MAX_RESULT_BYTES
        for number, entry in enumerate(self._fitting(tree, reach)):
            if number % _CHECK_EVERY == 0:
                context.check()
            described = _described(entry, prefix)
            if described is None:
                continue
            room -= len(described["path"].encode()) + _ENTRY_BYTES
            if len(entries) == self._limit or room < 0:
                return entries, True
            entries.append(described)
        return entries, False

    def _fitting(self, tree: Tree, reach: Reach) -> Iterator[Entry]:
        def enters(entry: Entry) -> bool:
            return self._recursive and reach.covers(entry.path)

        for entry in tree.entries(enters):
            if self._glob is None or self._glob.matches(entry.path):
                yield entry


def _described(entry: Entry, prefix: str) -> dict[str, Any] | None:
    try:
        status = entry.status()
    except OSError:
        return None  # removed since it was listed
    return {
        "path": prefix + entry.path,
        "type": _kind(status.st_mode),
        "size_bytes": status.st_size,
        "modified": status.st_mtime,
    }


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"
