"""What the doctor makes of a cell that tries to get out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from host_bridge.doctor import Status, escapes

HELD = {name: {"loot": None, "error": "PermissionError: no"} for name in escapes.ATTEMPTS}


def statuses(printed: str, taken: set[str], confinement: str) -> dict[str, Status]:
    return {finding.subject: finding.status for finding in escapes.judge(printed, taken, confinement)}


def test_a_process_that_nothing_confines_takes_every_bait() -> None:
    with escapes.bait() as bait:
        printed = subprocess.run([sys.executable, "-c", bait.cell], capture_output=True, text=True, check=True).stdout
        taken = bait.taken()
        results = json.loads(printed)

    assert {"write outside", "TCP", "UDP", "unix sockets", "abstract socket"} <= taken
    assert [name for name in escapes.ATTEMPTS if not results[name]["loot"] and name not in taken] == []
    assert escapes.BAIT_VARIABLE not in os.environ
    [escaped] = escapes.judge(printed, taken, "none")
    assert (escaped.status, escaped.facts["escaped"]) == (Status.WARNING, list(escapes.ATTEMPTS))


def test_nothing_is_left_of_the_baits() -> None:
    with escapes.bait() as bait:
        facts = json.loads(bait.cell[bait.cell.index("{") : bait.cell.index("}") + 1])
    assert not Path(facts["file"]).parent.exists()
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", facts["tcp"]))


def test_a_confinement_that_holds_is_said_attempt_by_attempt() -> None:
    found = statuses(json.dumps(HELD), set(), "bubblewrap")

    assert found == dict.fromkeys(escapes.ATTEMPTS, Status.OK)


@pytest.mark.parametrize("name", escapes.ATTEMPTS)
def test_each_escape_is_a_failure_whether_the_cell_says_so_or_the_host_sees_it(name: str) -> None:
    told = json.dumps({**HELD, name: {"loot": "something", "error": ""}})

    assert statuses(told, set(), "bubblewrap")[name] is Status.FAILURE
    assert statuses(json.dumps(HELD), {name}, "landlock")[name] is Status.FAILURE


def test_a_network_that_was_declared_is_a_note() -> None:
    found = statuses(json.dumps(HELD), {"TCP", "unix sockets"}, "bubblewrap, network full")

    assert (found["TCP"], found["unix sockets"]) == (Status.WARNING, Status.FAILURE)


@pytest.mark.parametrize("printed", ["", "no JSON", "[]", "null", "{}", '{"TCP": {}}', '{"TCP": 1}'])
def test_a_cell_that_says_nothing_of_use_is_a_failure(printed: str) -> None:
    [found] = escapes.judge(printed, set(), "bubblewrap")

    assert found.status is Status.FAILURE
