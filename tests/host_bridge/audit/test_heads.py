"""Heads kept elsewhere show a cut end and a log written anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host_bridge.audit import heads as heads_module
from host_bridge.audit.heads import Head, HeadFile, read_heads
from host_bridge.audit.log import AuditLog, verify
from host_bridge.audit.pruning import missing_logs, prune
from host_bridge.audit.records import CallSettled, SessionClosed, SessionOpened
from host_bridge.errors import AuditError


@pytest.fixture
def heads(tmp_path):
    return str(tmp_path / "elsewhere" / "heads.jsonl")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "s1.jsonl"


def write(
    path, heads, records: int = 10, *, session: str = "s1", closes: bool = True, rotate_bytes: int = 0
) -> AuditLog:
    log = AuditLog.open(path, rotate_bytes=rotate_bytes)
    log.keep_heads(heads, session)
    log.append(SessionOpened(session_id=session, principal="p", profile="full", workspace="/w"))
    for number in range(records):
        log.append(CallSettled(call_id=str(number), outcome="ok"))
    if closes:
        log.append(SessionClosed())
        log.close()
    return log


def cut(path, records: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-records]))


def test_a_whole_log_verifies_with_its_kept_head(path, heads):
    write(path, heads)
    report = verify(path, heads=heads)
    assert (report.ok, report.closed, report.kept) == (True, True, 11)
    assert oct(Path(heads).stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("records", [1, 2, 12])
def test_a_cut_end_is_noticed_with_what_is_missing(path, heads, records):
    write(path, heads)
    cut(path, records)
    report = verify(path, heads=heads)
    assert [problem.kind for problem in report.problems] == ["removed"]
    assert f"at least {records} record" in report.problems[0].text


def test_a_cut_end_is_noticed_over_several_files(path, heads):
    write(path, heads, 60, rotate_bytes=1000)
    files = verify(path).files
    assert len(files) > 2
    assert verify(files[-1], heads=heads).ok
    cut(path.with_name(Path(files[-1]).name), 1)
    assert [problem.kind for problem in verify(path, heads=heads).problems] == ["removed"]


def test_a_log_written_anew_is_noticed(path, heads):
    write(path, heads)
    path.unlink()
    forged = AuditLog.open(path)
    forged.append(SessionOpened(session_id="s1", principal="p", profile="full", workspace="/w"))
    for number in range(20):
        forged.append(CallSettled(call_id=str(number), outcome="denied"))
    forged.append(SessionClosed())
    forged.close()
    assert verify(path).ok
    assert "rewritten" in {problem.kind for problem in verify(path, heads=heads).problems}


def test_a_log_whose_first_record_is_gone_is_still_known_by_its_place(path, heads):
    write(path, heads)
    path.write_bytes(b"")
    assert "12 records" in verify(path, heads=heads).problems[0].text


def test_without_a_kept_head_that_is_said_and_is_no_problem(path, heads, tmp_path):
    write(path, heads)
    assert verify(path, heads=tmp_path / "none").kept is None
    assert verify(path, heads=tmp_path / "none").ok


def test_while_a_session_works_its_head_is_kept_now_and_then(path, heads, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(heads_module.time, "monotonic", lambda: clock[0])
    log = write(path, heads, 100, closes=False)
    assert len(read_heads(heads)) == 1
    assert log.keep_head() == pytest.approx(heads_module.KEEP_SECONDS)
    clock[0] += heads_module.KEEP_SECONDS
    assert log.keep_head() is None
    assert [head.seq for head in read_heads(heads)] == [0, 100]
    log.close()


_WRITER = """
import sys, time
from host_bridge.audit.log import AuditLog
from host_bridge.audit.records import CallSettled, SessionOpened
log = AuditLog.open(sys.argv[1])
log.keep_heads(sys.argv[2], "s1")
log.append(SessionOpened(session_id="s1", principal="p", profile="full", workspace="/w"))
print("begun", flush=True)
while True:
    log.append(CallSettled(call_id="x", outcome="ok"))
    log._keeper.keep()
"""


def test_a_killed_session_leaves_heads_that_agree_with_its_log(path, heads):
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), heads], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"begun\n"
    deadline = time.monotonic() + 10
    while Path(heads).stat().st_size < 20_000 and time.monotonic() < deadline:
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    report = verify(path, heads=heads)
    assert report.kept > 50
    assert {problem.kind for problem in report.problems} <= {"torn"}


def test_half_a_line_that_somebody_left_costs_no_other_head(path, heads):
    HeadFile(heads).close()
    with open(heads, "ab") as file:
        file.write(b'{"session_id":"killed","lo')
    write(path, heads)
    assert {head.session_id for head in read_heads(heads)} == {"s1"}


def test_sessions_share_the_file(path, heads, tmp_path):
    logs = [write(tmp_path / "logs" / f"s{n}.jsonl", heads, closes=False, session=f"s{n}") for n in range(5)]
    for log in logs:
        log.close()
    assert all(verify(tmp_path / "logs" / f"s{n}.jsonl", heads=heads).ok for n in range(5))


def test_a_file_that_cannot_be_written_is_said_before_anything_happens(path, tmp_path):
    log = AuditLog.open(path)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for place in (tmp_path, tmp_path / "link", "/dev/null", "/proc/x/heads"):
        with pytest.raises(AuditError, match=r"audit\.heads"):
            log.keep_heads(str(place), "s1")
    log.close()


# pruning -----------------------------------------------------------------------------------------------------------------


def age(path, days: float) -> None:
    for file in path.parent.glob(f"{path.stem}*"):
        os.utime(file, (time.time() - days * 86_400,) * 2)


def test_old_logs_are_removed_whole_and_leave_a_tombstone(path, heads):
    write(path, heads, 60, rotate_bytes=1000)
    young = path.with_name("young.jsonl")
    write(young, heads, session="young")
    age(path, 100)
    (rehearsed,) = prune(path.parent, heads, 90 * 86_400, dry_run=True)
    assert (rehearsed.kept, path.exists()) == ("", True)
    (done,) = prune(path.parent, heads, 90 * 86_400)
    assert (done.log, done.files > 2, done.kept) == (str(path), True, "")
    assert [file.name for file in path.parent.iterdir()] == ["young.jsonl"]
    assert missing_logs(path.parent, read_heads(heads)) == []
    assert [head.event for head in read_heads(heads) if head.log == str(path)][-1] == "pruned"


def test_a_log_that_was_removed_otherwise_is_missed(path, heads):
    write(path, heads)
    path.unlink()
    assert [head.log for head in missing_logs(path.parent, read_heads(heads))] == [str(path)]


def test_what_does_not_verify_or_is_being_written_stays(path, heads):
    write(path, heads)
    path.write_bytes(path.read_bytes().replace(b'"ok"', b'"no"', 1))
    other = path.with_name("s2.jsonl")
    open_log = write(other, heads, closes=False, session="s2")
    age(path, 100)
    age(other, 100)
    kept = {done.log: done.kept for done in prune(path.parent, heads, 86_400)}
    assert "not as it was written" in kept[str(path)]
    assert "a session writes it" in kept[str(other)]
    assert path.exists()
    assert other.exists()
    open_log.close()


def test_a_pruning_that_was_interrupted_is_finished_by_the_next(path, heads):
    write(path, heads, 60, rotate_bytes=1000)
    files = verify(path).files
    HeadFile(heads).append(Head(session_id="", log=str(path), seq=1, hash="x", event="pruned"))
    Path(files[-1]).unlink()
    age(path, 100)
    assert [done.kept for done in prune(path.parent, heads, 86_400)] == [""]
    assert list(path.parent.iterdir()) == []


def test_without_a_tombstone_nothing_is_removed(path, heads, tmp_path):
    write(path, heads)
    age(path, 100)
    with pytest.raises(AuditError):
        prune(path.parent, str(tmp_path), 86_400)
    assert path.exists()
