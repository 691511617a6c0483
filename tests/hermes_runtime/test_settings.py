"""The ticket is read once, and nothing of it is left to be seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hermes_protocol.ticket import TICKET_FILE_VARIABLE, TICKET_VARIABLE, Ticket, encode_ticket
from hermes_runtime._settings import take_ticket
from hermes_runtime.testing import FakeHost

TICKET = Ticket(
    session_id="s", endpoint="ipc:///nowhere", server_public_key="a" * 40, public_key="b" * 40, secret_key="c" * 40
)


def test_a_file_is_read_and_removed_with_its_variable(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    path.write_text(encode_ticket(TICKET))
    environment = {TICKET_FILE_VARIABLE: str(path), "OTHER": "stays"}
    assert take_ticket(environment) == (TICKET, "")
    assert environment == {"OTHER": "stays"}
    assert not path.exists()


def test_an_inline_ticket_is_read_and_removed() -> None:
    environment = {TICKET_VARIABLE: encode_ticket(TICKET)}
    assert take_ticket(environment) == (TICKET, "")
    assert environment == {}


def test_both_are_removed_where_both_are_given(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    path.write_text(encode_ticket(TICKET))
    environment = {TICKET_FILE_VARIABLE: str(path), TICKET_VARIABLE: "x"}
    assert take_ticket(environment)[0] == TICKET
    assert environment == {}


def test_no_ticket_is_no_problem() -> None:
    assert take_ticket({}) == (None, "")


@pytest.mark.parametrize("content", ["", "not JSON", "{}", '{"session_id": 3}', "\xff"])
def test_a_ticket_that_cannot_be_used_is_removed_and_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ticket"
    path.write_text(content, encoding="latin-1")
    environment = {TICKET_FILE_VARIABLE: str(path)}
    ticket, problem = take_ticket(environment)
    assert ticket is None
    assert environment == {}
    assert not path.exists()
    assert not content or "can't be used" in problem


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    ticket, problem = take_ticket({TICKET_FILE_VARIABLE: str(tmp_path / "gone")})
    assert ticket is None
    assert "gone" in problem


def test_after_the_import_no_subprocess_and_no_variable_shows_the_secret(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
import hermes_runtime as hermes
secret = sys.argv[1]
assert hermes.call("echo", word="works") == "works"
assert secret not in repr(dict(os.environ))
assert secret not in subprocess.run(["env"], capture_output=True, text=True).stdout
assert not any(secret in repr(value) for value in vars(hermes).values())
assert secret not in repr(hermes._client.current().ticket)
"""
    with FakeHost({"echo": lambda word: word}) as host:
        path = tmp_path / "ticket"
        path.write_text(encode_ticket(host.ticket))
        ran = subprocess.run(
            [sys.executable, "-c", code, host.ticket.secret_key],
            env={TICKET_FILE_VARIABLE: str(path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr
    assert not path.exists()


def test_an_import_survives_a_broken_ticket_and_the_first_call_says_it(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    path.write_text("broken")
    ran = subprocess.run(
        [sys.executable, "-c", "import hermes_runtime as hermes; print('imported'); hermes.status()"],
        env={TICKET_FILE_VARIABLE: str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "imported\n"
    assert "BridgeUnavailableError: the ticket given to this kernel can't be used: not a session ticket" in ran.stderr
