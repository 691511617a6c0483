"""The laws of the file: what is put in comes out, what is changed shows, and what isn't a tape is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.errors import TapeError
from host_bridge.tape.format import pack, root_hash, sha256, unpack
from host_bridge.tape.reader import TapeReader
from host_bridge.tape.recorder import CallRow, Outcome, Recorder
from host_bridge.tape.secrecy import Secrecy, StreamSecrecy


def row(seq: int, **fields) -> CallRow:
    values = {
        "call_id": f"s-{seq}",
        "tool": "read_file",
        "cell_index": 1,
        "cell_id": "one",
        "line": 1,
        "occurrence": 0,
        "arguments": "{}",
        "arguments_digest": "d",
        "canonical": "{}",
        "canonical_digest": "d",
        "effect": "allow",
        "rule_id": "r",
        "reason": "",
        "acts": True,
        "origin": "live",
        "untrusted": "",
        "replaces": None,
        "time": 1.5,
    }
    return CallRow(seq=seq, **values | fields)


def write(path: Path, *, value: bytes = b'"v"', pieces: tuple[bytes, ...] = ()) -> str:
    tape = Recorder.new(str(path), Secrecy())
    tape.facts({"run_id": "r"})
    number = tape.intend(row)
    for position, piece in enumerate(pieces):
        tape.piece(number, position, "stream", "stdout", piece)
    tape.settle(number, Outcome(outcome="ok", value=value), {"content": b"bulk"}, len(pieces))
    return tape.close()


@given(st.binary(max_size=20_000), st.booleans())
def test_packed_content_comes_back(data: bytes, repeats: bool) -> None:
    data = data * 10 if repeats else data
    encoding, content = pack(data)
    assert unpack(encoding, content, sha256(data), len(data)) == data
    with pytest.raises(TapeError, match="damaged"):
        unpack(encoding, content, sha256(data + b"x"), len(data))


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=5_000), max_size=5))
def test_what_is_recorded_is_read_and_the_root_is_of_the_content(tmp_path_factory, pieces: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("tape")
    large = b'"' + b"x" * 10_000 + b'"'
    roots = {write(folder / name, value=large, pieces=tuple(pieces)) for name in ("a", "b")}
    assert len(roots) == 1
    with TapeReader(str(folder / "a")) as tape:
        (call,) = tape.calls()
        assert tape.root() in roots
        assert tape.value(call) == "x" * 10_000
        assert [piece.data for piece in tape.pieces(0)] == [*pieces, b"bulk"]
        assert call.outcome.value_digest == sha256(large)


def test_equal_content_is_kept_once_and_compressed(tmp_path: Path) -> None:
    piece = b"the same line over and over\n" * 10_000
    write(tmp_path / "tape", pieces=(piece, piece, piece))
    assert (tmp_path / "tape").stat().st_size < len(piece) / 2
    with sqlite3.connect(tmp_path / "tape") as database:
        assert database.execute("SELECT count(*), min(encoding) FROM blobs").fetchone() == (1, "zlib")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE calls SET tool = 'write_file'",
        "UPDATE outcomes SET value = '1'",
        "UPDATE pieces SET content = x'00' WHERE position = 0",
        "UPDATE facts SET value = '\"x\"'",
        "DELETE FROM calls",
    ],
)
def test_a_changed_row_changes_the_root(tmp_path: Path, change: str) -> None:
    root = write(tmp_path / "tape", pieces=(b"small",))
    database = sqlite3.connect(tmp_path / "tape")
    with database:
        database.execute(change)
    assert root_hash(database) != root
    database.close()


def test_changed_content_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "tape", pieces=(os.urandom(5_000),))
    database = sqlite3.connect(tmp_path / "tape")
    with database:
        database.execute("UPDATE blobs SET content = zeroblob(5000)")
    database.close()
    with TapeReader(str(tmp_path / "tape")) as tape, pytest.raises(TapeError, match="damaged"):
        list(tape.pieces(0))


def test_a_finished_tape_is_one_file_of_its_owner(tmp_path: Path) -> None:
    write(tmp_path / "tape")
    assert [path.name for path in tmp_path.iterdir()] == ["tape"]
    assert (tmp_path / "tape").stat().st_mode & 0o777 == 0o600


def test_what_was_written_survives_the_writers_sudden_death(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_format import row, Recorder, Secrecy, Outcome
tape = Recorder.new({str(tmp_path / "tape")!r}, Secrecy())
tape.intend(row)
tape.settle(0, Outcome(outcome="ok", value=b"1"), {{}}, 0)
tape.intend(row)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == -9
    with TapeReader(str(tmp_path / "tape")) as tape:
        assert [call.is_unknown for call in tape.calls()] == [False, True]


def test_what_is_no_tape_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="there is no tape"):
        TapeReader(str(tmp_path / "missing"))
    (tmp_path / "text").write_text("no database" * 1000)
    with pytest.raises(TapeError, match="can't be read as a tape"):
        TapeReader(str(tmp_path / "text"))
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(TapeError, match="is not a tape"):
        TapeReader(str(tmp_path / "other"))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 20), st.integers(0, 20))
def test_a_secret_is_found_however_a_stream_is_cut(cuts: list[int], before: int, after: int) -> None:
    secret = "tok-ABCDEFGH"
    whole = b"x" * before + secret.encode() + b"y" * after + secret.encode()
    stream = StreamSecrecy(Secrecy([secret]))
    kept, rest = b"", whole
    for size in [*cuts, len(whole)]:
        kept += stream.feed("stdout", rest[:size])
        rest = rest[size:]
    kept += b"".join(data for _, data in stream.rest())
    assert kept == b"x" * before + b"[secret]" + b"y" * after + b"[secret]"


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    tape = Recorder.new(str(tmp_path / "tape"), Secrecy())
    tape.intend(row)
    (pages,) = tape._database.execute("PRAGMA page_count").fetchone()
    tape._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(TapeError, match="disk is full; make room, or run with --no-tape"):
        tape.settle(0, Outcome(outcome="ok", value=os.urandom(100_000).hex().encode()), {}, 0)
    tape._database.execute("PRAGMA max_page_count = 100000")
    tape.settle(0, Outcome(outcome="ok", value=b"1"), {}, 0)
    tape.close()
    with TapeReader(str(tmp_path / "tape")) as reader:
        assert [call.outcome.value for call in reader.calls()] == ["1"]
