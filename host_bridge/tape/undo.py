"""Takes back what a run did to files by `write_file`, `patch` and saved answers, where a file still is as the run left it.

Paths are followed as the tools follow them: through descriptors, without links, and never to what no policy gives away.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator

from host_bridge.errors import CallError, TapeError
from host_bridge.policy.loading import Policy, load_policy
from host_bridge.policy.model import Access
from host_bridge.policy.paths import ResolvedPath, resolve
from host_bridge.tape.images import look_at
from host_bridge.tape.reader import ImageRow, TapeReader
from host_bridge.tape.recorder import Image
from host_bridge.tools.atomic import Removal, Replacement
from host_bridge.tools.versions import file_version

MAX_DIFF_LINES = 200

RESTORED, REMOVED, UNCHANGED, REFUSED = "restored", "removed", "unchanged", "refused"


@dataclasses.dataclass(frozen=True, slots=True)
class Undone:
    """What became of one file.

    Attributes:
        outcome: `restored`, `removed` (the run had made it), `unchanged` (it is as it was already), or `refused`.
        reason: Why it was refused.
        diff: What the file is now against what the run left, where that is why.
    """

    path: str
    outcome: str
    reason: str = ""
    diff: str = ""


class Undo:
    """One run's changes, to be taken back.

    Args:
        tape: The run's.
        cell: Only what this cell did; None for all.

    Raises:
        TapeError: The tape says not where the run worked.
    """

    def __init__(self, tape: TapeReader, cell: int | None = None) -> None:
        workspace = tape.facts().get("workspace")
        if not isinstance(workspace, str) or not workspace:
            raise TapeError(
                f"the tape {tape.path} doesn't say in which folder its run worked, so nothing can be undone"
            )
        self._tape = tape
        self._workspace = os.path.realpath(workspace)
        self._policy: Policy = load_policy(profile="full", workspace=self._workspace)
        calls = {call.row.seq: call.row for call in tape.calls()}
        self._changes: dict[str, tuple[ImageRow, ImageRow | None]] = {}
        for image in tape.images():
            call = calls.get(image.call)
            if call is None or (cell is not None and call.cell_index != cell):
                continue
            first, last = self._changes.get(image.path, (image, None))
            self._changes[image.path] = (first, image if image.event == "after" else last)

    def run(self, *, dry: bool = False) -> Iterator[Undone]:
        """Take the changes back, one file after the other.

        Args:
            dry: Say what would be done, and do nothing.
        """
        for path, (before, after) in sorted(self._changes.items()):
            try:
                with resolve(self._workspace, path, must_exist=False) as target:
                    yield self._undo(target, before, after, dry=dry)
            except (CallError, TapeError, OSError) as error:
                yield Undone(path, REFUSED, str(error))

    def _undo(self, target: ResolvedPath, before: ImageRow, after: ImageRow | None, *, dry: bool) -> Undone:
        path = target.canonical
        objection = self._policy.floor.objects_to(target.resource(Access.WRITE))
        if objection is not None:
            return Undone(path, REFUSED, f"no tool may write it: {objection.reason}")
        if target.path != before.path:
            return Undone(path, REFUSED, f"its path leads elsewhere by now: {target.path}")
        if target.missing_folders:
            now = Image(path, existed=False)
        elif target.parent_descriptor is None:
            return Undone(path, REFUSED, "it is a folder by now")
        else:
            now = look_at(target.path, target.parent_descriptor, target.name)
        if before.is_same(now):
            return Undone(path, UNCHANGED)
        if after is None or not after.is_same(now):
            return Undone(path, REFUSED, "it was changed since", self._difference(after, now))
        if before.existed and not before.kept:
            return Undone(path, REFUSED, "what it was is not on the tape: it was too large, or held a secret")
        if not dry:
            self._restore(target, before)
        return Undone(path, RESTORED if before.existed else REMOVED)

    def _restore(self, target: ResolvedPath, before: ImageRow) -> None:
        version = "" if target.status is None else file_version(target.status)
        if not before.existed:
            with Removal(target, version=version) as removal:
                removal.commit()
            return
        content = self._tape.blob(before.digest)
        with Replacement(
            target, create_parents=True, version=version, mode=before.mode, keeps_mode=False
        ) as replacement:
            replacement.write(content)
            replacement.commit()

    def _difference(self, after: ImageRow | None, now: Image) -> str:
        """Show what is there now against what the run left, where both are text that is known."""
        if after is None:
            return "the run was ended while it changed it"
        if not now.existed:
            return "it is gone"
        then = self._content(after.digest) if after.existed else b""
        if then is None or now.content is None:
            return (
                f"sha256 {after.digest[:12]}… then, {now.digest[:12]}… now, mode {after.mode:o} then, {now.mode:o} now"
            )
        old, new = (content.decode("utf-8", "replace").splitlines() for content in (then, now.content))
        lines = list(difflib.unified_diff(old, new, "as the run left it", "now", lineterm=""))
        return "\n".join(lines[:MAX_DIFF_LINES]) or f"mode {after.mode:o} then, {now.mode:o} now"

    def _content(self, digest: str) -> bytes | None:
        try:
            return self._tape.blob(digest)
        except TapeError:
            return None  # only what a later call replaced is on the tape
