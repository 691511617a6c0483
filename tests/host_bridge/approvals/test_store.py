from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import msgspec
import pytest

from host_bridge.approvals.store import NotebookGrant, NotebookGrants
from host_bridge.errors import ConfigurationError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "grants.json"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def grants(path: Path, warnings: list[str]) -> NotebookGrants:
    return NotebookGrants(path, warnings.append)


def grant(**fields) -> NotebookGrant:
    return NotebookGrant(
        **{
            "notebook_digest": "n" * 64,
            "principal": "default",
            "workspace": "/workspace",
            "tool": "terminal",
            "call_digest": "c" * 64,
            "rule_id": "user:rules.ask[0]",
            **fields,
        }
    )


def test_a_grant_is_found_by_another_session_and_only_its_owner_can_read_it(grants, path):
    added = grants.add(grant(by="terminal", notebook="/home/me/report.ipynb", summary="git push"))
    assert NotebookGrants(path, pytest.fail).find(grant()) == added
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert added.is_whole


@pytest.mark.parametrize(
    "other",
    [
        {"notebook_digest": "m" * 64},
        {"principal": "nightly"},
        {"workspace": "/elsewhere"},
        {"tool": "read_file"},
        {"call_digest": "d" * 64},
        {"rule_id": "project:rules.ask[0]"},
        {"untrusted": True},
    ],
)
def test_a_grant_is_for_one_notebook_agent_workspace_call_and_rule(grants, other):
    grants.add(grant())
    assert grants.find(grant(**other)) is None


def test_a_revoked_grant_is_asked_for_again_by_sessions_that_run(grants, path):
    added = grants.add(grant())
    running = NotebookGrants(path, pytest.fail)
    assert running.find(grant()) is not None
    assert grants.revoke(lambda one: one.id == added.id) == 1
    assert running.find(grant()) is None


def test_a_grant_changed_by_hand_is_not_used_and_warned_of(grants, path, warnings):
    grants.add(grant())
    grants.add(grant(call_digest="d" * 64))
    content = json.loads(path.read_text())
    content["grants"][0]["call_digest"] = "e" * 64
    path.write_text(json.dumps(content))
    assert grants.find(grant(call_digest="e" * 64)) is None
    assert grants.find(grant(call_digest="d" * 64)) is not None
    assert "1 grants were changed by hand" in warnings[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 2, "grants": []}', b'{"grant": []}', b"\xff" * 99])
def test_a_damaged_file_gives_no_grant_and_a_warning_and_is_never_overwritten(grants, path, warnings, content):
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    assert grants.find(grant()) is None
    assert len(warnings) == 1
    with pytest.raises(ConfigurationError, match="move the file away"):
        grants.add(grant())
    assert path.read_bytes() == content


def test_a_file_that_others_can_reach_a_link_and_a_second_name_give_no_grant(grants, path, tmp_path, warnings):
    grants.add(grant())
    path.chmod(0o640)
    assert grants.find(grant()) is None
    path.chmod(0o600)
    assert grants.find(grant()) is not None
    os.link(path, tmp_path / "other")
    assert grants.find(grant()) is None
    (tmp_path / "other").unlink()
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert grants.find(grant()) is None
    assert len(warnings) == 3


def test_sessions_that_write_at_once_lose_nothing(path):
    def add(number: int) -> None:
        NotebookGrants(path, pytest.fail).add(grant(call_digest=f"{number:064}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(NotebookGrants(path, pytest.fail).all()) == 16
    assert {entry.name for entry in path.parent.iterdir()} == {".lock", "grants.json"}


def test_what_cannot_be_written_is_said(path):
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"can't be (written|read)"):
        NotebookGrants(path, pytest.fail).add(grant())


def test_the_same_yes_again_is_one_grant(grants):
    first = grants.add(grant(granted="2026-01-01T00:00:00Z"))
    second = grants.add(grant(granted="2026-01-02T00:00:00Z"))
    assert first.id != second.id
    assert grants.all() == (second,)
    assert not msgspec.structs.replace(second, tool="patch").is_whole
