"""No value leaves, whatever form it has and whatever pieces it comes in."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.secrets.veil import Values, Veil, VeiledStream, veiled

VALUE = "t0p/sécret+wörd value"
values_of_people = st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=4, max_size=30)


@pytest.mark.parametrize(
    "written",
    [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe=""),
        json.dumps(VALUE, ensure_ascii=False),
        base64.b64encode(VALUE.encode()).decode(),
        base64.b64encode(f"alice:{VALUE}".encode()).decode(),
        base64.b64encode(f"bob:{VALUE}, and more".encode()).decode(),
        base64.urlsafe_b64encode(f"b:{VALUE}".encode()).decode(),
    ],
)
def test_a_value_is_hidden_in_the_forms_that_programs_give_it(written):
    veil = Veil({"TOKEN": VALUE})
    shown = veil.text(f"got {written}!")
    assert "[secret TOKEN]" in shown
    assert "cret" not in shown.replace("[secret TOKEN]", "")
    assert veil.data(f"got {written}!".encode()) == shown.encode()


def test_the_lines_of_a_key_are_hidden_one_by_one_as_a_terminal_writes_them():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nqhkiG9w0BAQEFAASCBKcwgg\n"
    veil = Veil({"KEY": key})
    assert "MII" not in veil.text(key.replace("\n", "\r\n"))
    assert veil.text("  MIIEvQIBADANBgkqhkiG9w0") == "  [secret KEY]"


def test_plain_data_is_hidden_at_every_depth_and_keeps_its_shape():
    veil = Veil({"TOKEN": VALUE})
    assert veil.plain({"a": [VALUE, 3, None], VALUE: {"b": VALUE.encode()}}) == {
        "a": ["[secret TOKEN]", 3, None],
        "[secret TOKEN]": {"b": b"[secret TOKEN]"},
    }


def test_a_value_within_a_value_leaves_nothing_of_either():
    veil = Veil({"SHORT": "abcdef", "LONG": "abcdefghij"})
    assert veil.text("abcdefghij abcdef") == "[secret LONG] [secret SHORT]"
    assert stream_of({"SHORT": "abcdef", "LONG": "abcdefghij"}, [b"abcdef", b"ghij"]) == b"[secret LONG]"
    assert stream_of({"SHORT": "abcdef", "LONG": "abcdefghij"}, [b"abcdef", b"gh"]) == b"[secret SHORT]gh"


@given(
    st.lists(values_of_people, min_size=1, max_size=3, unique=True),
    st.lists(st.one_of(st.integers(0, 5), st.text(max_size=6)), max_size=12),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_the_pieces_of_a_stream_make_no_difference(values, parts, sizes):
    """Law: a stream in pieces, put together, is the veil over the whole stream."""
    named = {f"S{number}": value for number, value in enumerate(values)}
    text = "".join(values[part % len(values)] if isinstance(part, int) else part for part in parts)
    # Beginnings of values, so that much is held back and turns out to be nothing.
    whole = (text + "".join(value[: len(value) // 2] for value in values) + values[0]).encode("utf-8", "replace")
    pieces, position = [], 0
    while position < len(whole):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(whole[position : position + size])
        position += size
    assert stream_of(named, pieces) == Veil(named).data(whole)


@given(values_of_people, st.integers(1, 5))
def test_no_value_survives_in_any_pieces(value, size):
    data = f"before {value}{value} after".encode()
    given_out = stream_of({"S": value}, [data[n : n + size] for n in range(0, len(data), size)])
    assert given_out == b"before [secret S][secret S] after"


def test_nothing_is_held_back_that_cannot_become_a_value():
    stream = VeiledStream(known({"S": "secret-value"}))
    assert stream.feed(b"progress 50%\r") == b"progress 50%\r"
    assert stream.feed(b"ends in secr") == b"ends in "
    assert stream.feed(b"etly ") == b"secretly "
    assert stream.finish() == b""


def test_each_stream_of_a_command_has_a_memory_of_its_own():
    pieces = [("stdout", b"secret-"), ("stderr", b"secret-"), ("stdout", b"value"), ("stderr", b"s")]
    shown = {"stdout": b"", "stderr": b""}
    for name, data in veiled(known({"S": "secret-value"}), pieces):
        shown[name] += data
    assert shown == {"stdout": b"[secret S]", "stderr": b"secret-s"}


def test_a_value_learnt_while_a_stream_runs_is_hidden_from_then_on():
    values = Values()
    stream = VeiledStream(values)
    assert stream.feed(b"secret-value ") == b"secret-value "
    values.add("S", "secret-value")
    assert stream.feed(b"secret-value ") == b"[secret S] "


def known(named: dict[str, str]) -> Values:
    values = Values()
    for name, value in named.items():
        values.add(name, value)
    return values


def stream_of(named: dict[str, str], pieces: list[bytes]) -> bytes:
    stream = VeiledStream(known(named))
    return b"".join([*map(stream.feed, pieces), stream.finish()])
