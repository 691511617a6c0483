"""What a log keeps of a call is enough to tell exactly what the policy looked at, or it is said that it isn't."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from host_bridge.audit.log import AuditLog
from host_bridge.audit.reading import read
from host_bridge.audit.recorded_calls import UnreadableCallError, about, past_calls, recorded_resources
from host_bridge.audit.records import CallDecided, SessionOpened, SessionTainted
from host_bridge.cli.policy_subjects import Workplace
from host_bridge.policy.commands import resources
from host_bridge.policy.model import Access, PathResource, TextResource, UrlResource
from host_bridge.tools.registry import load_tools

DIFF = """*** Begin Patch
*** Update File: a.txt
@@
-a
+b
*** Add File: new/c.txt
+c
*** Delete File: b.txt
*** End Patch
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "ws"
    (folder / "data").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "data/x.csv"):
        (folder / name).write_text("a\n")
    (folder / "link").symlink_to("data")
    return folder


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_file", {"path": "link/x.csv"}),
        ("read_file", {"path": "/etc/hostname"}),
        ("read_file", {"path": "./data/../a.txt"}),
        ("write_file", {"path": "link/new.csv", "content": b"x"}),
        ("list_files", {"path": "."}),
        ("list_files", {"path": "link", "recursive": True}),
        ("search_files", {"pattern": "a", "path": "data"}),
        ("patch", {"path": "a.txt", "old_string": "a", "new_string": "b"}),
        ("patch", {"mode": "patch", "patch": DIFF}),
        ("terminal", {"command": "git status; ls -l | head -n 3"}),
        ("terminal", {"command": "echo $HOME > x", "workdir": "link"}),
        ("terminal", {"command": "ls", "workdir": "/tmp"}),
        ("web_extract", {"urls": ["https://docs.python.org/3/?q=é", "http://example.org/a%2Fb"]}),
        ("web_search", {"query": " weather  in berlin "}),
        ("process", {"action": "list"}),
    ],
)
def test_a_record_says_exactly_what_the_policy_looked_at(workspace: Path, tool: str, arguments: dict) -> None:
    found = load_tools().find(tool)
    place = Workplace(str(workspace))
    call = found.prepare(msgspec.convert(arguments, type=found.Arguments, builtin_types=(bytes,)), place)
    try:
        kept = json.loads(msgspec.json.encode(call.shown))
        assert recorded_resources(tool, kept, str(workspace)) == call.resources
        assert about(tool, call.resources) is None
    finally:
        call.close()


OTHERS = (
    PathResource("/ws/a", "a", Access.WRITE),
    *resources("git push; ls", "/ws"),
    *resources("echo $x", "/ws"),
    UrlResource("https", "example.org", 443, "/"),
    TextResource("x"),
)


def written(tmp_path: Path, *records: object, **options: str) -> Path:
    path = tmp_path / "log.jsonl"
    log = AuditLog.open(path, **options)  # type: ignore[arg-type]
    opened = SessionOpened(session_id="s", principal="p", profile="workspace", workspace="/ws")
    for record in (opened, *records):
        log.append(record)  # type: ignore[arg-type]
    log.close()
    return path


def decided(tool: str, arguments: dict, **fields: object) -> CallDecided:
    given = {"call_id": "s-1", "session_id": "s", "principal": "p", "effect": "allow", **fields}
    return CallDecided(tool=tool, arguments=arguments, **given)  # type: ignore[arg-type]


def test_what_another_tools_call_is_about_is_recorded_and_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, decided("mine", {"x": 1}, about=about("mine", OTHERS)), decided("mine", {"x": 2}))
    first, second = past_calls(read(path), "log")
    assert (first.resources, first.problem) == (OTHERS, "")
    assert (second.resources, second.problem) == ((), "")
    assert (first.profile, first.workspace, first.place) == ("workspace", "/ws", "log:2")


def test_untrusted_content_counts_from_where_it_came_in(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        decided("web_search", {"query": "x"}),
        SessionTainted(call_id="s-1", tool="web_search", source="web_search x"),
        decided("web_search", {"query": "y"}, answer="once", rule_id="r"),
    )
    before, after = past_calls(read(path), "log")
    assert (before.untrusted, after.untrusted) == ("", "web_search x")
    assert (after.answer, after.rule_id) == ("once", "r")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_file", {}),
        ("read_file", {"path": 3}),
        ("terminal", {"command": "x" * 5000}),
        ("web_extract", {"urls": "https://example.org"}),
        ("web_extract", {"urls": ["http://2130706433/"]}),
        ("patch", {"mode": "patch", "files": [3]}),
        ("process", {}),
        ("terminal", None),
    ],
)
def test_a_record_that_says_too_little_is_not_guessed_at(tmp_path: Path, tool: str, arguments: dict) -> None:
    with pytest.raises(UnreadableCallError):
        recorded_resources(tool, arguments, "/ws")
    (call,) = past_calls(read(written(tmp_path, decided(tool, arguments))), "log")
    assert call.resources == ()
    assert call.problem


def test_a_log_of_digests_says_so(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        decided("terminal", {"command": "ls"}),
        decided("mine", {}, about=about("mine", OTHERS)),
        arguments="digest",
    )
    for call in past_calls(read(path), "log"):
        assert "digest" in call.problem
    assert b"git push" not in path.read_bytes()


@pytest.mark.parametrize("said", [[{"kind": "path"}], [{"kind": "nonsense", "text": "x"}], [3], [{}]])
def test_a_record_somebody_changed_is_not_believed(tmp_path: Path, said: list) -> None:
    path = written(tmp_path, decided("mine", {}, about=said))
    (call,) = past_calls(read(path), "log")
    assert call.problem
