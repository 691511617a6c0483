from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from host_bridge import config as config_module
from host_bridge.config import (
    HostConfig,
    SecretSettings,
    audit_folder,
    config_folder,
    load_config,
    sounds_secret,
    state_folder,
)
from host_bridge.config.misfits import misfit
from host_bridge.errors import ConfigurationError
from host_bridge.tools.terminal_settings import TerminalSettings

FULL = """
[session]
profile = "read-only"
principal = "nightly"
ask_timeout_seconds = 60
[policy]
files = ["rules.toml", "/etc/hermes/rules.toml", "~/own.toml"]
[audit]
folder = "logs"
arguments = "digest"
[budgets]
calls = 100
seconds = 12.5
[environment]
pass = ["KUBECONFIG"]
set = { GITHUB_TOKEN = "x" }
[bridge]
socket = "~/run/bridge.sock"
[secrets.GITEA_TOKEN]
source = "file:tokens/gitea"
tools = ["terminal(git push *)"]
hosts = ["git.example.org"]
[secrets.OTHER]
source = "env:OTHER"
[tools.web_search]
provider = "ddgs"
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        return path

    return write


def test_every_key_is_read_and_every_path_made_absolute(write, tmp_path: Path) -> None:
    config = load_config(write(FULL))
    assert config.session.profile == "read-only"
    assert config.session.principal == "nightly"
    assert config.policy.files == (
        str(tmp_path / "rules.toml"),
        "/etc/hermes/rules.toml",
        str(Path("~/own.toml").expanduser()),
    )
    assert config.audit.folder == str(tmp_path / "logs")
    assert audit_folder(config) == tmp_path / "logs"
    assert (config.budgets.calls, config.budgets.bytes, config.budgets.seconds) == (100, None, 12.5)
    assert config.environment.pass_names == ("KUBECONFIG",)
    assert config.environment.set == {"GITHUB_TOKEN": "x"}
    assert config.bridge.socket == str(Path("~/run/bridge.sock").expanduser())
    assert config.secrets["GITEA_TOKEN"].source == f"file:{tmp_path / 'tokens/gitea'}"
    assert config.secrets["GITEA_TOKEN"].tools == ("terminal(git push *)",)
    assert config.secrets["OTHER"] == SecretSettings(source="env:OTHER")
    assert config.tools == {"web_search": {"provider": "ddgs"}}


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("profile = 1", "profile", "there is no key `profile`"),
        (
            "[session]\nprofil = 'full'",
            "session.profil",
            r"there is no key `profil` in \[session\]; did you mean `profile`\?",
        ),
        ("[session]\nprofile = 3", "session.profile", r"\[session\] profile must be text, not a number"),
        ("[session]\nprincipal = ''", "session.principal", r"\[session\] principal must not be empty"),
        ("[audit]\narguments = 'none'", "audit.arguments", "must be 'full' or 'digest', not 'none'"),
        ("[sandbox]\nbackend = 'bwrap'", "sandbox.backend", "must be 'auto', 'bubblewrap', 'landlock' or 'none'"),
        ("session = 3", "session", "session must be a table, not a number"),
        ("[limits]\ncpus = true", "limits.cpus", r"\[limits\] cpus must be a number, not true or false"),
        ("[secrets.A]\ntools = []", "secrets[...].source", r"\[secrets\[...\]\] source is missing"),
        ("[budgets]\ncalls = -1", "budgets.calls", r"\[budgets\] calls must be a number of at least 0"),
        ("[budgets]\ncall = 1", "budgets.call", r"there is no key `call` in \[budgets\]; did you mean `calls`\?"),
        ("[policy]\nfiles = [1]", "policy.files[0]", r"\[policy\] files\[0\] must be text, not a number"),
        ("[environment]\npass = ['AWS_SECRET_ACCESS_KEY']", "environment.pass", "sounds like a secret"),
        ("[tools]\nweb_search = 3", "tools[...]", "a value of `tools` must be a table, not a number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place_in_plain_words(write, text: str, key: str, problem: str) -> None:
    path = write(text)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_config(path)
    assert (caught.value.path, caught.value.key) == (str(path), key)
    assert str(path) in str(caught.value)
    assert "Expected" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"confinement": "bwrap"}, "[tools.terminal] confinement must be 'host' or 'workspace', not 'bwrap'"),
        ({"confinment": "host"}, "there is no key `confinment` in [tools.terminal]; did you mean `confinement`?"),
        ({"host_for": "ls"}, "[tools.terminal] host_for must be a list, not text"),
    ],
)
def test_a_tools_own_settings_are_told_as_the_file_has_them(table: dict[str, object], told: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(table, type=TerminalSettings)
    assert misfit(caught.value, TerminalSettings, "tools.terminal")[1] == told


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[session", "not valid TOML"),
        (b"[session]\nprofile = '\xff'", "not UTF-8 at byte 21"),
        (b"#" * (config_module.MAX_CONFIG_BYTES + 1), "is it the right file"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(write, content: bytes, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_config(write(content))


def test_an_empty_file_and_an_absent_one_are_the_defaults(
    write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(config_module.CONFIG_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    assert load_config() == HostConfig() == load_config(write(""))


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such configuration file"):
        load_config(tmp_path / "absent.toml")
    monkeypatch.setenv(config_module.CONFIG_VARIABLE, str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigurationError, match="no such configuration file"):
        load_config()


def test_the_variable_names_the_file(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config_module.CONFIG_VARIABLE, str(write("[session]\nprincipal = 'named'")))
    assert load_config().session.principal == "named"


def test_the_users_folders_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    assert config_folder() == tmp_path / "c" / "hermes-runtime"
    assert state_folder() == tmp_path / "s" / "hermes-runtime"
    assert audit_folder(HostConfig()) == tmp_path / "s" / "hermes-runtime" / "audit"


def test_a_file_anybody_may_write_carries_no_authority(write) -> None:
    path = write("")
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="chmod o-w"):
        load_config(path)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"can't be read|not a regular file"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "secret"),
    [("OPENAI_API_KEY", True), ("github_token", True), ("DB_PASSWORD", True), ("PATH", False), ("LC_ALL", False)],
)
def test_names_that_sound_secret_are_known(name: str, secret: bool) -> None:
    assert sounds_secret(name) is secret
