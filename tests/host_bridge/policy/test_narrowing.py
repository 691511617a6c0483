"""A cell that narrows itself: only what it says is still allowed, on top of everything else."""

from __future__ import annotations

import pytest

from host_bridge.errors import PolicyError
from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide, explain
from host_bridge.policy.loading import MAX_NARROWING_RULES, load_policy, narrowing_layer
from host_bridge.policy.model import Access, AccessRequest, Decision, Effect, PathResource, TextResource, UrlResource

POLICY = load_policy(profile="workspace", workspace="/ws")


def decided(narrowing: tuple[str, ...] | list[tuple[str, ...]], tool: str, *about, policy=POLICY) -> Decision:
    nested = [narrowing] if isinstance(narrowing, tuple) else narrowing
    layers = tuple(narrowing_layer(rules) for rules in nested)
    return decide(policy, AccessRequest("a", tool, about, narrowing=layers))


def file(path: str, access: Access = Access.READ) -> PathResource:
    return PathResource(f"/ws/{path}", path, access)


def test_only_what_the_rules_allow_is_still_allowed():
    rules = ("read_file(data/**)",)
    assert decided(rules, "read_file", file("data/x.csv")).effect is Effect.ALLOW
    assert decided(rules, "read_file", file("x.csv")).effect is Effect.DENY
    assert decided(rules, "write_file", file("data/x.csv", Access.WRITE)).effect is Effect.DENY
    assert decided(rules, "terminal", *resources("df -h", "/ws")).effect is Effect.DENY
    assert decided(rules, "list_files", file("data")).effect is Effect.DENY


def test_a_denial_by_a_narrowing_names_it_and_what_it_said():
    denial = decided(("read_file(data/**)",), "read_file", file("x.csv"))
    assert denial.rule_id == "narrow:default"
    assert "read_file(data/**)" in denial.reason
    assert denial.remedy == ""  # no policy would change it


def test_a_narrowing_gives_nothing():
    rules = ("terminal", "read_file(./.env)", "write_file(./**)", "web_search")
    assert decided(rules, "terminal", *resources("rm -rf x", "/ws")).effect is Effect.DENY
    assert decided(rules, "read_file", file(".env")).rule_id == "floor:secret"
    assert decided(rules, "write_file", file(".git/hooks/x", Access.WRITE)).rule_id == "floor:git"
    assert decided(rules, "web_search", TextResource("x")).effect is Effect.ASK


def test_narrowings_inside_each_other_all_hold():
    nested = [("read_file(./data/**)", "terminal(ls)"), ("read_file(./**)",)]
    assert decided(nested, "read_file", file("data/x")).effect is Effect.ALLOW
    assert decided(nested, "read_file", file("x")).effect is Effect.DENY
    assert decided(nested, "terminal", *resources("ls", "/ws")).effect is Effect.DENY


def test_nothing_at_all_leaves_nothing():
    assert decided((), "read_file", file("x")).effect is Effect.DENY
    assert "nothing" in decided((), "read_file", file("x")).reason


def test_every_tool_may_be_narrowed_to_a_folder():
    rules = ("*(./data/**)",)
    assert decided(rules, "read_file", file("data/x")).effect is Effect.ALLOW
    assert decided(rules, "write_file", file("data/x", Access.WRITE)).effect is Effect.ALLOW
    assert decided(rules, "write_file", file("x", Access.WRITE)).effect is Effect.DENY
    assert decided(rules, "terminal", *resources("ls", "/ws")).effect is Effect.DENY


def test_whoever_may_still_start_a_process_may_look_after_it():
    assert decided(("terminal(ls)",), "process", TextResource("poll")).effect is Effect.ALLOW
    assert decided(("read_file",), "process", TextResource("poll")).effect is Effect.DENY
    assert decided(("process(poll)",), "process", TextResource("kill")).effect is Effect.DENY


def test_a_line_nobody_can_split_is_outside_of_every_narrowing_about_commands():
    full = load_policy(profile="full", workspace="/ws")
    lines = [resources("ls $HOME", "/ws"), resources("ls", "/ws")]
    assert [decided(("terminal(ls)",), "terminal", *line, policy=full).effect for line in lines] == [
        Effect.DENY,
        Effect.ALLOW,
    ]


def test_an_address_that_turned_up_later_is_narrowed_too():
    full = load_policy(profile="full")
    rules = ("web_extract(domain:*.python.org)",)
    for host, effect in (("docs.python.org", Effect.ALLOW), ("evilpython.org", Effect.DENY)):
        assert decided(rules, "web_extract", UrlResource("https", host, 443, "/"), policy=full).effect is effect


def test_the_same_narrowing_is_made_once():
    assert narrowing_layer(("read_file(./a)",)) is narrowing_layer(("read_file(./a)",))


@pytest.mark.parametrize(
    ("rules", "key", "hint"),
    [
        (("read_file", "x y"), "narrow[1]", "no rule"),
        (("terminal(bash *)",), "narrow[0]", "bash"),
        (("read_file()",), "narrow[0]", "empty"),
        (("*",), "narrow[0]", "takes nothing away"),
        (("read_file(./" + "x" * 2000 + ")",), "narrow[0]", "2013 characters"),
        (("read_file",) * (MAX_NARROWING_RULES + 1), "narrow", "32"),
        (("read_file(./a\u202eb)",), "narrow[0]", "invisible"),
    ],
)
def test_nonsense_is_refused_by_its_place(rules, key, hint):
    with pytest.raises(PolicyError, match="narrow") as caught:
        narrowing_layer(rules)
    assert caught.value.key == key
    assert hint in str(caught.value)


def test_an_explanation_shows_the_narrowings_word():
    request = AccessRequest("a", "read_file", (file("x"),), narrowing=(narrowing_layer(("read_file(./data/**)",)),))
    explanation = explain(POLICY, request)
    (step,) = [step for step in explanation.trails[0].steps if step.layer == "narrow"]
    assert (step.effect, step.rule_id) == (Effect.DENY, "narrow:default")
    assert explanation.decision.rule_id == "narrow:default"
