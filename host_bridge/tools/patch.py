"""`patch`: change files in place, by exact text (mode `replace`) or by a V4A patch over several files (mode `patch`).

All or nothing: every file is read and every change computed before the first is made, and if one can't be made, those made
before it are taken back. A file that changed between being read and being replaced is left alone, and the call fails.

Nothing but the changed lines is touched: encodings, line endings and a missing last newline stay what they are.

Settings (`[tools.patch]`): `max_file_bytes` (16 MiB), the largest file to change; `durable` (false), as for write_file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, InvalidCallError
from host_bridge.policy.model import Access
from host_bridge.policy.paths import ResolvedPath, is_local, path_error, quoted, resolve
from host_bridge.tools.atomic import Change, Removal, Replacement
from host_bridge.tools.hunks import place_hunks
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.line_edits import Edit, apply_edits, split_lines, unified_diff
from host_bridge.tools.settings import read_settings
from host_bridge.tools.text_replacement import ReplacementError, replace_text
from host_bridge.tools.v4a import FilePatch, PatchError, parse_patch
from host_bridge.tools.versions import file_version

MAX_FILES = 200  # each holds two descriptors from the decision on
MAX_DIFF_CHARACTERS = 200_000  # of a reply whose envelope holds 1 MiB
_MAX_SHOWN_CHARACTERS = 16_384


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tools.patch]`."""

    max_file_bytes: Annotated[int, Meta(ge=1)] = 16 * 2**20
    durable: bool = False


class Patch(Tool):
    """Change files.

    Mode "replace": old_string, which must be in the file exactly once unless replace_all is true, becomes new_string. Mode
    "patch": the text in patch, from "*** Begin Patch" to "*** End Patch", may update, add, delete and move several files.
    """

    name = "patch"
    summary = "Change files: replace a text, or apply a patch."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """As in a cell."""

        mode: Literal["replace", "patch"] = "replace"
        path: str | None = None
        old_string: str | None = None
        new_string: str | None = None
        replace_all: bool = False
        patch: str | None = None

    def __init__(self) -> None:
        # Two changes to the same file must not both start from the same content. They take milliseconds, so one at a time.
        self._turn = threading.Lock()

    def quick_prepare(self, arguments: Any, session: Session) -> bool:
        """Only the workspace is known to be on a local disk, and a patch may name many paths."""
        return (
            arguments.mode == "replace" and not (arguments.path or "/").startswith("/") and is_local(session.workspace)
        )

    def prepare(self, arguments: Any, session: Session) -> Call:
        """Find all the files and hold them."""
        settings = read_settings(session, self.name, Settings)
        with ExitStack() as on_error:
            if arguments.mode == "replace":
                steps = [_replacing(arguments, session.workspace, on_error)]
            else:
                steps = _patching(arguments, session.workspace, on_error)
            _require_different(steps)
            call = _Patching(steps, arguments, settings, self._turn)
            on_error.pop_all()
            return call


@dataclasses.dataclass(slots=True)
class _Step:
    """What is to happen to one file.

    Attributes:
        edits: Computes the changes to its content, and how many texts are replaced.
        content: Of an added file.
    """

    action: str
    target: ResolvedPath
    destination: ResolvedPath | None = None
    edits: Callable[[bytes], tuple[list[Edit], int]] = lambda content: ([], 0)
    content: bytes = b""

    @property
    def paths(self) -> tuple[ResolvedPath, ...]:
        return (self.target,) if self.destination is None else (self.target, self.destination)


@dataclasses.dataclass(slots=True)
class _Planned:
    """A step that is ready: the changes to make, in order, and what to say about them."""

    changes: list[Change]
    report: dict[str, Any]
    diff: list[str]


class _Patching(Call):
    def __init__(
        self, steps: Sequence[_Step], arguments: Patch.Arguments, settings: Settings, turn: threading.Lock
    ) -> None:
        self._steps = steps
        self._settings = settings
        self._turn = turn
        self._diff_room = MAX_DIFF_CHARACTERS
        self.resources = tuple(path.resource(Access.WRITE) for step in steps for path in step.paths)
        self.shown = _shown(steps, arguments)

    def run(self, context: CallContext) -> ToolOutput:
        """Change the files."""
        if not self._turn.acquire(timeout=context.remaining_seconds()):
            context.check()
            raise CallError("another patch is still at work: call again")
        try:
            with ExitStack() as at_end:
                planned = [self._plan(step, context, at_end) for step in self._steps]
                context.check()
                changes = [change for plan in planned for change in plan.changes]
                for change in changes:
                    change.keep_image = context.keep_image
                _commit(changes)
                diff = "\n".join(line for plan in planned for line in plan.diff)
                return ToolOutput({"files": [plan.report for plan in planned], "diff": diff and diff + "\n"})
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let go of the files."""
        for step in self._steps:
            for path in step.paths:
                path.close()

    def _plan(self, step: _Step, context: CallContext, at_end: ExitStack) -> _Planned:
        context.check()
        if step.action == "add":
            lines: list[bytes] = []
            edits = [Edit(0, (), tuple(split_lines(step.content)))] if step.content else []
            replacement = self._replacement(step.target, at_end, version="", create_parents=True)
            replacement.write(step.content)
            return self._planned(step, lines, edits, 0, [replacement])
        content, version, mode = self._read(step.target)
        lines = split_lines(content)
        if step.action == "delete":
            edits = [Edit(0, tuple(lines), ())] if lines else []
            return self._planned(step, lines, edits, 0, [self._removal(step.target, at_end, version)])
        try:
            edits, replacements = step.edits(content)
        except (PatchError, ReplacementError) as error:
            raise CallError(f"{quoted(step.target.asked)}: {error}; nothing was changed") from None
        changes: list[Change] = []
        if step.destination is None:
            replacement = self._replacement(step.target, at_end, version=version)
        else:
            replacement = self._replacement(step.destination, at_end, version="", mode=mode, create_parents=True)
            changes.append(self._removal(step.target, at_end, version))
        replacement.write(apply_edits(lines, edits))
        return self._planned(step, lines, edits, replacements, [replacement, *changes])

    def _replacement(self, target: ResolvedPath, at_end: ExitStack, **options: Any) -> Replacement:
        replacement = Replacement(target, undoable=len(self._steps) > 1, durable=self._settings.durable, **options)
        at_end.enter_context(replacement)
        return replacement

    def _removal(self, target: ResolvedPath, at_end: ExitStack, version: str) -> Removal:
        removal = Removal(target, version=version)
        at_end.enter_context(removal)
        return removal

    def _read(self, target: ResolvedPath) -> tuple[bytes, str, int]:
        descriptor = target.open_current()
        try:
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                status = os.fstat(descriptor)
                content = file.read(self._settings.max_file_bytes + 1) or b""
        except OSError as error:
            raise path_error(error, target.asked) from None
        if len(content) > self._settings.max_file_bytes:
            raise CallError(
                f"{quoted(target.asked)} is larger than {self._settings.max_file_bytes} bytes: change it by a program instead",
                remedy="[tools.patch] max_file_bytes in the host's configuration",
            )
        return content, file_version(status), stat.S_IMODE(status.st_mode)

    def _planned(
        self, step: _Step, lines: Sequence[bytes], edits: list[Edit], replacements: int, changes: list[Change]
    ) -> _Planned:
        name = step.target.kernel_name
        moved = None if step.destination is None else step.destination.kernel_name
        report = {
            "path": name,
            "action": "move" if moved else step.action,
            "added_lines": sum(len(edit.added) for edit in edits),
            "removed_lines": sum(len(edit.removed) for edit in edits),
            "replacements": replacements,
        }
        if moved:
            report["moved_to"] = moved
        return _Planned(changes, report, self._diff(step, lines, edits))

    def _diff(self, step: _Step, lines: Sequence[bytes], edits: list[Edit]) -> list[str]:
        name = step.target.kernel_name
        new_name = name if step.destination is None else step.destination.kernel_name
        shown: list[str] = []
        for line in unified_diff(
            None if step.action == "add" else name, None if step.action == "delete" else new_name, lines, edits
        ):
            self._diff_room -= len(line) + 1
            if self._diff_room < 0:
                return [*shown, "… the diff is too long to be shown whole; the files were changed as asked"]
            shown.append(line)
        return shown


def _replacing(arguments: Patch.Arguments, workspace: str, on_error: ExitStack) -> _Step:
    path, old, new = arguments.path, arguments.old_string, arguments.new_string
    if path is None or old is None or new is None:
        raise InvalidCallError("mode='replace' needs path, old_string and new_string")
    if arguments.patch is not None:
        raise InvalidCallError("patch is for mode='patch': leave it out, or set the mode")
    if not old:
        raise InvalidCallError("old_string is empty: write_file creates a file, or give the text to replace")
    if old == new:
        raise InvalidCallError("old_string and new_string are the same: there is nothing to change")
    old_bytes, new_bytes = _encoded(old, "old_string"), _encoded(new, "new_string")
    target = _existing(workspace, path, on_error)
    return _Step(
        "update",
        target,
        edits=lambda content: replace_text(content, old_bytes, new_bytes, every=arguments.replace_all),
    )


def _patching(arguments: Patch.Arguments, workspace: str, on_error: ExitStack) -> list[_Step]:
    if arguments.patch is None:
        raise InvalidCallError("mode='patch' needs patch: the text from '*** Begin Patch' to '*** End Patch'")
    if (arguments.path, arguments.old_string, arguments.new_string) != (None, None, None) or arguments.replace_all:
        raise InvalidCallError("mode='patch' takes nothing but patch, which names the files itself")
    _encoded(arguments.patch, "patch")
    try:
        files = parse_patch(arguments.patch)
    except PatchError as error:
        raise InvalidCallError(str(error)) from None
    if len(files) > MAX_FILES:
        raise InvalidCallError(f"the patch changes {len(files)} files, {MAX_FILES} at once is the most: make several")
    return [_step(file, workspace, on_error) for file in files]


def _step(file: FilePatch, workspace: str, on_error: ExitStack) -> _Step:
    if file.action == "add":
        return _Step("add", _absent(workspace, file.path, on_error), content=file.content.encode())
    target = _existing(workspace, file.path, on_error)
    if file.action == "delete":
        return _Step("delete", target)
    destination = None if file.move_to is None else _absent(workspace, file.move_to, on_error)
    return _Step("update", target, destination, edits=lambda content: (place_hunks(file.hunks, content), 0))


def _existing(workspace: str, path: str, on_error: ExitStack) -> ResolvedPath:
    resolved = on_error.enter_context(resolve(workspace, path, must_exist=False))
    if resolved.relative is not None:  # outside, nothing is said before the decision
        resolved.require_file(write=True)
    return resolved


def _absent(workspace: str, path: str, on_error: ExitStack) -> ResolvedPath:
    resolved = on_error.enter_context(resolve(workspace, path, must_exist=False))
    if resolved.relative is not None and resolved.status is not None:
        raise CallError(f"{quoted(path)} exists: update it, or name another file; nothing was changed")
    return resolved


def _require_different(steps: Sequence[_Step]) -> None:
    seen: set[str] = set()
    for path in (path for step in steps for path in step.paths):
        if path.path in seen:
            raise InvalidCallError(f"{quoted(path.asked)} is named twice: put all that happens to a file in one place")
        seen.add(path.path)


def _commit(changes: Sequence[Change]) -> None:
    made: list[Change] = []
    for change in changes:
        try:
            change.commit()
        except BaseException:
            _undo(made)
            raise
        made.append(change)


def _undo(made: Sequence[Change]) -> None:
    failed = []
    for change in reversed(made):
        try:
            change.undo()
        except OSError:
            failed.append(quoted(change.asked))
    if failed:
        raise CallError(f"the patch failed halfway, and {', '.join(failed)} could not be restored: look at them")


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidCallError(f"{name} holds half of a surrogate pair, which no file can") from None


def _shown(steps: Sequence[_Step], arguments: Patch.Arguments) -> dict[str, Any]:
    if arguments.mode == "replace":
        return {
            "mode": "replace",
            "path": steps[0].target.canonical,
            "old_string": shown_text(arguments.old_string or ""),
            "new_string": shown_text(arguments.new_string or ""),
            "replace_all": arguments.replace_all,
        }
    files = [{"action": step.action, "paths": [path.canonical for path in step.paths]} for step in steps]
    return {"mode": "patch", "files": files, "patch": shown_text(arguments.patch or "")}


def shown_text(text: str) -> Any:
    """Give a text as it is shown: whole, or by its digest where it is long."""
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return text
    content = text.encode()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
