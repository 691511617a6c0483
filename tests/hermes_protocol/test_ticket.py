"""What a kernel is handed."""

from __future__ import annotations

import pytest

from hermes_protocol.ticket import Ticket, decode_ticket, encode_ticket

TICKET = Ticket(
    session_id="s", endpoint="ipc:///x", server_public_key="a" * 40, public_key="b" * 40, secret_key="c" * 40
)


def test_a_ticket_survives_its_text_form():
    assert decode_ticket(encode_ticket(TICKET)) == TICKET


def test_a_ticket_never_shows_its_secret():
    assert "c" * 40 not in repr(TICKET)
    assert "c" * 40 not in f"{TICKET}"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", b"\xff", '{"session_id": 1}', encode_ticket(TICKET)[:-1] + ', "x": 1}']
)
def test_what_is_no_ticket_is_refused(text):
    with pytest.raises(ValueError, match="not a session ticket"):
        decode_ticket(text)
