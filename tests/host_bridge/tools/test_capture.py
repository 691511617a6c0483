from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from host_bridge.tools.capture import Capture, Ring

PIECES = st.lists(st.binary(max_size=40), max_size=30)


@given(pieces=PIECES, capacity=st.integers(1, 50), offset=st.integers(0, 400), limit=st.integers(0, 60))
def test_a_ring_holds_exactly_the_last_bytes(pieces: list[bytes], capacity: int, offset: int, limit: int) -> None:
    ring = Ring(capacity)
    for piece in pieces:
        ring.append(piece)
    whole = b"".join(pieces)
    assert ring.end == len(whole)
    assert ring.start == max(0, len(whole) - capacity)
    start = max(offset, ring.start)
    assert ring.read(offset, limit) == whole[start : start + limit]
    assert len(ring._data) <= 2 * capacity + 40


@given(pieces=PIECES, head=st.integers(0, 100), tail=st.integers(1, 100))
def test_a_capture_loses_nothing_it_does_not_count(pieces: list[bytes], head: int, tail: int) -> None:
    capture = Capture(head, tail)
    passed = b"".join(capture.take(piece) for piece in pieces)
    whole = b"".join(pieces)
    assert capture.produced == len(whole)
    assert passed == whole[:head]
    assert len(passed) + capture.omitted + len(capture.tail()) == len(whole)
    assert whole.endswith(capture.tail())
    assert len(capture.tail()) <= tail
