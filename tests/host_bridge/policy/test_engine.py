"""What a person reads about a decision, and how fast it comes."""

from __future__ import annotations

import re
import timeit

import pytest

from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide, explain
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, Effect, PathResource

POLICY = load_policy(profile="workspace", workspace="/ws")


def path(relative: str, access: Access = Access.READ) -> PathResource:
    return PathResource(f"/ws/{relative}", relative, access)


def decided(tool: str, *resources_, policy=POLICY):
    return decide(policy, AccessRequest("a", tool, resources_))


def command(line: str, policy=POLICY):
    return decided("terminal", *resources(line, "/ws"), policy=policy)


def test_a_denial_says_what_was_denied_and_by_which_rule():
    policy = load_policy(
        profile="workspace", workspace="/ws", texts=[("user", '[rules]\ndeny = ["terminal(git push *)"]')]
    )
    decision = command("git push origin", policy)
    assert decision.effect is Effect.DENY
    assert decision.rule_id == "user:rules.deny[0]"
    assert decision.reason == "the command `git push origin` is denied by the rule terminal(git push *) (user)"


def test_a_rule_that_objects_to_a_line_nobody_can_take_apart_says_that_it_is_in_doubt():
    policy = load_policy(
        profile="workspace",
        workspace="/ws",
        texts=[("user", '[rules]\ndeny = ["terminal(git push *)"]\nask = ["terminal"]')],
    )
    decision = command("echo $HOME", policy)
    assert decision.rule_id == "user:rules.deny[0]"
    assert decision.reason.endswith(
        "(user): it can't be split into plain commands with certainty, so it may contain that"
    )
    every = load_policy(profile="workspace", workspace="/ws", texts=[("user", '[rules]\ndeny = ["terminal"]')])
    assert command("echo $HOME", every).reason == "this command line is denied by the rule terminal (user)"


def test_a_question_names_its_rule():
    policy = load_policy(
        profile="workspace", workspace="/ws", texts=[("user", '[rules]\nask = ["terminal(git push *)"]')]
    )
    decision = command("git push origin", policy)
    assert decision.effect is Effect.ASK
    assert "terminal(git push *)" in decision.reason


def test_an_unmatched_call_is_denied_by_default():
    decision = decided("brand_new")
    assert (decision.effect, decision.rule_id) == (Effect.DENY, "default")


@pytest.mark.parametrize(
    "tool",
    ["Terminal", "TERMINAL", "terminal ", " terminal", "terminal.x", "read_file\x00", "__class__", "", "*", "tеrminal"],
)
def test_a_name_that_only_resembles_a_tools_has_none_of_its_rules(tool):
    policy = load_policy(profile="workspace", texts=[("user", '[rules]\nallow = ["terminal", "read_file"]')])
    for about in ((), resources("ls", "/ws"), (path("a"),)):
        decision = decided(tool, *about, policy=policy)
        assert (decision.effect, decision.rule_id) == (Effect.DENY, "default")
        assert decision.reason.isprintable()
        if about == ():
            assert decision.remedy == ""  # there is no such rule


def test_what_wildcards_do_not_reach_is_denied_by_a_rule_of_its_own():
    for name in (".env", "a\u202eb"):
        decision = decided("search_files", path(name))
        assert (decision.effect, decision.rule_id) == (Effect.DENY, "floor:secret")
        assert "names it exactly" in decision.reason


def test_a_line_that_is_not_understood_is_denied_with_what_to_do():
    decision = command("echo $HOME > x")
    assert "plain commands" in decision.reason
    assert "terminal" in decision.reason


def test_denials_by_layers_name_them():
    texts = [("project", 'version = 1\n[rules]\nallow = ["read_file(./data/**)"]')]
    by_project = decided("read_file", path("a"), policy=load_policy(profile="workspace", texts=texts))
    assert by_project.rule_id == "project:default"
    assert "project policy" in by_project.reason
    by_notebook = decided("read_file", path("a"), policy=load_policy(profile="workspace", notebook_permissions={}))
    assert by_notebook.rule_id == "notebook:default"
    assert "metadata.hermes.permissions" in by_notebook.reason


def test_what_the_kernel_wrote_can_not_forge_a_denial():
    for line in ["rm '\x1b[2K'", "rm '\u202e'", "rm 'a\nallowed'", "rm " + "x" * 5000]:
        decision = command(line)
        assert decision.reason.isprintable()
        assert len(decision.reason) < 1000
    decision = decided("read_file", path("a\u202eb\x1b[2K"))
    assert decision.reason.isprintable()
    assert "\\u{202e}" in decision.reason


def test_a_denial_shows_no_path_of_the_host_that_the_kernel_did_not_know():
    secret = PathResource("/home/somebody/private/x", None, Access.READ)
    decision = decided("read_file", secret)
    assert "somebody" not in decision.reason + decision.remedy
    written = decided("write_file", PathResource("/home/somebody/.ssh/x", None, Access.WRITE))
    assert "somebody" not in written.reason + written.remedy


def test_ids_and_texts_fit_the_wire():
    for line in ["rm " + "'" + "x" * 8000 + "'", "; ".join(f"rm {n}" * 20 for n in range(32))]:
        decision = command(line)
        assert len(decision.rule_id) <= 256
        assert len(decision.reason) <= 16_000
        assert len(decision.remedy) <= 16_000


def test_an_explanation_shows_every_layers_word():
    policy = load_policy(
        profile="workspace",
        workspace="/ws",
        texts=[
            ("user", '[rules]\nallow = ["write_file(./x)"]'),
            ("project", '[rules]\ndeny = ["write_file(./out/**)"]'),
        ],
        notebook_permissions={"allow": ["write_file(./**)"]},
    )
    explanation = explain(
        policy, AccessRequest("a", "write_file", (path("out/a", Access.WRITE), path(".git/x", Access.WRITE)))
    )
    first, second = explanation.trails
    assert [(step.layer, step.effect, step.rule) for step in first.steps] == [
        ("floor", None, ""),
        ("profile workspace", Effect.ALLOW, "write_file(./**)"),
        ("project", Effect.DENY, "write_file(./out/**)"),
        ("notebook", Effect.ALLOW, "write_file(./**)"),
    ]
    assert second.steps[0].effect is Effect.DENY
    assert re.fullmatch(r"write_file of \./out/a", first.shown)
    assert explanation.decision.effect is Effect.DENY


def many_rules() -> str:
    paths = ", ".join(f'"read_file(./some/folder{n}/**)"' for n in range(100))
    commands = ", ".join(f'"terminal(tool{n} run *)"' for n in range(100))
    return f'[rules]\nallow = [{paths}, {commands}]\ndeny = ["read_file(./private/**)", "terminal(rm *)"]\n'


@pytest.mark.parametrize(
    ("request_", "microseconds"),
    [
        (AccessRequest("a", "read_file", (path("data/a/b/c.csv"),)), 20),
        (AccessRequest("a", "write_file", (path("data/a/b/c.csv", Access.WRITE),)), 20),
        (AccessRequest("a", "read_file", (PathResource("/proc/loadavg", None, Access.READ),)), 20),
        (AccessRequest("a", "terminal", resources("git log --oneline -5 | head -n 5 && ps aux", "/ws")), 1000),
    ],
    ids=["read", "write", "proc", "compound"],
)
def test_deciding_is_fast(request_, microseconds):
    policies = [POLICY]
    if request_.tool != "write_file":
        texts = [
            ("user", many_rules()),
            ("system", '[rules]\ndeny = ["read_file(/root/**)"]'),
            ("project", many_rules()),
        ]
        policies.append(load_policy(profile="workspace", workspace="/ws", texts=texts))
    limits = [microseconds, max(100, microseconds)]
    for policy, limit in zip(policies, limits, strict=False):
        # The quickest of many short runs: what it costs when nobody else uses the machine.
        best = min(timeit.repeat(lambda policy=policy: decide(policy, request_), number=50, repeat=200)) / 50
        assert best * 1e6 < limit
