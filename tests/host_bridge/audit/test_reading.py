from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.audit.chain import GENESIS, link, read_link
from host_bridge.audit.log import AuditLog, calls, find, read, verify
from host_bridge.audit.records import CallDecided, CallSettled, SessionClosed, SessionOpened
from host_bridge.errors import AuditError


def write_session(
    path, *, session="s1", run="r1", notebook="/ws/a.ipynb", effects=("allow", "deny", "allow"), close=True
) -> str:
    log = AuditLog.open(path)
    log.append(
        SessionOpened(
            session_id=session, principal="p", profile="workspace", workspace="/ws", run_id=run, notebook=notebook
        )
    )
    for number, effect in enumerate(effects):
        call_id = f"{session}-{number}"
        log.append(
            CallDecided(
                call_id=call_id,
                session_id=session,
                principal="p",
                tool="terminal",
                effect=effect,
                arguments={"n": number},
            )
        )
        if effect == "allow":
            log.append(CallSettled(call_id=call_id, outcome="ok"))
    if close:
        log.append(SessionClosed(calls=len(effects)))
    log.close()
    return log.head


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s1.jsonl"
    write_session(path)
    return path


def kinds(path) -> set[str]:
    return {problem.kind for problem in verify(path).problems}


def rewrite(path, change) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def test_an_untouched_log_verifies(path):
    report = verify(path)
    assert report.ok
    assert report.closed
    assert report.records == 7


def test_an_edited_record_is_found(path):
    def edit(lines):
        lines[3] = lines[3].replace(b'"effect":"deny"', b'"effect":"allow"').replace(b'"n":1', b'"n":2')

    rewrite(path, edit)
    assert kinds(path) == {"edited"}
    assert verify(path).problems[0].line == 4


def test_a_record_edited_together_with_its_hash_is_found(path):
    def forge(lines):
        link_ = read_link(lines[3].rstrip(b"\n"))
        entry = json.loads(lines[3])
        body = {name: value for name, value in entry.items() if name not in ("seq", "time", "previous", "hash")}
        body["effect"] = "allow"
        lines[3] = link(link_.seq, entry["time"], json.dumps(body).encode(), link_.previous)[0]

    rewrite(path, forge)
    assert not verify(path).ok
    assert verify(path).problems[0].line == 5  # the next one still names the true record


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_removed_record_is_found(path, index):
    rewrite(path, lambda lines: lines.pop(index))
    assert "removed" in kinds(path)


def test_reordered_records_are_found(path):
    def swap(lines):
        lines[2], lines[4] = lines[4], lines[2]

    rewrite(path, swap)
    assert "reordered" in kinds(path)


def test_an_inserted_record_is_found(path):
    rewrite(path, lambda lines: lines.insert(4, lines[2]))
    assert "inserted" in kinds(path)


def test_a_record_of_another_log_is_found(path, tmp_path):
    write_session(tmp_path / "other.jsonl", session="s2")
    foreign = (tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True)
    rewrite(path, lambda lines: lines.__setitem__(3, foreign[3]))
    assert not verify(path).ok


@pytest.mark.parametrize(
    "junk", [b"junk\n", b"\n", b"{}\n", b'{"seq":4}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * 3_000_000 + b"\n"]
)
def test_lines_that_are_no_records_are_found(path, junk):
    rewrite(path, lambda lines: lines.insert(4, junk))
    assert "foreign" in kinds(path)
    assert len(list(read(path))) == 7


def test_a_cut_end_shows_as_not_closed(path):
    rewrite(path, lambda lines: lines.pop())
    report = verify(path)
    assert report.ok
    assert not report.closed


def test_a_head_kept_elsewhere_shows_a_cut_end_and_a_rewritten_log(tmp_path):
    path = tmp_path / "a.jsonl"
    head = write_session(path, effects=("deny", "deny"))
    assert verify(path, head=head).ok
    whole = path.read_bytes()
    rewrite(path, lambda lines: lines.pop())
    assert not verify(path, head=head).ok
    path.unlink()
    write_session(path, effects=("allow",))
    assert verify(path).ok
    assert not verify(path, head=head).ok
    path.write_bytes(whole)
    assert verify(path, head=head).ok


def test_an_incomplete_last_line_is_reported(path):
    path.write_bytes(path.read_bytes()[:-30])
    report = verify(path)
    assert [problem.kind for problem in report.problems] == ["torn"]
    assert not report.closed


@settings(deadline=None)
@given(st.data())
def test_no_changed_byte_goes_unnoticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    head = write_session(path)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    replacement = data.draw(st.integers(0, 255).filter(lambda value: value != content[position]))
    content[position] = replacement
    path.write_bytes(content)
    assert not verify(path, head=head).ok


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_other_order_of_lines_verifies(tmp_path_factory, source: random.Random):
    path = tmp_path_factory.mktemp("log") / "a.jsonl"
    head = write_session(path)
    lines = path.read_bytes().splitlines(keepends=True)
    chosen = source.choices(lines, k=source.randint(1, 10))
    path.write_bytes(b"".join(chosen))
    assert verify(path, head=head).ok == (chosen == lines)


def test_an_empty_log_verifies_as_not_closed(tmp_path):
    (tmp_path / "a.jsonl").touch()
    report = verify(tmp_path / "a.jsonl")
    assert (report.ok, report.closed, report.records, report.head) == (True, False, 0, GENESIS)


def test_a_missing_log_is_an_error(tmp_path):
    for reader in (verify, lambda path: list(read(path)), calls):
        with pytest.raises(AuditError, match="can't be read"):
            reader(tmp_path / "missing.jsonl")


def test_calls_are_paired_with_what_came_of_them(path):
    rows = calls(path)
    assert [(row.decided.fields["effect"], row.settled is not None) for row in rows] == [
        ("allow", True),
        ("deny", False),
        ("allow", True),
    ]
    assert [row.decided.fields["arguments"] for row in calls(path, denied=True)] == [{"n": 1}]
    assert len(calls(path, denied=False)) == 2


def test_logs_are_found_by_session_run_notebook_and_denials(tmp_path):
    write_session(tmp_path / "1.jsonl", session="s1", run="r1")
    write_session(tmp_path / "2.jsonl", session="s2", run="r1", notebook="/ws/b.ipynb", effects=("allow",))
    write_session(tmp_path / "3.jsonl", session="s3", run="r2", close=False)
    (tmp_path / "4.jsonl").mkdir()
    (tmp_path / "notes.txt").write_text("x")

    def sessions(**wanted):
        return {summary.session_id for summary in find(tmp_path, **wanted)}

    assert sessions() == {"s1", "s2", "s3"}
    assert sessions(session="s2") == {"s2"}
    assert sessions(run="r1") == {"s1", "s2"}
    assert sessions(notebook="b.ipynb") == {"s2"}
    assert sessions(denied=True) == {"s1", "s3"}
    assert sessions(run="r1", denied=False) == {"s2"}
    assert find(tmp_path / "missing") == []
    latest, *_, first = find(tmp_path)
    assert (latest.session_id, first.session_id) == ("s3", "s1")
    assert latest.closed == ""
    assert (first.calls, first.denied, first.closed != "") == (3, 1, True)
