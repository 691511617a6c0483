"""The profile's text. It has not been run on a Mac; these tests keep it saying what it is meant to say."""

from __future__ import annotations

import dataclasses
import re

import pytest

from host_bridge.errors import SandboxError
from host_bridge.sandbox import probing, seatbelt
from host_bridge.sandbox.spec import Island, SandboxSpec

SPEC = SandboxSpec(
    workspace="/Users/me/project",
    run_folder="/private/tmp/hermes-x",
    islands=(
        Island("/Users/me/project/.git", "folder"),
        Island("/Users/me/project/.envrc", "no file"),
        Island("/Users/me/project/sub", "way"),
        Island("/Users/me/project/sub/rules.toml", "file"),
    ),
    read_only_paths=("/opt/python", "/Users/me/project/.venv"),
    writable_paths=("/data",),
)

Expression = list["Expression"] | str


def parse(text: str) -> list[Expression]:
    """Read S-expressions: a profile must be some, whatever the paths in it are called."""
    stack: list[list[Expression]] = [[]]
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+', text):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    assert len(stack) == 1, "brackets don't match"
    return stack[0]


def rules(spec: SandboxSpec = SPEC) -> list[Expression]:
    return parse(seatbelt.profile(spec))


def last_word(operation: str, path: str, spec: SandboxSpec = SPEC) -> str:
    """What the last rule that matches says about an operation on a path."""
    answer = "deny"
    for effect, *rest in rules(spec):
        names = [part for part in rest if isinstance(part, str)]
        filters = [part for part in rest if not isinstance(part, str)]
        if not any(re.fullmatch(re.escape(name).replace(r"\*", ".*"), operation) for name in names):
            continue
        if not filters or any(matches(each, path) for each in filters):
            answer = str(effect)
    return answer


def matches(condition: Expression, path: str) -> bool:
    kind, *rest = condition
    if kind == "require-all":
        return False  # about sockets only
    name = str(rest[0])[1:-1]
    return path == name or (kind == "subpath" and path.startswith(f"{name}/"))


def test_everything_begins_denied() -> None:
    assert rules()[:2] == [["version", "1"], ["deny", "default"]]


@pytest.mark.parametrize(
    ("operation", "path", "answer"),
    [
        ("file-read-data", "/Users/me/project/data.csv", "allow"),
        ("file-write-data", "/Users/me/project/data.csv", "allow"),
        ("file-write-create", "/Users/me/project/new", "allow"),
        ("process-exec", "/Users/me/project/tool", "allow"),
        ("process-exec", "/usr/bin/git", "allow"),
        ("file-read-data", "/opt/python/bin/python3", "allow"),
        ("file-write-data", "/data/f", "allow"),
        ("file-write-data", "/dev/null", "allow"),
        ("file-read-metadata", "/Users/me", "allow"),
        ("file-read-data", "/private/tmp/hermes-x/k/ticket.json", "allow"),
        ("file-write-unlink", "/private/tmp/hermes-x/k/ticket.json", "allow"),
        # islands, there or not
        ("file-write-create", "/Users/me/project/.git/hooks/pre-commit", "deny"),
        ("file-write-unlink", "/Users/me/project/.git", "deny"),
        ("file-write-create", "/Users/me/project/.envrc", "deny"),
        ("file-write-data", "/Users/me/project/sub/rules.toml", "deny"),
        ("file-write-create", "/Users/me/project/sub/new", "allow"),
        ("file-write-unlink", "/Users/me/project/sub", "deny"),
        ("file-write-unlink", "/Users/me/project", "deny"),
        ("file-write-data", "/Users/me/project/.venv/lib/x.py", "deny"),
        ("file-write-data", "/opt/python/lib/x.py", "deny"),
        # outside
        ("file-read-data", "/Users/me/.ssh/id_ed25519", "deny"),
        ("file-read-data", "/Users/me", "deny"),
        ("file-read-metadata", "/Users/me/.ssh", "deny"),
        ("file-read-data", "/private/etc/master.passwd", "deny"),
        ("file-read-data", "/Library/Keychains/System.keychain", "deny"),
        ("file-write-create", "/private/tmp/x", "deny"),
        ("file-write-create", "/Users/me/projects/x", "deny"),
        ("file-read-data", "/dev/ttys001", "deny"),
        ("process-exec", "/usr/local/bin/tool", "deny"),
        ("mach-lookup", "com.apple.pasteboard.1", "deny"),
    ],
)
def test_what_is_left(operation: str, path: str, answer: str) -> None:
    assert last_word(operation, path) == answer


def test_a_workspace_that_is_only_read() -> None:
    spec = dataclasses.replace(SPEC, write_workspace=False)
    assert last_word("file-read-data", "/Users/me/project/f", spec) == "allow"
    assert last_word("file-write-data", "/Users/me/project/f", spec) == "deny"
    assert last_word("file-write-data", "/data/f", spec) == "allow"


def test_sockets_are_made_in_one_folder_and_connect_to_it_and_the_bridge() -> None:
    text = seatbelt.profile(SPEC)
    network = [line for line in text.splitlines() if "network" in line]
    assert network == [
        '(allow network-bind (local unix-socket (subpath "/private/tmp/hermes-x/s")))',
        '(allow network-inbound (local unix-socket (subpath "/private/tmp/hermes-x/s")))',
        '(allow network-outbound (remote unix-socket (subpath "/private/tmp/hermes-x/s")) '
        '(remote unix-socket (literal "/private/tmp/hermes-x/b/bridge")))',
    ]
    assert "(allow system-socket (socket-domain AF_UNIX))" in text
    assert "mach-lookup" not in text


def test_the_network_is_a_choice() -> None:
    text = seatbelt.profile(dataclasses.replace(SPEC, share_network=True))
    assert '(allow network* (local ip "*:*") (remote ip "*:*"))' in text
    assert "com.apple.dnssd.service" in text


def test_a_path_can_not_become_a_rule() -> None:
    hostile = '/Users/me/a") (allow default) (literal "\\'
    spec = dataclasses.replace(SPEC, workspace=hostile, islands=())
    assert ["allow", "default"] not in rules(spec)
    assert last_word("file-read-data", "/Users/me/.ssh/id", spec) == "deny"
    with pytest.raises(ValueError, match="rename it"):
        seatbelt.profile(dataclasses.replace(SPEC, workspace="/Users/me/a\nb"))


def test_the_command() -> None:
    launch = seatbelt.launch(SPEC, ("/opt/python/bin/python3", "-m", "x"), {"LANG": "C"})
    assert launch.argv == (
        *("/usr/bin/sandbox-exec", "-p", seatbelt.profile(SPEC)),
        *("/opt/python/bin/python3", "-m", "x"),
    )
    assert (launch.environment, launch.working_folder) == ({"LANG": "C"}, "/Users/me/project")


@pytest.mark.parametrize(("platform", "says"), [("darwin", "has not been run on a Mac"), ("win32", "WSL")])
@pytest.mark.parametrize("wish", ["auto", "bubblewrap", "seatbelt", "whatever"])
def test_other_systems_are_refused_unless_none_is_declared(
    monkeypatch: pytest.MonkeyPatch, platform: str, says: str, wish: str
) -> None:
    monkeypatch.setattr(probing.sys, "platform", platform)
    probing.probe.cache_clear()
    try:
        with pytest.raises(SandboxError, match=says):
            probing.choose(wish)
        assert probing.choose("none") == "none"
    finally:
        monkeypatch.undo()
        probing.probe.cache_clear()
