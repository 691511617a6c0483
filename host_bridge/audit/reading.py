"""Reads audit logs: lists their records, finds logs, and verifies that nothing in one was changed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from host_bridge.audit.chain import GENESIS, Link, read_link
from host_bridge.audit.files import files_of, is_continuation
from host_bridge.audit.heads import Head, heads_of, read_heads
from host_bridge.errors import AuditError

_CHAIN_FIELDS = ("seq", "time", "type", "previous", "hash")
_MAX_LINE_BYTES = 2**20  # far above the longest record; a file without line breaks is not read into memory


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One record as it stands in a log.

    Attributes:
        line: Its line, counted from 1.
        time: RFC 3339, UTC.
        type: The record's tag, such as `call_decided`.
        fields: What the record says.
        log: The file it stands in.
    """

    line: int
    seq: int
    time: str
    type: str
    fields: dict[str, Any]
    log: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line.

    Attributes:
        line: Counted from 1.
        kind: `edited`, `removed`, `reordered`, `inserted`, `rewritten`, `foreign` (no record of ours) or `torn`.
        text: For people.
        log: The file, where the log has several.
    """

    line: int
    kind: str
    text: str
    log: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        records: How many records there are.
        head: The last record's hash.
        closed: Whether the last record says that the session ended. If not, the log's end was cut, its session was killed,
            or it still runs.
        recovered: How many incomplete lines were left by a process that died, and recorded by the next one.
        problems: Everything else that isn't as it was written.
        files: The files the log consists of.
        kept: The number of the last record whose head was kept elsewhere; None where none was.
    """

    path: str
    records: int
    head: str
    closed: bool
    recovered: int
    problems: tuple[Problem, ...]
    files: tuple[str, ...] = ()
    kept: int | None = None

    @property
    def ok(self) -> bool:
        """Whether every record is as it was written. Of a cut end only what `kept` and `closed` say."""
        return not self.problems


@dataclasses.dataclass(frozen=True, slots=True)
class LogSummary:
    """One log, as far as its records tell. `path` is its first file."""

    path: str
    session_id: str
    principal: str
    notebook: str
    run_id: str
    opened: str
    closed: str
    calls: int
    denied: int


@dataclasses.dataclass(frozen=True, slots=True)
class CallEntry:
    """One call: what was decided, and what came of it (None while it runs, and for a denied call).

    Attributes:
        answered: The record of the answer it was decided by; None where no rule asked, or the answer is in another log.
    """

    decided: Entry
    settled: Entry | None
    answered: Entry | None = None


def read(path: str | os.PathLike[str]) -> Iterator[Entry]:
    """Give a log's records, in order, over all of its files. Lines that are no records are left out: `verify` reports them.

    Raises:
        AuditError: The file can't be read.
    """
    for file in files_of(path):
        for number, line, _ in _lines(file):
            entry = _entry(number, line, file)
            if entry is not None:
                yield entry


def calls(path: str | os.PathLike[str], *, denied: bool | None = None) -> list[CallEntry]:
    """Give a log's calls in the order they were decided.

    Args:
        path: The log.
        denied: True for denied calls only, False for the others only.

    Raises:
        AuditError: The file can't be read.
    """
    decided: list[tuple[Entry, Entry | None]] = []
    settled: dict[str, Entry] = {}
    answers: dict[str, Entry] = {}
    for entry in read(path):
        if entry.type == "call_decided":
            decided.append((entry, answers.get(str(entry.fields.get("question_id")))))
        elif entry.type == "question_answered":
            answers[str(entry.fields.get("question_id"))] = entry  # of several, the one that counted is the last
        elif entry.type == "call_settled":
            settled[str(entry.fields.get("call_id"))] = entry
    return [
        CallEntry(entry, settled.get(str(entry.fields.get("call_id"))), answered)
        for entry, answered in decided
        if denied is None or denied == (entry.fields.get("effect") != "allow")
    ]


def find(
    folder: str | os.PathLike[str],
    *,
    session: str | None = None,
    run: str | None = None,
    notebook: str | None = None,
    denied: bool | None = None,
) -> list[LogSummary]:
    """Give a folder's logs, the latest first. Files that can't be read are left out.

    Args:
        folder: Where logs lie; it need not exist.
        session: Only this session's.
        run: Only this run's.
        notebook: Only those of this notebook, by its whole path or its file name.
        denied: True for logs with denied calls only, False for those without.
    """
    found = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        try:
            if is_continuation(path):
                continue
            summary = _summarise(path)
        except AuditError:
            continue
        if session is not None and summary.session_id != session:
            continue
        if run is not None and summary.run_id != run:
            continue
        if notebook is not None and notebook not in (summary.notebook, Path(summary.notebook).name):
            continue
        if denied is None or denied == (summary.denied > 0):
            found.append(summary)
    return sorted(found, key=lambda summary: (summary.opened, summary.path), reverse=True)


def verify(
    path: str | os.PathLike[str], *, head: str | None = None, heads: str | os.PathLike[str] | None = None
) -> Report:
    """Check a log's chain from its first to its last record, over all of its files.

    Args:
        path: The log, by any of its files.
        head: The last record's hash, if it was kept elsewhere: shows a cut end and a log rewritten as a whole.
        heads: The file in which heads are kept (`audit.heads`): shows the same, up to the last head that was.

    Raises:
        AuditError: A file can't be read.
    """
    files = files_of(path)
    all_heads = read_heads(heads) if heads is not None else []
    checker = _Checker(frozenset(kept.seq for kept in all_heads))
    for file in files:
        checker.begin(file)
        for number, line, whole in _lines(file):
            checker.check(number, line, whole)
        checker.finish()
    checker.check_next(files[-1])
    kept = heads_of(all_heads, checker.sessions, os.path.abspath(files[0]))  # noqa: PTH100
    checker.check_heads(kept)
    if head is not None and head != checker.head:
        checker.problem(checker.line, "removed", "the log doesn't end in the record it is known to have ended in")
    return Report(
        path=os.fspath(path),
        records=checker.records,
        head=checker.head,
        closed=checker.last_type == "session_closed",
        recovered=checker.recovered,
        problems=tuple(checker.problems),
        files=tuple(files),
        kept=max((each.seq for each in kept), default=None),
    )


class _Checker:
    """Walks along a chain, and finds its way again behind every break.

    Args:
        remembered: Numbers of records whose hashes will be asked for.
    """

    def __init__(self, remembered: frozenset[int] = frozenset()) -> None:
        self.problems: list[Problem] = []
        self.sessions: set[str] = set()
        self._file = ""
        self._remembered = remembered
        self._hashes: dict[int, str] = {}
        self._goes_on_in = ""
        self.records = 0
        self.recovered = 0
        self.line = 0
        self.last_type = ""
        self.head = GENESIS
        self._next_seq = 0
        self._seen: set[str] = set()
        self._unread: list[tuple[int, bytes, bool]] = []  # lines that may be what a dead process left

    def problem(self, line: int, kind: str, text: str) -> None:
        self.problems.append(Problem(line, kind, text, self._file))

    def begin(self, file: str) -> None:
        """Go on with the lines of this file."""
        self._file = file
        self.line = 0

    def check_next(self, last: str) -> None:
        """Notice that the log went on in a file that isn't there."""
        if self.last_type == "log_rotated" and self._goes_on_in:
            self.problem(self.line, "removed", f"the log goes on in {self._goes_on_in}, which is not beside {last}")

    def check_heads(self, heads: Sequence[Head]) -> None:
        """Compare with what was kept elsewhere."""
        last = self._next_seq - 1
        for head in heads:
            known = self._hashes.get(head.seq)
            if known is not None and known != head.hash:
                self.problem(self.line, "rewritten", f"record {head.seq} is not the one whose head was kept")
        missing = max((head.seq for head in heads), default=last) - last
        if missing > 0:
            records = "record" if missing == 1 else "records"
            self.problem(self.line, "removed", f"the end is missing: at least {missing} {records} after record {last}")

    def check(self, number: int, line: bytes, whole: bool) -> None:
        self.line = number
        link = read_link(line) if whole else None
        entry = None if link is None else _entry(number, line)
        if link is None or entry is None:
            self._unread.append((number, line, whole))
            return
        self._check_unread(entry)
        self.records += 1
        self.last_type = entry.type
        if link.real_hash != link.stated_hash:
            self.problem(number, "edited", f"record {link.seq} was changed after it was written")
        if link.previous != self.head or link.seq != self._next_seq:
            self._broken(number, link)
        self._seen.add(link.stated_hash)
        if link.seq in self._remembered:
            self._hashes[link.seq] = link.stated_hash
        if entry.type == "session_opened":
            self.sessions.add(str(entry.fields.get("session_id", "")))
        elif entry.type == "log_rotated":
            self._goes_on_in = str(entry.fields.get("next_file", ""))
        self.head = link.stated_hash
        self._next_seq = link.seq + 1

    def finish(self) -> None:
        if self._unread and not self._unread[-1][2]:
            number, line, _ = self._unread.pop()
            self.problem(
                number, "torn", f"the last line is incomplete ({len(line)} bytes): its writer died, or the end was cut"
            )
        self._report_unread()

    def _broken(self, number: int, link: Link) -> None:
        if link.stated_hash in self._seen or link.seq < self._next_seq:
            kind = "inserted" if link.stated_hash in self._seen else "reordered"
            self.problem(number, kind, f"record {link.seq} stands where record {self._next_seq} belongs")
        elif link.seq > self._next_seq:
            missing = link.seq - self._next_seq
            self.problem(number, "removed", f"{missing} record{'s' * (missing > 1)} before record {link.seq} missing")
        else:
            self.problem(number, "inserted", f"record {link.seq} doesn't follow from the one before it")

    def _check_unread(self, entry: Entry) -> None:
        """Accept a line that isn't a record if the next record says that it was found like that."""
        if entry.type == "torn_write" and self._unread:
            _, line, _ = self._unread[-1]
            if entry.fields.get("lost_digest") == hashlib.sha256(line).hexdigest():
                self._unread.pop()
                self.recovered += 1
        self._report_unread()

    def _report_unread(self) -> None:
        for number, line, _ in self._unread:
            self.problem(number, "foreign", f"not an audit record ({len(line)} bytes)")
        self._unread.clear()


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes, bool]]:
    """Give each line with its number, without its line break, and whether it had one."""
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES):
                number += 1
                yield number, line.removesuffix(b"\n"), line.endswith(b"\n")
    except OSError as error:
        raise AuditError(f"{os.fspath(path)}: can't be read: {error.strerror}") from None


def _entry(number: int, line: bytes, file: str = "") -> Entry | None:
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(fields, dict) or not all(name in fields for name in _CHAIN_FIELDS):
        return None
    said = {name: value for name, value in fields.items() if name not in _CHAIN_FIELDS}
    return Entry(number, fields["seq"], fields["time"], fields["type"], said, file)


def _summarise(path: Path) -> LogSummary:
    opened: dict[str, Any] = {}
    opened_at = closed_at = ""
    counted = denied = 0
    for entry in read(path):
        if entry.type == "session_opened":
            opened, opened_at = entry.fields, entry.time
        elif entry.type == "call_decided":
            counted += 1
            denied += entry.fields.get("effect") != "allow"
        closed_at = entry.time if entry.type == "session_closed" else ""
    return LogSummary(
        path=str(path),
        session_id=str(opened.get("session_id", "")),
        principal=str(opened.get("principal", "")),
        notebook=str(opened.get("notebook", "")),
        run_id=str(opened.get("run_id", "")),
        opened=opened_at,
        closed=closed_at,
        calls=counted,
        denied=denied,
    )
