from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from host_bridge.config import (
    AuditSettings,
    BudgetSettings,
    EnvironmentSettings,
    HostConfig,
    PolicySettings,
    SessionSettings,
)
from host_bridge.control import TapeOrders
from host_bridge.errors import AuditError, ConfigurationError
from host_bridge.provisioning import session_config as session_config_module
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.provisioning.session_config import Circumstances, narrower, new_session_id, session_config


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def given(tmp_path: Path) -> Circumstances:
    return Circumstances(endpoint="ipc:///e", server_keys=("public", "secret"), cwd=str(tmp_path))


def test_without_a_word_from_anybody_it_is_the_defaults(given: Circumstances, tmp_path: Path) -> None:
    config = session_config(HostConfig(), LaunchOptions(), given, {"PATH": "/bin", "TOKEN": "x"})
    assert (config.profile, config.principal, config.workspace) == ("workspace", "default", str(tmp_path))
    assert (config.server_public_key, config.server_secret_key) == ("public", "secret")
    assert config.policy_paths == config.policy_texts == ()
    assert config.environment == {"PATH": "/bin"}
    assert config.budgets == {}
    assert not config.interactive
    audit = Path(config.audit_path)
    assert audit == tmp_path / "state" / "hermes-runtime" / "audit" / f"{config.session_id}.jsonl"
    assert stat.S_IMODE(audit.parent.stat().st_mode) == 0o700


def test_the_application_speaks_before_the_environment_and_that_before_the_file(given: Circumstances) -> None:
    host = HostConfig(session=SessionSettings(principal="file"))
    variable = {"HERMES_RUNTIME_PRINCIPAL": "variable"}
    assert session_config(host, LaunchOptions(principal="application"), given, variable).principal == "application"
    assert session_config(host, LaunchOptions(), given, variable).principal == "variable"
    assert session_config(host, LaunchOptions(), given, {}).principal == "file"


@pytest.mark.parametrize(
    ("profile", "wish", "result"),
    [
        ("workspace", "", "workspace"),
        ("workspace", "read-only", "read-only"),
        ("workspace", "full", "workspace"),
        ("read-only", "workspace", "read-only"),
        ("full", "workspace", "workspace"),
        ("misspelt", "full", "misspelt"),
        ("misspelt", "read-only", "misspelt"),
    ],
)
def test_a_kernel_spec_only_narrows(profile: str, wish: str, result: str) -> None:
    assert narrower(profile, wish) == result


def test_a_kernel_spec_cannot_wish_for_what_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="read-only, workspace, full") as caught:
        narrower("workspace", "everything")
    assert caught.value.key.endswith("config.profile")


def test_a_kernel_spec_does_not_widen_what_the_application_chose(given: Circumstances) -> None:
    given = dataclasses.replace(given, kernelspec_profile="full")
    assert session_config(HostConfig(), LaunchOptions(profile="read-only"), given, {}).profile == "read-only"


def test_rules_come_in_order_of_authority(
    given: Circumstances, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tmp_path / "system.toml"
    machine.write_text("")
    monkeypatch.setattr(session_config_module, "SYSTEM_POLICY", machine)
    (tmp_path / "hermes.toml").symlink_to("nowhere")
    own = tmp_path / "config" / "hermes-runtime" / "policy.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    monkeypatch.chdir(tmp_path)
    host = HostConfig(policy=PolicySettings(files=("/etc/more.toml",)))
    options = LaunchOptions(policy_files=("run.toml",), policy_rules="text")
    config = session_config(host, options, given, {})
    assert config.policy_paths == (
        ("system", str(machine)),
        ("user", str(own)),
        ("user", "/etc/more.toml"),
        ("run", str(tmp_path / "run.toml")),
        ("project", str(tmp_path / "hermes.toml")),
    )
    assert [text for _, text in config.policy_texts] == ["text"]


def test_everything_the_application_says_arrives(given: Circumstances, tmp_path: Path) -> None:
    options = LaunchOptions(
        notebook="/n.ipynb",
        notebook_permissions={"allow": []},
        run_id="r1",
        audit_path=str(tmp_path / "audit.jsonl"),
        secrets=("hunter2",),
        marks_cells=True,
        budgets={"calls": 5},
    )
    host = HostConfig(
        budgets=BudgetSettings(calls=100, seconds=9),
        audit=AuditSettings(arguments="digest"),
        tools={"web_search": {"provider": "x"}},
        environment=EnvironmentSettings(set={"A": "b"}),
    )
    config = session_config(host, options, dataclasses.replace(given, interactive=True), {})
    assert (config.notebook, config.notebook_permissions, config.run_id) == ("/n.ipynb", {"allow": []}, "r1")
    assert (config.audit_path, config.audit_arguments) == (str(tmp_path / "audit.jsonl"), "digest")
    assert config.secrets == ("hunter2",)
    assert config.marks_cells
    assert config.interactive
    assert config.budgets == {"calls": 5, "seconds": 9}
    assert config.tool_settings == {"web_search": {"provider": "x"}}
    assert config.environment == {"A": "b"}
    assert not (tmp_path / "state").exists()


def test_what_a_notebook_declares_stands_unless_the_application_says_it(given: Circumstances) -> None:
    given = dataclasses.replace(given, notebook="/server.ipynb", notebook_permissions={"allow": ["a"]})
    config = session_config(HostConfig(), LaunchOptions(), given, {})
    assert (config.notebook, config.notebook_permissions) == ("/server.ipynb", {"allow": ["a"]})
    # Declaring nothing at all and declaring an empty list are different things.
    assert session_config(HostConfig(), LaunchOptions(notebook_permissions={}), given, {}).notebook_permissions == {}


def test_the_workspace_is_a_folder_without_links_in_its_name(given: Circumstances, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    options = LaunchOptions(workspace=str(tmp_path / "link"))
    assert session_config(HostConfig(), options, given, {}).workspace == str(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="not a folder"):
        session_config(HostConfig(), LaunchOptions(workspace=str(tmp_path / "absent")), given, {})


def test_a_budget_nobody_counts_is_refused(given: Circumstances) -> None:
    with pytest.raises(ConfigurationError, match="did you mean calls") as caught:
        session_config(HostConfig(), LaunchOptions(budgets={"cals": 1}), given, {})
    assert caught.value.key == "budgets.cals"


def test_where_no_log_can_be_written_nothing_starts(given: Circumstances, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host = HostConfig(audit=AuditSettings(folder=str(tmp_path / "file" / "audit")))
    with pytest.raises(AuditError, match=r"audit\.folder"):
        session_config(host, LaunchOptions(), given, {})


def test_session_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_session_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [name[:15] for name in ids] == sorted(name[:15] for name in ids)


def test_a_secret_is_not_shown_with_the_options() -> None:
    assert "hunter2" not in repr(LaunchOptions(secrets=("hunter2",)))


def test_a_tools_key_is_read_from_the_variable_its_settings_name_and_kept_out_of_records(given: Circumstances) -> None:
    tables = {
        "web_search": {"provider": "brave", "api_key_env": "SEARCH_KEY"},
        "other": {"api_key_env": "NOT_SET", "x": 1},
    }
    host = HostConfig(tools=tables)
    config = session_config(host, LaunchOptions(secrets=("s",)), given, {"SEARCH_KEY": "k-123\n"})
    assert config.tool_settings == {
        "web_search": {"provider": "brave", "api_key_env": "SEARCH_KEY", "api_key": "k-123"},
        "other": {"api_key_env": "NOT_SET", "x": 1},
    }
    assert config.secrets == ("s", "k-123")
    assert "k-123" not in config.environment.values()
    assert "api_key" not in tables["web_search"]


def test_a_confined_kernels_tape_is_not_written_where_it_works(given: Circumstances, tmp_path: Path) -> None:
    within = LaunchOptions(tape=TapeOrders(path=str(tmp_path / "state" / "tape")))
    with pytest.raises(ConfigurationError, match="--no-tape"):
        session_config(HostConfig(), within, dataclasses.replace(given, confinement="bubblewrap"), {})
    assert session_config(HostConfig(), within, given, {}).tape == within.tape
    elsewhere = dataclasses.replace(given, cwd=str(tmp_path.parent), confinement="bubblewrap")
    workspace = tmp_path / "work"
    workspace.mkdir()
    options = dataclasses.replace(within, workspace=str(workspace))
    assert session_config(HostConfig(), options, elsewhere, {}).tape == within.tape
