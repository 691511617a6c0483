from __future__ import annotations

import pytest

from host_bridge.policy.engine import decide
from host_bridge.policy.floor import is_secret
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, Effect, PathResource

PROTECTED = [
    *(
        ".git/hooks/pre-commit",
        ".git/config",
        ".git",
        "sub/.git/config",
        ".GIT/hooks/x",
        ".Git/Config",
        ".git./hooks/x",
        ".git /config",
    ),
    *(
        ".g\u200bit/config",
        ".ｇit/config",
        ".gıt/config".replace("ı", "i"),
        ".git/modules/x/hooks/y",
        ".gitconfig",
        ".gitmodules",
    ),
    *(
        ".vscode/tasks.json",
        ".VSCode/settings.json",
        ".idea/x",
        ".envrc",
        "a/.ENVRC",
        ".mcp.json",
        ".claude/settings.json",
        ".hermes/x",
    ),
    *(
        "hermes.toml",
        "Hermes.TOML",
        "sub/hermes.toml",
        "my.policy.toml",
        "MY.Policy.Toml",
        ".bashrc",
        ".bash_profile",
        ".profile",
        ".zshrc",
    ),
    *(
        ".zshenv",
        ".ssh/authorized_keys",
        ".ipython/profile_default/startup/x.py",
        ".jupyter/x.py",
        "jupyter_server_config.py",
    ),
    *(
        "share/jupyter/kernels/hermes/kernel.json",
        ".config/fish/config.fish",
        ".devcontainer/devcontainer.json",
        ".husky/pre-commit",
    ),
    *(".netrc", ".inputrc", ".bashrc.", "hermes.toml "),
]
ORDINARY = [
    *(
        "a.py",
        "git/config",
        "x.git",
        "notes.git.md",
        ".gitignore",
        ".gitattributes",
        ".github/workflows/ci.yml",
        "hermes.toml.md",
    ),
    *(
        "policy.toml",
        "vscode/x",
        "data/.hidden",
        "jupyter/x",
        "my.bashrc",
        ".editorconfig",
        "x/hermes_toml",
        "config/fish/x",
    ),
]


def written(path: str, profile: str = "workspace", tool: str = "write_file", relative: bool = True, **options):
    resource = PathResource(f"/ws/{path}" if relative else path, path if relative else None, Access.WRITE)
    return decide(load_policy(profile=profile, **options), AccessRequest("a", tool, (resource,)))


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize("profile", ["workspace", "full"])
def test_what_others_would_run_is_never_written(path, profile):
    for tool in ("write_file", "patch"):
        decision = written(path, profile, tool)
        assert decision.effect is Effect.DENY
        assert decision.rule_id.startswith("floor:")
        assert decision.remedy == ""


@pytest.mark.parametrize("path", ORDINARY)
def test_ordinary_files_may_be_written(path):
    assert written(path).effect is Effect.ALLOW


def test_no_rule_lifts_the_floor():
    texts = [("user", '[rules]\nallow = ["write_file", "write_file(./.git/config)"]')]
    assert written(".git/config", texts=texts).effect is Effect.DENY


def test_what_is_protected_may_be_read():
    policy = load_policy(profile="workspace")
    resource = PathResource("/ws/.git/config", ".git/config", Access.READ)
    assert decide(policy, AccessRequest("a", "read_file", (resource,))).effect is Effect.ALLOW


def test_a_workspace_within_such_a_folder_is_usable():
    resource = PathResource("/home/u/.hermes/work/a.py", "a.py", Access.WRITE)
    policy = load_policy(profile="workspace")
    assert decide(policy, AccessRequest("a", "write_file", (resource,))).effect is Effect.ALLOW


def test_outside_of_the_workspace_the_floor_looks_at_the_whole_path():
    assert written("/home/u/.ssh/authorized_keys", "full", relative=False).effect is Effect.DENY
    assert written("/home/u/x", "full", relative=False).effect is Effect.ALLOW


def test_policy_files_in_force_and_what_the_session_depends_on_are_protected(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text("version = 1\n")
    options = {"paths": [("user", str(file))], "protected_paths": ["/ws/Run.ipynb", ""]}
    assert written(str(file), "full", relative=False, **options).rule_id == "floor:in-use"
    assert written("Run.ipynb", "full", **options).effect is Effect.DENY
    assert written("run.IPYNB", "full", **options).effect is Effect.DENY
    assert written("other.ipynb", "full", **options).effect is Effect.ALLOW


@pytest.mark.parametrize(
    "path",
    [".env", "a/.env", ".ENV", ".env.local", ".env/x", ".env.", "ｅ/.ｅnv", ".netrc", ".aws/credentials", ".npmrc"],
)
def test_names_of_secrets_are_known_in_every_spelling(path):
    assert is_secret(path)


@pytest.mark.parametrize(
    "path", ["", "a.py", ".env.example", ".env.sample", "environment", "x.env", "proc/1/environ", "docs/.envx"]
)
def test_other_names_are_no_secrets(path):
    assert not is_secret(path)
