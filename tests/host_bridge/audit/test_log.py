from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import timeit
from pathlib import Path

import msgspec
import pytest

from host_bridge.audit.log import AuditLog, read, verify
from host_bridge.audit.records import (
    AnswerUnused,
    CallDecided,
    CallSettled,
    KernelStarted,
    LogContinued,
    LogRotated,
    PeerRefused,
    QuestionAnswered,
    Record,
    SessionClosed,
    SessionOpened,
    SessionTainted,
    TornWrite,
)
from host_bridge.errors import AuditError

OPENED = SessionOpened(session_id="s1", principal="nightly", profile="workspace", workspace="/ws", run_id="r1")


def decided(number: int = 1, **fields) -> CallDecided:
    return CallDecided(
        **{
            "call_id": f"s1-{number}",
            "session_id": "s1",
            "principal": "nightly",
            "tool": "read_file",
            "effect": "allow",
            "rule_id": "profile workspace:rules.allow[0]",
            "reason": "allowed by read_file(./**)",
            "notebook": "/ws/run.ipynb",
            "run_id": "r1",
            "cell_index": 3,
            "arguments_digest": "0" * 64,
            "arguments": {"path": "data/x.csv", "unit": "lines", "offset": 1, "limit": None},
            **fields,
        }
    )


def settled(number: int = 1) -> CallSettled:
    return CallSettled(
        call_id=f"s1-{number}", outcome="ok", duration_seconds=0.001, result_digest="1" * 64, result_bytes=12
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_session_leaves_one_line_per_record(path):
    log = AuditLog.open(path)
    for record in (
        OPENED,
        KernelStarted(public_key="k"),
        decided(),
        settled(),
        PeerRefused(code="malformed"),
        SessionClosed(calls=1),
    ):
        log.append(record)
    log.close()
    written = lines(path)
    assert [line["seq"] for line in written] == [0, 1, 2, 3, 4, 5]
    assert [line["type"] for line in written] == [
        *("session_opened", "kernel_started", "call_decided", "call_settled", "peer_refused", "session_closed")
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"]) for line in written)
    assert written[2]["arguments"] == {"path": "data/x.csv", "unit": "lines", "offset": 1, "limit": None}
    assert list(written[2])[:3] == ["seq", "time", "type"]
    assert list(written[2])[-2:] == ["previous", "hash"]
    report = verify(path)
    assert (report.ok, report.closed, report.records, report.head) == (True, True, 6, log.head)


def test_a_record_is_on_its_way_before_append_returns(path):
    log = AuditLog.open(path)
    log.append(OPENED)
    assert lines(path)[0]["session_id"] == "s1"
    log.close()


def test_the_file_is_its_owners_only(path):
    os.umask(0)
    try:
        log = AuditLog.open(path)
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log.close()
    path.chmod(0o644)
    AuditLog.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_place_for_a_log_is_refused(tmp_path, path):
    path.write_text("")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "hard", "pipe", "missing/audit.jsonl", ".", "a\0b"):
        with pytest.raises(AuditError):
            AuditLog.open(os.fspath(tmp_path) + "/" + name)
    with pytest.raises(AuditError, match="not a regular file"):
        AuditLog.open("/dev/null")
    with pytest.raises(AuditError, match="digest"):
        AuditLog.open(tmp_path / "x", arguments="some")


def test_two_writers_can_not_share_a_log(path):
    log = AuditLog.open(path)
    with pytest.raises(AuditError, match="another process"):
        AuditLog.open(path)
    other = "import sys; from host_bridge.audit.log import AuditLog; AuditLog.open(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", other, path], capture_output=True, text=True, timeout=60, check=False)
    assert "another process" in done.stderr
    log.close()
    AuditLog.open(path).close()


def test_a_refused_log_leaves_no_descriptor_open(path):
    log = AuditLog.open(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(AuditError):
            AuditLog.open(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    log.close()


def test_a_log_is_continued_by_the_next_session(path):
    for session in range(3):
        log = AuditLog.open(path)
        log.append(OPENED)
        log.append(decided(session))
        log.append(SessionClosed())
        log.close()
    report = verify(path)
    assert (report.ok, report.records, report.closed) == (True, 9, True)


def test_threads_never_mix_their_lines(path):
    log = AuditLog.open(path)

    def work(number):
        for call in range(200):
            log.append(decided(number * 1000 + call, arguments={"text": "x" * (call * 7 % 500)}))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    report = verify(path)
    assert (report.ok, report.records) == (True, 1600)


@pytest.fixture
def file_size_limit():
    """A disk that is full after so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_line(path, file_size_limit, room):
    log = AuditLog.open(path)
    log.append(OPENED)
    size = path.stat().st_size
    file_size_limit(size + room)
    for _ in range(3):
        with pytest.raises(AuditError, match="can't be written"):
            log.append(decided())
        assert path.stat().st_size == size
    file_size_limit(size + 100_000)
    log.append(decided())
    log.append(SessionClosed())
    log.close()
    report = verify(path)
    assert (report.ok, report.records) == (True, 3)


def test_a_closed_log_takes_nothing(path):
    log = AuditLog.open(path)
    log.append(OPENED)
    log.close()
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.append(decided())


def test_arguments_that_json_can_not_say_are_recorded_as_far_as_it_can(path):
    log = AuditLog.open(path)
    log.append(OPENED)
    endless: list = []
    endless.append(endless)
    log.append(
        decided(arguments={"endless": endless, "what": object(), "huge": 2**200, "nan": float("nan"), 3: {4: 5}})
    )
    log.append(SessionClosed())
    log.close()
    assert verify(path).ok
    assert "[more than" in json.dumps(lines(path)[1]["arguments"]["endless"])
    assert lines(path)[1]["arguments"]["what"] == "[object]"


def test_digest_mode_keeps_arguments_out(path):
    log = AuditLog.open(path, arguments="digest")
    log.append(decided(arguments={"command": "very private"}))
    log.close()
    assert "private" not in path.read_text()
    assert lines(path)[0]["arguments"] is None
    assert lines(path)[0]["arguments_digest"] == "0" * 64


def torn(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


@pytest.mark.parametrize("data", [b"{", b'{"seq":1,"time":"2026', b"\x00" * 50, b"x" * 5000])
def test_what_a_dead_process_left_is_recorded_and_continued_behind(path, data):
    log = AuditLog.open(path)
    log.append(OPENED)
    log.close()
    torn(path, data)
    assert [problem.kind for problem in verify(path).problems] == ["torn"]
    log = AuditLog.open(path)
    log.append(SessionClosed())
    log.close()
    report = verify(path)
    assert (report.ok, report.recovered, report.records, report.closed) == (True, 1, 3, True)
    entry = next(entry for entry in read(path) if entry.type == "torn_write")
    assert entry.fields["lost_bytes"] == len(data)
    assert data in path.read_bytes()


def test_a_first_line_left_incomplete_is_continued_behind(path):
    torn(path, b'{"seq":0,"ti')
    log = AuditLog.open(path)
    log.append(OPENED)
    log.close()
    report = verify(path)
    assert (report.ok, report.recovered, report.records) == (True, 1, 2)


def test_a_file_that_is_no_log_is_not_continued(path):
    path.write_text("my notes\n")
    with pytest.raises(AuditError, match="doesn't end in an audit record"):
        AuditLog.open(path)
    assert path.read_text() == "my notes\n"


def test_a_log_whose_end_was_changed_is_not_continued(path):
    log = AuditLog.open(path)
    log.append(OPENED)
    log.close()
    path.write_bytes(path.read_bytes().replace(b"nightly", b"someone"))
    with pytest.raises(AuditError, match="changed"):
        AuditLog.open(path)


def test_a_killed_writer_leaves_a_log_that_verifies(path):
    code = (
        "import sys\n"
        "from host_bridge.audit.log import AuditLog\n"
        "from host_bridge.audit.records import PeerRefused\n"
        "log = AuditLog.open(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while True: log.append(PeerRefused(code='malformed', message='x' * 300))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        while path.stat().st_size < 50_000:
            assert process.poll() is None
        process.kill()
    log = AuditLog.open(path)
    log.append(SessionClosed())
    log.close()
    report = verify(path)
    assert report.ok
    assert report.records > 50


def test_a_clock_that_goes_backwards_harms_nothing(path, monkeypatch):
    times = iter(["2030-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z"])
    monkeypatch.setattr("host_bridge.audit.log._now", lambda: next(times))
    log = AuditLog.open(path)
    for _ in range(3):
        log.append(decided())
    log.close()
    assert verify(path).ok
    assert [entry.seq for entry in read(path)] == [0, 1, 2]


def test_fsync_reaches_the_disk_before_append_returns(path, monkeypatch):
    synced = []
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        synced.append(path.stat().st_size)
        real(descriptor)

    monkeypatch.setattr("host_bridge.audit.log._SYNC", sync)
    log = AuditLog.open(path, fsync=True)
    log.append(OPENED)
    log.append(SessionClosed())
    log.close()
    assert len(synced) == 2
    assert synced[-1] == path.stat().st_size


def test_every_record_can_be_written_and_read_back(path):
    samples = [
        OPENED,
        KernelStarted(public_key="k"),
        decided(),
        settled(),
        PeerRefused(code="c"),
        TornWrite(lost_bytes=1, lost_digest="d"),
        QuestionAnswered(question_id="q", answer="once"),
        AnswerUnused(question_id="q", answer="once", problem="over"),
        SessionTainted(call_id="c", tool="t", source="s"),
        LogRotated(next_file="n"),
        LogContinued(previous_file="p"),
        SessionClosed(),
    ]
    log = AuditLog.open(path)
    for sample in samples:
        log.append(sample)
    log.close()
    assert {type(sample) for sample in samples} == set(Record.__subclasses__())
    for sample, entry in zip(samples, read(path), strict=True):
        assert msgspec.convert({**entry.fields, "type": entry.type}, type(sample)) == sample


def test_appending_is_fast(path):
    log = AuditLog.open(path, secrets=["hunter2-hunter2"])
    record = decided()
    # The quickest of many short runs: what it costs when nobody else uses the machine.
    best = min(timeit.repeat(lambda: log.append(record), number=20, repeat=300)) / 20
    log.close()
    assert best * 1e6 < 15
