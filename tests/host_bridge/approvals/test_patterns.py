from __future__ import annotations

import pytest
from asked_calls import asked_call

from host_bridge.approvals.patterns import MAX_CALLS, LoopPattern, suggested_rule
from host_bridge.control import Pattern
from host_bridge.policy.model import Access, CommandResource, PathResource
from host_bridge.policy.patterns import PatternError


def pattern(rule: str, asked=None, calls: int = 10, seconds: float = 60.0) -> LoopPattern:
    return LoopPattern(Pattern(rule=rule, calls=calls, seconds=seconds), asked or asked_call())


def test_a_pattern_covers_what_its_rule_allows_and_nothing_else():
    loop = pattern("terminal(git push origin *)")
    assert loop.covers(asked_call("git push origin other"))
    assert not loop.covers(asked_call("git push elsewhere main"))
    assert not loop.covers(asked_call("git pull origin main"))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("terminal", "bounds nothing"),
        ("*", "about"),
        ("read_file(./**)", "about read_file"),
        ("terminal(git pull *)", "does not match"),
        ("terminal(", "no rule"),
        ("terminal()", "empty"),
        ("terminal(*)", r"terminal\(\*\)"),
        ("terminal(git \u202epush *)", "invisible"),
    ],
)
def test_a_pattern_wider_than_the_question_is_refused(rule, why):
    with pytest.raises(PatternError, match=why):
        pattern(rule)


@pytest.mark.parametrize(
    ("calls", "seconds"),
    [(0, 60), (-1, 60), (MAX_CALLS + 1, 60), (5, 0), (5, -1), (5, float("nan")), (5, float("inf")), (5, 1e9)],
)
def test_a_pattern_has_a_number_and_a_time(calls, seconds):
    with pytest.raises(PatternError):
        pattern("terminal(git push origin *)", calls=calls, seconds=seconds)


def test_a_pattern_is_bound_to_the_rule_that_asked_the_folder_and_what_was_read():
    loop = pattern("terminal(git push origin *)")
    assert not loop.covers(asked_call(rule_id="project:rules.ask[1]"))
    assert not loop.covers(asked_call(untrusted="web_extract https://example.org"))
    argv = ("git", "push", "origin", "main")
    assert not loop.covers(asked_call(resources=(CommandResource(argv, " ".join(argv), "/workspace/below"),)))
    assert not loop.covers(asked_call(secrets=("TOKEN",)))
    assert pattern("terminal(git push origin *)", asked_call(secrets=("TOKEN",))).covers(asked_call(secrets=("TOKEN",)))
    in_spite = pattern("terminal(git push origin *)", asked_call(untrusted="web_search"))
    assert in_spite.covers(asked_call())
    assert in_spite.covers(asked_call(untrusted="another source"))


def test_all_that_a_call_touches_must_match():
    line = "git push origin main && rm x"
    both = (
        CommandResource(("git", "push", "origin", "main"), line, "/workspace"),
        CommandResource(("rm", "x"), line, "/workspace"),
    )
    loop = pattern("terminal(git push origin *)")
    assert not loop.covers(asked_call(resources=both))
    assert not loop.covers(asked_call(resources=(CommandResource(None, "git push origin $(x)", "/workspace"),)))


def test_wildcards_of_a_pattern_do_not_reach_secrets():
    def read(path: str):
        resource = PathResource(f"/workspace/{path}", path, Access.READ)
        return asked_call(tool="read_file", shown={"path": path}, digest=path, resources=(resource,))

    loop = pattern("read_file(./data/**)", read("data/a.csv"))
    assert loop.covers(read("data/b.csv"))
    assert not loop.covers(read("data/.env"))
    assert not loop.covers(read("other/b.csv"))


def test_a_call_about_nothing_can_be_bounded_by_its_tool():
    call = asked_call(tool="add", resources=(), shown={"a": 1}, digest="1")
    assert pattern("add", call).covers(asked_call(tool="add", resources=(), shown={"a": 2}, digest="2"))


def test_the_rule_to_propose_matches_the_call_it_is_proposed_for():
    call = asked_call("git push origin main")
    rule = suggested_rule(call)
    assert rule == "terminal(git push *)"
    assert pattern(rule, call).covers(call)
    several = (*call.resources, *asked_call("rm x").resources)
    assert suggested_rule(asked_call(resources=several)) == ""
    unread = CommandResource(None, "git push $(x)", "/workspace")
    assert suggested_rule(asked_call(resources=(unread,))) == ""


def test_a_loop_of_calls_that_differ_is_proposed_as_the_rule_that_asks():
    def proposed(command: str, rule: str) -> str:
        return suggested_rule(asked_call(command, rule=rule))

    assert proposed("touch a1", "terminal(touch *)") == "terminal(touch *)"
    assert proposed("git push origin main", "terminal(git *)") == "terminal(git push *)", "the narrower of two for many"
    assert proposed("touch a1", "terminal") == "terminal(touch a1)", "a rule for everything bounds nothing"
    assert proposed("touch a1", "terminal(touch a)") == "terminal(touch a1)", "what asks generously may not cover it"
    page = PathResource("/workspace/config/a.toml", "config/a.toml", Access.WRITE)
    written = asked_call(tool="write_file", resources=(page,), rule="write_file(./config/**)")
    assert suggested_rule(written) == "write_file(./config/**)"
