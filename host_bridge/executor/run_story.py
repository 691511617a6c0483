"""What is known of one run, put together for who wants to see it: the index, the tape, the audit log, the output notebook.

Each of them may be missing, or belong to a later run; what isn't this run's is left out, and `note` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from host_bridge.audit import log as audit
from host_bridge.audit.reading import CallEntry
from host_bridge.config import audit_folder, load_config
from host_bridge.errors import AuditError, ConfigurationError, TapeError
from host_bridge.executor.documents import Document, UnreadableNotebookError, metadata_of, open_document
from host_bridge.executor.reading import is_remote
from host_bridge.runs.index import RunEntry
from host_bridge.tape.reader import CellMark, ImageRow, Recorded, TapeReader
from host_bridge.tape.sizes import given_bytes

_MAX_TEXT_BYTES = 200_000  # of a file whose difference is shown


@dataclasses.dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that the run wrote.

    Attributes:
        before: As it was before the run wrote it first; `text_before` is its text, None where it isn't kept or is none.
        after: As the run left it; None where that isn't known.
    """

    before: ImageRow
    after: ImageRow | None
    text_before: str | None = None
    text_after: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RunStory:
    """A run.

    Attributes:
        entry: What the index says.
        facts: What the tape says of the whole run.
        cells: The cells' starts and ends, as on the tape.
        calls: Its calls, likewise.
        given: How many bytes each of them gave, by its `seq`.
        written: The files it wrote, by path.
        asked: The calls that were asked about, as in the audit log; None where the log isn't there any more.
        document: The output notebook; None where there is none, or a later run's.
        note: Why there is less than there should be.
    """

    entry: RunEntry
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cells: list[CellMark] = dataclasses.field(default_factory=list)
    calls: list[Recorded] = dataclasses.field(default_factory=list)
    given: Mapping[int, int] = dataclasses.field(default_factory=dict)
    written: list[WrittenFile] = dataclasses.field(default_factory=list)
    asked: list[CallEntry] | None = None
    document: Document | None = None
    note: str = ""


def story_of(entry: RunEntry) -> RunStory:
    """Put together what is known of a run."""
    story = RunStory(entry, document=_document(entry), asked=_asked(entry))
    if entry.is_alive:
        return dataclasses.replace(story, note="The run still goes on; its calls can be seen when it is over.")
    if not entry.tape:
        return dataclasses.replace(story, note=f"No calls can be shown: {entry.without_tape}.")
    try:
        with TapeReader(entry.tape) as tape:
            facts = tape.facts()
            if facts.get("run_id") != entry.run_id:
                return dataclasses.replace(story, note=f"The tape at {entry.tape} is of another run.")
            changed = entry.tape_root and tape.root() != entry.tape_root
            return dataclasses.replace(
                story,
                facts=facts,
                cells=tape.cells(),
                calls=tape.calls(),
                given=given_bytes(tape),
                written=_written(tape),
                note="The tape was changed since the run ended: what it says may not be what was done."
                if changed
                else "",
            )
    except TapeError as error:
        return dataclasses.replace(story, note=f"No calls can be shown: {error}.")


def _document(entry: RunEntry) -> Document | None:
    if not entry.output or is_remote(entry.output):
        return None
    try:
        document = open_document(entry.output)
    except UnreadableNotebookError:
        return None
    hermes = metadata_of(document).get("hermes")
    run = hermes.get("run") if isinstance(hermes, Mapping) else None
    return document if isinstance(run, Mapping) and run.get("id") == entry.run_id else None


def _asked(entry: RunEntry) -> list[CallEntry] | None:
    try:
        logs = audit.find(audit_folder(load_config()), run=entry.run_id)
        calls = [call for log in reversed(logs) for call in audit.calls(log.path)]
    except (AuditError, ConfigurationError, OSError):
        return None
    return [call for call in calls if call.decided.fields.get("answer")] if logs else None


def _written(tape: TapeReader) -> list[WrittenFile]:
    first: dict[str, ImageRow] = {}
    last: dict[str, ImageRow] = {}
    for image in tape.images():
        if image.event == "before":
            first.setdefault(image.path, image)
        else:
            last[image.path] = image
    return [
        WrittenFile(before, last.get(path), _text(tape, before), _text(tape, last.get(path)))
        for path, before in sorted(first.items())
    ]


def _text(tape: TapeReader, image: ImageRow | None) -> str | None:
    if image is None:
        return None
    if not image.existed:
        return ""
    if not image.kept or image.size > _MAX_TEXT_BYTES:
        return None
    with contextlib.suppress(TapeError, UnicodeDecodeError):
        return tape.blob(image.digest).decode()
    return None
