"""`hermes-runtime grants`, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from notebook_runs import save

from host_bridge.approvals.store import NotebookGrant, NotebookGrants, grants_path
from host_bridge.cli import main
from host_bridge.provisioning.notebook import read_document, source_digest


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookGrants:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return NotebookGrants(grants_path(), pytest.fail)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["grants", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def add(store: NotebookGrants, **fields: str) -> NotebookGrant:
    given = {
        "notebook_digest": "n" * 64,
        "principal": "default",
        "workspace": "/workspace",
        "tool": "terminal",
        "call_digest": "c" * 64,
        "rule_id": "user:rules.ask[0]",
        "notebook": "/workspace/report.ipynb",
        "summary": '{"command": "git push"}',
        **fields,
    }
    return store.add(NotebookGrant(**given))


def test_what_notebooks_were_allowed_is_listed_without_acting_on_the_terminal(
    store: NotebookGrants, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "list") == (0, "", "no grants\n")
    grant = add(store, notebook="/workspace/a\x1b[2J.ipynb")
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert grant.id[:12] in out
    assert "git push" in out
    assert "\x1b" not in out
    assert json.loads(run(capsys, "list", "--json")[1])[0]["id"] == grant.id


def test_only_what_holds_for_a_notebook_as_it_is_now_is_listed(
    store: NotebookGrants, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "now.ipynb", "1 + 1")
    document = read_document(str(path))
    assert document is not None
    grant = add(store, notebook_digest=source_digest(document))
    add(store)
    assert [one["id"] for one in json.loads(run(capsys, "list", "--notebook", str(path), "--json")[1])] == [grant.id]


def test_a_grant_is_taken_back_by_the_beginning_of_its_id(
    store: NotebookGrants, capsys: pytest.CaptureFixture[str]
) -> None:
    grant, other = add(store), add(store, call_digest="d" * 64)
    assert run(capsys, "revoke", grant.id[:8]) == (0, "1 revoked\n", "")
    assert store.all() == (other,)
    code, _, err = run(capsys, "revoke", grant.id[:8])
    assert code == 2
    assert "there is no grant" in err


def test_grants_are_taken_back_by_notebook_or_all(store: NotebookGrants, capsys: pytest.CaptureFixture[str]) -> None:
    add(store)
    add(store, call_digest="d" * 64, notebook="/workspace/other.ipynb")
    assert run(capsys, "revoke", "--notebook", "/workspace/other.ipynb")[:2] == (0, "1 revoked\n")
    assert run(capsys, "revoke", "--notebook", "/workspace/other.ipynb")[0] == 1
    assert run(capsys, "revoke", "--all", "--json")[:2] == (0, '{\n  "revoked": 1\n}\n')
    assert run(capsys, "revoke", "--all")[0] == 0
    assert run(capsys, "revoke")[0] == 2
    assert store.all() == ()
