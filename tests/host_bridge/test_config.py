from __future__ import annotations

from pathlib import Path

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
from host_bridge.errors import ConfigurationError

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
        ("profile = 1", "profile", "unknown key"),
        ("[session]\nprofil = 'full'", "session.profil", "unknown key"),
        ("[session]\nprofile = 3", "session.profile", "Expected `str`"),
        ("[session]\nprincipal = ''", "session.principal", "length"),
        ("[audit]\narguments = 'none'", "audit.arguments", "'none'; choose one of 'full', 'digest'"),
        ("[sandbox]\nbackend = 'bwrap'", "sandbox.backend", "one of 'auto', 'bubblewrap', 'landlock', 'none'"),
        ("[budgets]\ncalls = -1", "budgets.calls", ">= 0"),
        ("[budgets]\ncall = 1", "budgets.call", "unknown key"),
        ("[policy]\nfiles = [1]", "policy.files[0]", "Expected `str`"),
        ("[environment]\npass = ['AWS_SECRET_ACCESS_KEY']", "environment.pass", "sounds like a secret"),
        ("[tools]\nweb_search = 3", "tools[...]", "Expected `object`"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(write, text: str, key: str, problem: str) -> None:
    path = write(text)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_config(path)
    assert (caught.value.path, caught.value.key) == (str(path), key)
    assert str(path) in str(caught.value)


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
