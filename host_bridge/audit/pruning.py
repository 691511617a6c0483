"""Removes old logs whole, and leaves of each a tombstone among the heads: what is gone on purpose doesn't look stolen."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from host_bridge.audit.files import files_of, is_continuation
from host_bridge.audit.heads import Head, HeadFile, now, read_heads
from host_bridge.audit.reading import verify
from host_bridge.errors import AuditError


@dataclasses.dataclass(frozen=True, slots=True)
class Pruned:
    """What became of one old log.

    Attributes:
        log: Its first file.
        files: How many it had.
        records: How many records it had; 0 where that is not known.
        kept: Why it was kept; empty where it was removed.
    """

    log: str
    files: int
    records: int = 0
    kept: str = ""


def prune(
    folder: str | os.PathLike[str], heads: str, older_than_seconds: float, *, dry_run: bool = False
) -> list[Pruned]:
    """Remove the logs that were last written so long ago. One that doesn't verify is evidence, and stays.

    Args:
        folder: Where the logs are.
        heads: The file of heads, which gets the tombstones.
        older_than_seconds: How old.
        dry_run: Only say what would be done.

    Raises:
        AuditError: A tombstone can't be written: nothing is removed without one.
    """
    limit = time.time() - older_than_seconds
    buried = {head.log for head in read_heads(heads) if head.event == "pruned"}
    return [
        _prune(path, files, heads, dry_run=dry_run, is_buried=_absolute(files[0]) in buried)
        for path, files in _logs(folder)
        if max(os.stat(file).st_mtime for file in files) < limit  # noqa: PTH116
    ]


def missing_logs(folder: str | os.PathLike[str], heads: Iterable[Head]) -> list[Head]:
    """Give the last head of each log of a folder that isn't there, and wasn't pruned."""
    lost: dict[str, Head] = {}
    for head in heads:
        if head.event == "pruned":
            lost.pop(head.log, None)
        elif Path(head.log).parent == Path(_absolute(folder)) and not Path(head.log).exists():
            lost[head.log] = head
    return list(lost.values())


def _logs(folder: str | os.PathLike[str]) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(Path(folder).glob("*.jsonl")):
        if not path.is_symlink() and not is_continuation(path):
            yield str(path), files_of(path)


def _prune(path: str, files: list[str], heads: str, *, dry_run: bool, is_buried: bool) -> Pruned:
    with open(files[-1], "rb") as last:
        try:
            fcntl.flock(last, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Pruned(path, len(files), kept="a session writes it")
        report = verify(path, heads=heads)
        if not report.ok and not is_buried:  # an earlier pruning that was interrupted left a part of it
            return Pruned(path, len(files), report.records, kept="it is not as it was written; look at it first")
        if not dry_run:
            if not is_buried:
                _bury(heads, Head(session_id="", log=_absolute(path), seq=report.records - 1, hash=report.head))
            for file in reversed(files):
                os.unlink(file)  # noqa: PTH108
    return Pruned(path, len(files), report.records)


def _bury(heads: str, head: Head) -> None:
    file = HeadFile(heads)
    try:
        file.append(
            Head(session_id=head.session_id, log=head.log, seq=head.seq, hash=head.hash, time=now(), event="pruned")
        )
    except OSError as error:
        raise AuditError(f"{heads}: a tombstone can't be written: {error.strerror}; nothing was removed") from None
    finally:
        file.close()


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are not followed: a log is known by where it was opened
