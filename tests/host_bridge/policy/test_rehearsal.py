"""A policy is tried on what was done before it: what would be answered differently, and what can't be told."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, PathResource, TextResource
from host_bridge.policy.rehearsal import PastCall, rehearse


def policy(text: str = ""):
    return load_policy(profile="workspace", workspace="/ws", texts=[("user", text)] if text else [])


def command(line: str, **fields) -> PastCall:
    return PastCall("a", "terminal", resources(line, "/ws"), **fields)


def reading(path: str, **fields) -> PastCall:
    return PastCall("a", "read_file", (PathResource(f"/ws/{path}", path, Access.READ),), **fields)


def tried(calls, text: str = ""):
    new = policy(text)
    return rehearse(calls, lambda call: new)


def test_calls_whose_answer_would_change_are_grouped_and_counted():
    outcome = tried(
        [
            command("git push origin main", effect="deny", rule_id="default", place="log:3"),
            command("git push origin main", effect="deny", rule_id="default", place="log:9"),
            command("git push origin dev", effect="deny", rule_id="default", place="log:4"),
            reading("private/x", rule_id="profile workspace:rules.allow[0]", place="log:5"),
            reading("data/x", rule_id="profile workspace:rules.allow[0]"),
        ],
        '[rules]\nallow = ["terminal(git push *)"]\ndeny = ["read_file(./private/**)"]',
    )
    assert outcome.calls == 5
    assert [
        (change.subject, change.before, change.after, change.calls, change.widens) for change in outcome.changes
    ] == [
        ("git push origin main", "deny", "allow", 2, True),
        ("git push origin dev", "deny", "allow", 1, True),
        ("./private/x", "allow", "deny", 1, False),
    ]
    first, _, last = outcome.changes
    assert (first.rule_before, first.rule_after, first.place) == ("default", "user:rules.allow[0]", "log:3")
    assert last.rule_after == "user:rules.deny[0]"
    assert "private" in last.reason


def test_what_a_person_made_of_a_question_is_not_the_rules_answer():
    search = PastCall("a", "web_search", (TextResource("x"),), rule_id="profile workspace:rules.ask_unless_allowed[0]")
    for effect, answer in (
        ("allow", "once"),
        ("deny", "no"),
        ("deny", "nobody"),
        ("deny", "expired"),
        ("allow", "pattern"),
    ):
        assert tried([dataclasses.replace(search, effect=effect, answer=answer)]).changes == ()
    accepted = dataclasses.replace(search, rule_id="accepted:allow[0]")
    assert tried([accepted]).changes == ()
    (change,) = tried([accepted], '[rules]\ndeny = ["web_search"]').changes
    assert (change.before, change.after) == ("ask", "deny")


def test_untrusted_content_counts():
    call = command("make test", untrusted="a web page", rule_id="taint:brake", answer="once")
    assert tried([call], '[rules]\nallow = ["terminal(make test)"]').changes == ()
    marked = '[rules]\nallow = [{ rule = "terminal(make test)", allow_after_untrusted = true }]'
    (change,) = tried([call], marked).changes
    assert (change.before, change.after) == ("ask", "allow")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (command("x", effect="deny", rule_id="request:invalid_request"), "before any policy"),
        (command("x", effect="deny", rule_id="session:cell"), "before any policy"),
        (command("x", effect="deny", rule_id="notebook:default"), "declaration"),
        (command("x", effect="deny", rule_id="narrow:default"), "narrowing"),
        (command("x", rule_id="run:rules.allow[0]"), "that run"),
        (PastCall("a", "terminal", problem="its arguments were not kept"), "not kept"),
    ],
)
def test_what_can_not_be_compared_is_counted_and_said(call, reason):
    outcome = tried([call, call], '[rules]\nallow = ["terminal"]')
    assert (outcome.calls, outcome.changes) == (0, ())
    ((said, count),) = outcome.left_out.items()
    assert reason in said
    assert count == 2


LINES = ["df -h", "git push", "rm -rf x", "echo $x", "git status; ls", "make test"]
RULES = ["terminal", "terminal(git push *)", "terminal(make test)", "terminal(rm -rf x)", "web_search"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(LINES), max_size=6), st.lists(st.sampled_from(RULES), max_size=4))
def test_the_policy_that_decided_changes_nothing(lines, rules):
    text = f"[rules]\nallow = {rules!r}"
    calls = []
    for line in lines:
        decision = decide(policy(text), AccessRequest("a", "terminal", resources(line, "/ws")))
        calls.append(command(line, effect=decision.effect.name.lower(), rule_id=decision.rule_id))
    outcome = tried(calls, text)
    assert (outcome.calls, outcome.changes) == (len(calls), ())
