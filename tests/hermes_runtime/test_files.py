"""Files, from a notebook's side: exact, ranged, large, and as a file object."""

from __future__ import annotations

import io
import os
import pathlib

import pytest
from sdk_hosts import Place

import hermes_runtime as hermes
from hermes_protocol.frames import MAX_BULK_FRAME_BYTES
from hermes_runtime._files import BLOCK_BYTES
from hermes_runtime.testing import FakeHost, Reply

MEGABYTE = 2**20

MEASURE = """
import hermes_runtime as hermes
hermes.status()

def memory(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024

def resident():
    return memory("VmRSS")

def peak():  # of this program: ru_maxrss would count what forked it too
    return memory("VmHWM")
"""


def pattern(size: int) -> bytes:
    """Bytes in which every place looks different."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


@pytest.mark.parametrize("content", [b"", b"x", b"a\r\nb\rc\n\n", "sk_learn_model = 'é😀'\n".encode(), b"no newline"])
def test_text_is_read_exactly_as_it_is_on_disk(place: Place, content: bytes) -> None:
    place.write("a.txt", content)
    assert hermes.read_file("a.txt") == content.decode()
    assert hermes.read_bytes("a.txt") == content
    assert hermes.read_file("a.txt") == content.decode()


def test_lines_are_counted_from_one(place: Place) -> None:
    place.write("a.txt", b"one\ntwo\r\nthree\nfour")
    assert hermes.read_file("a.txt", offset=2, limit=2) == "two\r\nthree\n"
    assert hermes.read_file("a.txt", offset=4) == "four"
    assert hermes.read_file("a.txt", limit=1) == "one\n"
    assert hermes.read_file("a.txt", offset=9) == ""


def test_bytes_are_counted_from_zero(place: Place) -> None:
    place.write("a.bin", bytes(range(256)))
    assert hermes.read_bytes("a.bin", offset=10, limit=5) == bytes(range(10, 15))
    assert hermes.read_bytes("a.bin", offset=250) == bytes(range(250, 256))
    assert hermes.read_bytes("a.bin", offset=1000) == b""


def test_what_is_not_text_is_an_error_that_bytes_are_not(place: Place) -> None:
    place.write("a.bin", b"\xff\xfe")
    with pytest.raises(UnicodeDecodeError, match=r"hermes\.read_bytes\(\)"):
        hermes.read_file("a.bin")
    assert hermes.read_file("a.bin", errors="replace") == "��"
    assert hermes.read_file("a.bin", encoding="utf-16") == ""
    assert hermes.read_bytes("a.bin") == b"\xff\xfe"


def test_a_missing_file_is_a_file_not_found_error(place: Place) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.txt") as caught:
        hermes.read_file("missing.txt")
    assert isinstance(caught.value, hermes.ToolNotFoundError)


def test_paths_may_be_pathlib_paths(place: Place) -> None:
    hermes.write_file(pathlib.Path("a.txt"), "text")
    assert hermes.read_file(pathlib.PurePosixPath("a.txt")) == "text"
    with pytest.raises(hermes.InvalidToolRequestError, match="path must be text"):
        hermes.read_file(b"a.txt")  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["", "text\r\né", b"\0\xff", bytearray(b"abc"), memoryview(b"view")])
def test_content_is_written_exactly(place: Place, content: str | bytes) -> None:
    result = hermes.write_file("a.bin", content)
    expected = content.encode() if isinstance(content, str) else bytes(content)
    assert place.read("a.bin") == expected
    assert (result.bytes_written, result.created, result.path) == (len(expected), True, "a.bin")
    assert not hermes.write_file("a.bin", content).created


def test_content_that_is_neither_text_nor_bytes_is_refused() -> None:
    with pytest.raises(hermes.InvalidToolRequestError, match="text or bytes, not dict"):
        hermes.write_file("a", {"a": 1})  # type: ignore[arg-type]
    with pytest.raises(hermes.InvalidToolRequestError, match="contiguous"):
        hermes.write_file("a", memoryview(b"abcdef")[::2])


@pytest.mark.parametrize("size", [256 * 1024 + 1, MEGABYTE, MEGABYTE + 1, 5 * MEGABYTE + 3])
def test_large_content_goes_there_and_back(place: Place, size: int) -> None:
    content = pattern(size)
    assert hermes.write_file("large.bin", content).bytes_written == size
    assert place.read("large.bin") == content
    assert hermes.read_bytes("large.bin") == content


@pytest.mark.parametrize("size", [pytest.param(64, id="64MiB"), pytest.param(1024, id="1GiB", marks=pytest.mark.slow)])
def test_reading_needs_little_memory_beyond_the_result(bridge: Place, size: int) -> None:
    with open(bridge.workspace / "large.bin", "wb") as file:
        for number in range(size):
            file.write(number.to_bytes(8, "big") * (MEGABYTE // 8))
    code = f"""
before = resident()
data = hermes.read_bytes("large.bin")
assert len(data) == {size} * 2**20
assert all(data[n * 2**20 : n * 2**20 + 8] == n.to_bytes(8, "big") for n in range({size}))
print(peak() - before - {size})
"""
    assert float(bridge.run_python(MEASURE + code)) < 40


@pytest.mark.parametrize("size", [pytest.param(64, id="64MiB"), pytest.param(1024, id="1GiB", marks=pytest.mark.slow)])
def test_writing_needs_little_memory_beyond_the_content(bridge: Place, size: int) -> None:
    code = f"""
data = b"".join(n.to_bytes(8, "big") * 2**17 for n in range({size}))
before = peak()
assert hermes.write_file("large.bin", data).bytes_written == {size} * 2**20
print(peak() - before)
"""
    assert float(bridge.run_python(MEASURE + code)) < 40
    with open(bridge.workspace / "large.bin", "rb") as file:
        for number in range(size):
            assert file.read(MEGABYTE) == number.to_bytes(8, "big") * (MEGABYTE // 8)
        assert file.read() == b""


def test_iterating_a_file_holds_only_a_piece_of_it(bridge: Place) -> None:
    bridge.write("large.txt", b"".join(b"line %07d%s\n" % (number, b"." * 187) for number in range(320_000)))  # 61 MiB
    code = """
before = resident()
with hermes.open("large.txt") as lines:
    assert sum(int(line[5:12]) for line in lines) == sum(range(320_000))
print(peak() - before)
"""
    assert float(bridge.run_python(MEASURE + code)) < 20


def test_an_open_file_reads_and_seeks_like_any_other(place: Place) -> None:
    content = pattern(3 * BLOCK_BYTES + 17)
    place.write("a.bin", content)
    with hermes.open("a.bin", "rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert (file.name, file.readable(), file.writable(), file.seekable()) == ("a.bin", True, False, True)
        assert file.read(10) == content[:10]
        assert file.seek(-5, os.SEEK_END) == len(content) - 5
        assert file.read() == content[-5:]
        assert file.read() == b""
        file.seek(BLOCK_BYTES - 3)
        assert file.read(6) == content[BLOCK_BYTES - 3 : BLOCK_BYTES + 3]
        assert file.seek(-6, os.SEEK_CUR) == file.tell() == BLOCK_BYTES - 3
        assert file.read(2 * BLOCK_BYTES) == content[BLOCK_BYTES - 3 :][: 2 * BLOCK_BYTES]
        file.seek(7)
        assert file.read() == content[7:]
        file.seek(len(content) + 100)
        assert file.read() == b""
        with pytest.raises(ValueError, match="seek"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_lines_are_read_in_blocks_too() -> None:
    content = b"a line\n" * 500_000

    def read_file(path, offset, limit, **_):
        piece = content[offset : offset + limit]
        return Reply({"size_bytes": len(content), "version": "1", "returned_bytes": len(piece)}, {"content": piece})

    with FakeHost({"read_file": read_file}) as host, hermes.open("a.txt") as lines:
        assert sum(1 for _ in lines) == 500_000
        assert len(host.calls) == 1 + -(-len(content) // BLOCK_BYTES)


def test_an_open_text_file_gives_lines(place: Place) -> None:
    place.write("a.txt", "eins\r\nzwei\nüber".encode())
    with hermes.open("a.txt") as lines:
        assert list(lines) == ["eins\n", "zwei\n", "über"]
    with hermes.open("a.txt", newline="") as exact:
        assert exact.read() == "eins\r\nzwei\nüber"


def test_a_file_that_changes_while_it_is_read_in_pieces_is_no_mixture(place: Place) -> None:
    place.write("a.bin", bytes(3 * BLOCK_BYTES))
    with hermes.open("a.bin", "rb") as file:
        file.read(1)
        place.write("a.bin", b"\1" * 3 * BLOCK_BYTES)
        with pytest.raises(hermes.ToolFailedError, match="changed"):
            file.read()


@pytest.mark.parametrize("mode", ["w", "wb", "a", "r+", "x", "rb+", "U"])
def test_opening_for_writing_is_refused_and_says_what_to_do(mode: str) -> None:
    with pytest.raises(hermes.InvalidToolRequestError, match="write_file"):
        hermes.open("a.txt", mode)  # type: ignore[call-overload]


def test_opening_what_does_not_exist_fails_at_once(place: Place) -> None:
    with pytest.raises(FileNotFoundError):
        hermes.open("missing.bin", "rb")


def test_files_without_a_size_can_be_read(bridge: Place) -> None:
    assert "MemTotal" in hermes.read_file("/proc/meminfo")
    with hermes.open("/proc/meminfo") as lines:
        assert any(line.startswith("MemTotal") for line in lines)


@pytest.mark.parametrize("said", [3, 5])
def test_bytes_that_got_lost_on_the_way_are_noticed(said: int) -> None:
    def read_file(path, **_):
        return Reply({"size_bytes": 4, "version": "1", "returned_bytes": said}, {"content": b"1234"})

    with (
        FakeHost({"read_file": read_file}),
        pytest.raises(hermes.ToolFailedError, match=f"4 bytes arrived of {said}"),
    ):
        hermes.read_bytes("a")


def test_a_host_that_sends_more_than_was_asked_for_is_stopped() -> None:
    def read_file(path, limit, **_):
        facts = {"size_bytes": 100, "version": "1", "returned_bytes": limit}
        return Reply(facts, {"content": b"" if limit == 0 else bytes(limit + 1)})

    with (
        FakeHost({"read_file": read_file}),
        hermes.open("a", "rb") as file,
        pytest.raises(hermes.ToolFailedError, match="more than it was asked for"),
    ):
        file.read(1)


def test_chunks_as_large_as_the_protocol_allows_arrive() -> None:
    def read_file(call, limit, **_):
        call.emit("body", bytes(2 * MAX_BULK_FRAME_BYTES))  # sent in frames of the greatest size
        return Reply({"size_bytes": 2**23, "version": "1", "returned_bytes": 2 * MAX_BULK_FRAME_BYTES})

    with FakeHost({"read_file": read_file}):
        assert hermes.read_bytes("a") == bytes(2 * MAX_BULK_FRAME_BYTES)


def test_patching_and_listing_and_searching(bridge: Place) -> None:
    bridge.write("a.py", b"x = 1\ny = 2\n")
    changed = hermes.patch("a.py", "x = 1", "x = 10")
    assert bridge.read("a.py") == b"x = 10\ny = 2\n"
    assert [(each.path, each.action, each.replacements) for each in changed] == [("a.py", "update", 1)]
    assert "+x = 10" in changed.diff
    assert [(entry.path, entry.size_bytes) for entry in hermes.list_files()] == [("a.py", 13)]
    found = hermes.search_files("y = ")
    assert [(match.path, match.line, match.text.strip()) for match in found] == [("a.py", 2, "y = 2")]
    assert list(hermes.search_files("*.py", target="files")) == ["a.py"]
    assert list(hermes.search_files("=", output_mode="count")) == [("a.py", 2)]
