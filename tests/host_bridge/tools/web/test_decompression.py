from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.tools.web.decompression import Decompressor
from host_bridge.tools.web.problems import WebError


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


PACKERS = {
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "deflate": zlib.compress,
    " deflate": raw_deflate,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("encoding", PACKERS)
@given(data=st.binary(max_size=300), cut=st.integers(1, 50), limit=st.integers(1, 400))
def test_what_was_packed_comes_out_up_to_the_limit(encoding: str, data: bytes, cut: int, limit: int) -> None:
    packed = PACKERS[encoding](data)
    decompressor, output = Decompressor(encoding), b""
    for start in range(0, len(packed), cut):
        if len(output) < limit:
            output += decompressor.feed(packed[start : start + cut], limit - len(output))
    assert output == data[:limit]


@pytest.mark.parametrize("encoding", PACKERS)
@given(
    data=st.binary(max_size=300) | st.binary(min_size=1, max_size=3).map(lambda piece: piece * 500),
    cut=st.integers(1, 50),
    most=st.integers(1, 400),
)
def test_what_was_packed_comes_out_whole_in_pieces_of_bounded_size(
    encoding: str, data: bytes, cut: int, most: int
) -> None:
    packed = PACKERS[encoding](data)
    decompressor, pieces = Decompressor(encoding), []
    for start in range(0, len(packed), cut):
        pieces += decompressor.pieces(packed[start : start + cut], most)
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= most for piece in pieces)
    assert not decompressor.is_unfinished


@pytest.mark.parametrize("encoding", ["gzip", "deflate", " deflate"])
def test_an_end_in_the_middle_is_noticed(encoding: str) -> None:
    packed = PACKERS[encoding](b"some text" * 50)
    for end in range(3, len(packed)):
        decompressor = Decompressor(encoding)
        list(decompressor.pieces(packed[:end], 100))
        assert decompressor.is_unfinished
    assert not Decompressor(encoding).is_unfinished


def test_members_strung_together_are_one_and_padding_is_ignored() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 100
    decompressor = Decompressor("gzip")
    assert decompressor.feed(packed, 1000) == b"one two"
    assert decompressor.feed(b"more padding", 1000) == b""


def test_a_bomb_is_never_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(200 * 2**20), compresslevel=9)
    tracemalloc.start()
    assert Decompressor("gzip").feed(bomb, 1000) == bytes(1000)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "x" * 10_000])
def test_encodings_nobody_asked_for_are_refused(encoding: str) -> None:
    with pytest.raises(WebError, match="not asked for"):
        Decompressor(encoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_compressed_as_it_says_is_an_error(encoding: str) -> None:
    with pytest.raises(WebError, match="damaged"):
        Decompressor(encoding).feed(b"\xff\xff\xffplain text", 1000)
