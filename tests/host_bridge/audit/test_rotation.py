"""A log goes on in further files, and its chain with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.audit.files import files_of, next_path
from host_bridge.audit.log import AuditLog, calls, find, read, verify
from host_bridge.audit.records import CallDecided, CallSettled, SessionClosed, SessionOpened
from host_bridge.errors import AuditError

OPENED = SessionOpened(session_id="s1", principal="p", profile="full", workspace="/w", run_id="r1")


def decided(number: int = 1, text: str = "") -> CallDecided:
    return CallDecided(
        call_id=f"s1-{number}", session_id="s1", principal="p", tool="t", effect="allow", arguments={"text": text}
    )


def write(path, calls: int, *, rotate_bytes: int = 2000, text: str = "x" * 200) -> list[str]:
    log = AuditLog.open(path, rotate_bytes=rotate_bytes)
    log.append(OPENED)
    for number in range(calls):
        log.append(decided(number, text))
        log.append(CallSettled(call_id=f"s1-{number}", outcome="ok"))
    log.append(SessionClosed())
    log.close()
    return files_of(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "20261103T101500-1a2b3c4d.jsonl"


def test_a_log_that_grew_large_goes_on_in_files_that_name_each_other(path):
    files = write(path, 30)
    assert len(files) > 3
    assert files[1].endswith("20261103T101500-1a2b3c4d.0001.jsonl")
    assert next_path(files[1]) == files[2]
    first, second = (Path(file).read_text().splitlines() for file in files[:2])
    assert json.loads(first[-1])["next_file"] == "20261103T101500-1a2b3c4d.0001.jsonl"
    assert json.loads(second[0])["previous_file"] == path.name
    assert json.loads(second[0])["previous"] == json.loads(first[-1])["hash"]
    assert all((path.parent / file).stat().st_mode & 0o077 == 0 for file in files)


def test_all_readers_follow_it_from_any_of_its_files(path):
    files = write(path, 30)
    for file in (files[0], files[2], files[-1]):
        report = verify(file)
        assert (report.ok, report.closed, report.files) == (True, True, tuple(files))
        assert len(calls(file)) == 30
        assert [entry.seq for entry in read(file)] == list(range(report.records))
    (found,) = find(path.parent)
    assert (found.path, found.calls, found.session_id, bool(found.closed)) == (str(path), 30, "s1", True)


def test_the_next_session_goes_on_at_the_end(path):
    files = write(path, 30)
    write(path, 3)
    report = verify(path)
    assert (report.ok, len(report.files) >= len(files), len(calls(path))) == (True, True, 33)


@pytest.mark.parametrize("gone", [0, 1, -1])
def test_a_file_that_is_gone_is_noticed(path, gone):
    files = write(path, 30)
    (path.parent / files[gone]).unlink()
    report = verify(files[1] if gone == 0 else files[0])
    assert not report.ok
    assert report.problems[0].kind == "removed"


def test_a_file_of_another_log_in_between_is_noticed(path, tmp_path):
    files = write(path, 30)
    (tmp_path / "other").mkdir()
    others = write(tmp_path / "other" / path.name, 30, text="y" * 200)
    shutil.copy(others[1], files[1])
    assert not verify(path).ok


def test_a_log_is_never_followed_into_another_folder(path, tmp_path):
    files = write(path, 30)
    (tmp_path / "other").mkdir()
    shutil.move(files[1], tmp_path / "other" / "next.jsonl")
    text = path.read_text()
    path.write_text(text.replace("20261103T101500-1a2b3c4d.0001.jsonl", "other/next.jsonl"))
    assert files_of(path) == [str(path)]


def test_what_stands_where_the_log_should_go_on_is_never_written_over(path):
    log = AuditLog.open(path, rotate_bytes=500)
    taken = Path(next_path(str(path)))
    taken.write_text("mine\n")
    log.append(decided(1, "x" * 500))
    with pytest.raises(AuditError, match="move that away"):
        log.append(decided(2))
    assert taken.read_text() == "mine\n"
    taken.unlink()
    log.append(decided(21))
    log.close()
    assert verify(path).ok


def test_a_session_killed_between_two_files_is_continued(path):
    files = write(path, 30)
    for file in files[2:]:
        (path.parent / file).unlink()
    (path.parent / files[2]).touch(0o600)  # made, and its maker died before it wrote in it
    log = AuditLog.open(path)
    log.append(SessionClosed())
    log.close()
    report = verify(path)
    assert (report.ok, report.closed, len(report.files)) == (True, True, 3)


@given(
    st.integers(300, 3000),
    st.lists(st.text(max_size=300), max_size=40),
    st.lists(st.integers(0, 40), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_wherever_it_is_cut_into_files_the_records_are_the_same(tmp_path_factory, rotate_bytes, texts, restarts):
    """Law: rotation changes neither the records nor their order, and the chain verifies over all files."""
    folder = tmp_path_factory.mktemp("logs")
    log = AuditLog.open(folder / "a.jsonl", rotate_bytes=rotate_bytes)
    for number, text in enumerate(texts):
        if number in restarts:
            log.close()
            log = AuditLog.open(folder / "a.jsonl", rotate_bytes=rotate_bytes)
        log.append(decided(number, text))
    head = log.head
    log.close()
    report = verify(folder / "a.jsonl", head=head)
    assert report.problems == ()
    written = [entry.fields["arguments"]["text"] for entry in read(folder / "a.jsonl") if entry.type == "call_decided"]
    assert written == texts


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_no_byte_of_any_file_changes_unnoticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("logs")
    files = write(folder / "a.jsonl", 12, rotate_bytes=1000)
    file = data.draw(st.sampled_from(files))
    content = bytearray(Path(file).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 127))
    Path(file).write_bytes(content)
    # By its first file, and by its last: where a file names its neighbour wrongly, the chain ends there or before it.
    assert not (verify(files[0]).ok and verify(files[-1]).ok)
