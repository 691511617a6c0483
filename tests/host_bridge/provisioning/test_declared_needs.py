"""What a declaration does to a session: budgets go down and never up, and only a person's yes to this very source counts."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from host_bridge.config import BudgetSettings, DeclarationSettings, HostConfig
from host_bridge.control import SessionConfig
from host_bridge.declarations.accepted import MAX_ACCEPTED, AcceptedDeclarations
from host_bridge.errors import ConfigurationError, DeclarationError, PolicyError
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, PathResource
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.provisioning.session_config import Circumstances, session_config

NEEDS = {"allow": ["read_file(./data/**)"], "budgets": {"calls": 20}}


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def opened(tmp_path: Path, host: HostConfig | None = None, **options: object) -> SessionConfig:
    given = Circumstances(endpoint="ipc:///x", server_keys=("a", "b"), cwd=str(tmp_path))
    options = {"notebook": "/n.ipynb", "notebook_digest": "d1", "notebook_permissions": NEEDS, **options}
    return session_config(host or HostConfig(), LaunchOptions(**options), given, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(("configured", "in_force"), [(None, 20), (10, 10), (100, 20)])
def test_declared_budgets_only_lower(tmp_path: Path, configured: float | None, in_force: float) -> None:
    host = HostConfig(budgets=BudgetSettings(calls=configured, seconds=9))

    assert opened(tmp_path, host).budgets == {"calls": in_force, "seconds": 9}


@pytest.mark.parametrize(
    ("permissions", "named"),
    [
        ({"budgets": {"cals": 1}}, "cals"),
        ({"budgets": {"calls": -1}}, "budgets"),
        ({"budgets": {"calls": "many"}}, "budgets"),
        ({"budgets": {"calls": float("inf")}}, "calls"),
        ({"budgets": {"calls": float("nan")}}, "budgets"),
        ({"alow": []}, "alow"),
        ({"ask_unless_allowed": []}, "ask_unless_allowed"),
        ({"note": 7}, "note"),
    ],
)
def test_what_a_declaration_can_not_mean_is_refused_by_name(
    tmp_path: Path, permissions: dict[str, object], named: str
) -> None:
    with pytest.raises(PolicyError, match=named) as refused:
        opened(tmp_path, notebook_permissions=permissions)

    assert refused.value.key.startswith("metadata.hermes.permissions")


def test_only_this_source_for_this_principal_counts_as_accepted(tmp_path: Path) -> None:
    AcceptedDeclarations().accept(principal="nightly", digest="d1", notebook="/n.ipynb", permissions=NEEDS)

    assert opened(tmp_path, principal="nightly").declaration_accepted
    assert not opened(tmp_path).declaration_accepted
    assert not opened(tmp_path, principal="nightly", notebook_digest="d2").declaration_accepted
    assert not opened(tmp_path, principal="nightly", notebook_digest="").declaration_accepted
    assert not opened(tmp_path, principal="nightly", notebook_permissions=None).declaration_accepted


def test_what_a_server_opened_is_found_by_its_file_alone(tmp_path: Path) -> None:
    AcceptedDeclarations().accept(principal="default", digest="d1", notebook="/n.ipynb", permissions=NEEDS)
    given = Circumstances(
        endpoint="ipc:///x",
        server_keys=("a", "b"),
        cwd=str(tmp_path),
        notebook="/n.ipynb",
        notebook_permissions=NEEDS,
        notebook_digest="d1",
    )

    config = session_config(HostConfig(), LaunchOptions(), given, {})
    assert config.declaration_accepted
    assert config.budgets == {"calls": 20}
    changed = dataclasses.replace(given, notebook_digest="d2")
    assert not session_config(HostConfig(), LaunchOptions(), changed, {}).declaration_accepted


def test_no_call_may_write_what_was_accepted(tmp_path: Path) -> None:
    store = AcceptedDeclarations()
    config = opened(tmp_path)
    policy = load_policy(profile="full", workspace=config.workspace, protected_paths=(config.accepted_path,))
    request = AccessRequest("default", "write_file", (PathResource(str(store.path), None, Access.WRITE),))

    assert config.accepted_path == str(store.path)
    assert decide(policy, request).rule_id == "floor:in-use"


def test_an_acceptance_for_one_run_is_for_the_source_that_was_shown(tmp_path: Path) -> None:
    assert opened(tmp_path, accepted_digest="d1").declaration_accepted
    assert not opened(tmp_path, accepted_digest="d0").declaration_accepted
    assert not opened(tmp_path, accepted_digest="", notebook_digest="").declaration_accepted
    assert AcceptedDeclarations().all() == ()


def test_unknown_declarations_are_refused_where_the_configuration_says_so(tmp_path: Path) -> None:
    host = HostConfig(declarations=DeclarationSettings(unknown="refuse", trusted_paths=(str(tmp_path / "mine"),)))

    with pytest.raises(DeclarationError, match="permissions accept") as refused:
        opened(tmp_path, host)
    assert refused.value.path == "/n.ipynb"
    assert opened(tmp_path, host, notebook_permissions=None).notebook_permissions is None
    trusted = opened(tmp_path, host, notebook=str(tmp_path / "mine" / "n.ipynb"))
    assert not trusted.declaration_accepted  # it runs without review; its asks are still asked
    AcceptedDeclarations().accept(principal="default", digest="d1", notebook="/n.ipynb", permissions=NEEDS)
    assert opened(tmp_path, host).declaration_accepted


def test_a_declaration_that_vanished_is_refused_too(tmp_path: Path) -> None:
    host = HostConfig(declarations=DeclarationSettings(unknown="refuse"))
    AcceptedDeclarations().accept(principal="default", digest="d1", notebook="/n.ipynb", permissions=NEEDS)

    with pytest.raises(DeclarationError, match="no longer declares"):
        opened(tmp_path, host, notebook_permissions=None, notebook_digest="d2")


def test_what_was_accepted_is_private_bounded_and_revocable() -> None:
    store = AcceptedDeclarations()
    for number in range(3):
        store.accept(principal="p", digest=f"d{number}", notebook="/n.ipynb", permissions={"allow": [f"tool{number}"]})

    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in store.path.parent.iterdir()].count("accepted.json") == 1
    latest = store.latest("p", "/n.ipynb")
    assert latest is not None
    assert latest.permissions == {"allow": ["tool2"]}
    assert store.revoke(lambda one: one.digest == "d2") == 1
    assert [one.digest for one in store.all()] == ["d0", "d1"]
    assert not store.is_accepted("p", "d2")


def test_the_oldest_acceptances_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_bridge.declarations.accepted.MAX_ACCEPTED", 3)
    assert MAX_ACCEPTED >= 100
    store = AcceptedDeclarations()
    for number in (1, 2, 3, 1, 4):
        store.accept(principal="p", digest=f"d{number}", notebook="", permissions={})

    assert [one.digest for one in store.all()] == ["d3", "d1", "d4"]


@pytest.mark.parametrize("content", [b"", b"{}x", b'{"version": 2}', b'{"version": 1, "accepted": [{"digest": "d1"}]}'])
def test_a_damaged_store_accepts_nothing_and_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = AcceptedDeclarations().path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match="move the file away"):
        opened(tmp_path)


def test_a_store_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    store = AcceptedDeclarations()
    store.accept(principal="default", digest="d1", notebook="", permissions=NEEDS)
    store.path.chmod(0o666)

    with pytest.raises(ConfigurationError, match="written by others"):
        opened(tmp_path)
