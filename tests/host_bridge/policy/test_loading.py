from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from host_bridge.errors import PolicyError
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import MAX_POLICY_BYTES, PROFILES, check, load_policy
from host_bridge.policy.model import Access, AccessRequest, Effect, PathResource


def refused(tmp_path, content: str | bytes) -> PolicyError:
    file = tmp_path / "p.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PolicyError) as caught:
        load_policy(profile="workspace", paths=[("user", str(file))])
    assert caught.value.path == str(file)
    assert str(file) in str(caught.value)
    with pytest.raises(PolicyError):
        check(str(file))
    return caught.value


@pytest.mark.parametrize(
    ("content", "key", "hint"),
    [
        ("", "version", "version = 1"),
        ("[rules]\n", "version", "missing"),
        ("version = 2\n", "version", "2"),
        ("version = true\n", "version", "True"),
        ('version = "1"\n', "version", "'1'"),
        ("version = 1\nprofil = 3\n", "profil", "unknown"),
        ("version = 1\nrule = {}\n", "rule", "did you mean rules"),
        ("version = 1\n[rules]\nalow = []\n", "rules.alow", "did you mean allow"),
        ("version = 1\n[rules]\npermit = []\n", "rules.permit", "allow, ask, deny"),
        ('version = 1\n[rules]\nallow = "x"\n', "rules.allow", "must be a list, not text"),
        ("version = 1\n[rules]\nallow = [3]\n", "rules.allow[0]", "must be text or a table, not a number"),
        ('version = 1\n[rules]\ndeny = ["read_file", "x y"]\n', "rules.deny[1]", "no rule"),
        ('version = 1\n[rules]\nallow = ["terminal(bash *)"]\n', "rules.allow[0]", "bash"),
        ('version = 1\n[rules]\nallow = ["*(./x)"]\n', "rules.allow[0]", "full"),
        ("version = 1\n[agents.bot]\nrule = {}\n", "agents.bot.rule", "unknown"),
        ("version = 1\n[agents.bot.rules]\nallw = []\n", "agents.bot.rules.allw", "did you mean allow"),
        ('version = 1\n[agents.bot.rules]\nask = [""]\n', "agents.bot.rules.ask[0]", "no rule"),
        ("version = 1\nagents = 3\n", "agents", "must be a table, not a number"),
        ('version = 1\n[agents."a b".rules]\n', "agents", "a b"),
    ],
)
def test_what_can_not_be_meant_is_refused_by_file_and_key(tmp_path, content, key, hint):
    error = refused(tmp_path, content)
    assert error.key == key
    assert hint in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "version = 1\n[rules",
        "version = 1\nversion = 1\n",
        "x = " + "[" * 100_000,
        b"version = 1\n# \xff\n",
        b"\x00",
        "version = 1\n#" + "x" * MAX_POLICY_BYTES,
    ],
    ids=["toml", "twice", "deep", "utf-8", "nul", "large"],
)
def test_what_is_no_policy_file_is_refused(tmp_path, content):
    refused(tmp_path, content)


def test_files_that_are_none_are_refused(tmp_path):
    real = tmp_path / "real.toml"
    real.write_text("version = 1\n")
    (tmp_path / "link.toml").symlink_to(real)
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    open_to_all = tmp_path / "open.toml"
    open_to_all.write_text("version = 1\n")
    open_to_all.chmod(0o666)
    for name in ("link", "pipe", "folder", "open", "missing"):
        path = str(tmp_path / f"{name}.toml")
        with pytest.raises(PolicyError) as caught:
            load_policy(profile="workspace", paths=[("user", path)])
        assert caught.value.path == path
    with pytest.raises(PolicyError):
        load_policy(profile="workspace", paths=[("user", "a\0b")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text("version = 1\n")
    file.chmod(0)
    with pytest.raises(PolicyError):
        load_policy(profile="workspace", paths=[("user", str(file))])


def test_an_unknown_profile_gets_a_suggestion():
    with pytest.raises(PolicyError, match="did you mean workspace"):
        load_policy(profile="workspce")
    with pytest.raises(PolicyError):
        load_policy(profile="../../etc/passwd")


def test_a_rule_for_an_unknown_tool_is_refused_where_the_tools_are_known():
    texts = [("user", '[rules]\nallow = ["read_fiel(./x)"]')]
    load_policy(profile="workspace", texts=texts)
    with pytest.raises(PolicyError, match="did you mean read_file") as caught:
        load_policy(profile="workspace", texts=texts, known_tools=["read_file", "add"])
    assert caught.value.key == "rules.allow[0]"
    load_policy(profile="workspace", texts=[("user", '[rules]\nallow = ["add"]\ndeny = ["*"]')], known_tools=["add"])


@pytest.mark.parametrize(
    ("permissions", "key"),
    [
        ([], "metadata.hermes.permissions"),
        ({"alow": []}, "metadata.hermes.permissions.alow"),
        ({"allow": "read_file"}, "metadata.hermes.permissions.allow"),
        ({"allow": ["read_file(../x)"]}, "metadata.hermes.permissions.allow[0]"),
        ({"allow": ["*"]}, "metadata.hermes.permissions.allow[0]"),
        ({"allow": [None]}, "metadata.hermes.permissions.allow[0]"),
    ],
)
def test_a_malformed_declaration_refuses_to_run(permissions, key):
    with pytest.raises(PolicyError) as caught:
        load_policy(profile="full", notebook_permissions=permissions)
    assert caught.value.key == key


def test_a_file_that_changes_during_a_session_changes_nothing_in_it(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text('version = 1\n[rules]\ndeny = ["read_file"]\n')
    policy = load_policy(profile="workspace", paths=[("user", str(file))])
    file.write_text("version = 1\n")
    request = AccessRequest("a", "read_file", (PathResource("/ws/a", "a", Access.READ),))
    assert decide(policy, request).effect is Effect.DENY
    assert decide(policy, request).rule_id == "user:rules.deny[0]"


def test_the_digest_names_everything_in_force(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text("version = 1\n")
    digests = {
        load_policy(profile="workspace").digest,
        load_policy(profile="full").digest,
        load_policy(profile="workspace", paths=[("user", str(file))]).digest,
        load_policy(profile="workspace", texts=[("run", '[rules]\nallow = ["add"]')]).digest,
        load_policy(profile="workspace", notebook_permissions={}).digest,
    }
    assert len(digests) == 5
    assert load_policy(profile="workspace").digest in digests


def test_check_says_what_is_in_a_file(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text('version = 1\n[rules]\nallow = ["add"]\n[agents.bot.rules]\ndeny = ["add"]\n')
    checked = check(str(file))
    assert [(rule.text, rule.clause.value, rule.key) for rule in checked.rules] == [
        ("add", "allow", "rules.allow[0]"),
        ("add", "deny", "agents.bot.rules.deny[0]"),
    ]
    assert checked.principals == ("bot",)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_loads_and_states_its_version(profile):
    policy = load_policy(profile=profile)
    assert policy.authority.rules
    text = (
        Path(sys.modules["host_bridge.policy.loading"].__file__)
        .parent.joinpath("profiles", f"{profile}.toml")
        .read_text()
    )
    assert tomllib.loads(text)["version"] == 1


def test_what_read_only_allows_workspace_allows_too():
    narrow = {rule.text for rule in load_policy(profile="read-only").authority.rules}
    wide = {rule.text for rule in load_policy(profile="workspace").authority.rules}
    assert narrow <= wide


def test_loading_a_policy_loads_no_shell_grammar_and_nothing_heavy():
    code = (
        "import sys; from host_bridge.policy.loading import load_policy; load_policy(profile='workspace');"
        "print([name for name in ('tree_sitter', 'httpx', 'zmq', 'nbformat') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_profiles_travel_in_the_wheel(tmp_path):
    pytest.importorskip("hatchling")
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=root,
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"host_bridge/policy/profiles/{profile}.toml" for profile in PROFILES} <= names
    assert {f"host_bridge/policy/starting/{layer}.toml" for layer in ("user", "system", "project")} <= names
