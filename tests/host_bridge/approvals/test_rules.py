from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from asked_calls import asked_call

from host_bridge.approvals.rules import PolicyRules
from host_bridge.control import SessionConfig
from host_bridge.errors import PolicyError
from host_bridge.policy.layers import Policy
from host_bridge.policy.loading import load_policy
from host_bridge.policy.methods import parse_request
from host_bridge.policy.model import Access, CommandResource, TextResource
from host_bridge.policy.subjects import path_resource

TOOLS = frozenset({"terminal", "read_file", "write_file", "web_search", "http_request"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def rules(path: Path, *texts: str, principal: str = "default") -> PolicyRules:
    def load(further: str) -> Policy:
        paths = [("user", str(path))] if path.exists() else []
        return load_policy(
            profile="workspace",
            paths=paths,
            texts=[("run", text) for text in (*texts, further)],
            principal=principal,
            known_tools=TOOLS,
        )

    config = SessionConfig(
        session_id="s",
        endpoint="",
        server_public_key="",
        server_secret_key="",
        workspace="/workspace",
        audit_path="",
        principal=principal,
        user_policy_path=str(path),
    )
    return PolicyRules(config, load, TOOLS)


SEARCH = asked_call(tool="web_search", shown={"query": "x"}, resources=(TextResource("x"),))
UNLESS = '[rules]\nask_unless_allowed = ["terminal", "web_search"]'


def test_the_rule_is_written_for_the_agent_that_asked_and_allows_the_call_from_then_on(path):
    path.write_text("version = 1  # mine\n")
    book = rules(path, UNLESS, principal="nightly")
    call = asked_call(principal="nightly")
    assert book.problem((call,)) == ""
    book.add((call,))
    assert path.read_text().startswith("version = 1  # mine\n")
    assert tomllib.loads(path.read_text())["agents"] == {"nightly": {"rules": {"allow": ["terminal(git push *)"]}}}


def test_a_policy_file_that_is_not_there_is_made(path):
    book = rules(path, UNLESS)
    assert book.problem((asked_call(),)) == ""
    book.add((asked_call(),))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_rule_that_asks_on_purpose_is_stronger_and_said(path):
    path.write_text('version = 1\n[rules]\nask = ["terminal(git push *)"]\n')
    problem = rules(path).problem((asked_call(),))
    assert "it would still be asked" in problem
    assert "terminal(git push *)" in problem


def test_after_untrusted_content_no_answer_sets_the_mark_that_is_needed(path):
    book = rules(path, UNLESS)
    assert "untrusted content" in book.problem((asked_call(untrusted="web_extract https://example.org"),))


def test_what_takes_several_rules_or_has_none_is_not_written(path):
    line = "git push origin main && make all"
    both = (
        CommandResource(("git", "push", "origin", "main"), line, "/workspace"),
        CommandResource(("make", "all"), line, "/workspace"),
    )
    book = rules(path, UNLESS)
    assert "several rules" in book.problem((asked_call(resources=both),))
    unread = (CommandResource(None, "echo $(x)", "/workspace"),)
    assert "no rule can be recommended" in book.problem((asked_call(resources=unread),))
    assert not path.exists()


def test_what_is_allowed_already_needs_no_rule(path):
    saving = (parse_request("https://api.example.org/x"), path_resource("data/x.csv", Access.WRITE))
    call = asked_call(tool="http_request", resources=saving)
    book = rules(path)
    assert book.problem((call,)) == ""
    book.add((call,))
    allowed = tomllib.loads(path.read_text())["agents"]["default"]["rules"]["allow"]
    assert allowed == ["http_request(domain:api.example.org)"]
    problem = rules(path, '[rules]\nask = ["write_file(./data/**)"]').problem((call,))
    assert "with the rule write_file(./data/x.csv) it would still be asked" in problem


def test_a_policy_that_does_not_load_any_more_is_said_and_left_alone(path):
    path.write_text("version = 1\nno such key = 1\n")
    book = rules(path, UNLESS)
    assert str(path) in book.problem((asked_call(),))
    with pytest.raises(PolicyError):
        book.add((asked_call(),))
    assert path.read_text() == "version = 1\nno such key = 1\n"


def test_a_tool_without_a_narrower_rule_gets_its_own(path):
    book = rules(path, UNLESS)
    assert book.problem((SEARCH,)) == ""
    book.add((SEARCH,))
    assert tomllib.loads(path.read_text())["agents"]["default"]["rules"]["allow"] == ["web_search"]
