"""After untrusted content, what was allowed to act asks a person, unless its rule says otherwise."""

from __future__ import annotations

import pytest

from host_bridge.errors import PolicyError
from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide, explain
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, Decision, Effect, PathResource, TextResource, UrlResource

SOURCE = "web_extract of https://example.org"
MAKE = resources("make test", "/ws")


def policy(profile: str = "workspace", **layers: str):
    return load_policy(profile=profile, workspace="/ws", texts=list(layers.items()))


WORKSPACE = policy()


def after(tool: str, *about, policy=WORKSPACE, principal: str = "a") -> Decision:
    return decide(policy, AccessRequest(principal, tool, about, untrusted=SOURCE))


def file(path: str, access: Access = Access.READ) -> PathResource:
    return PathResource(f"/ws/{path}", path, access)


def test_what_only_looks_goes_on():
    assert after("read_file", file("a")).effect is Effect.ALLOW
    assert after("read_file", PathResource("/proc/loadavg", None, Access.READ)).effect is Effect.ALLOW
    assert after("list_files", file("")).effect is Effect.ALLOW
    assert after("search_files", file("")).effect is Effect.ALLOW
    for action in ("list", "poll", "log", "wait", "kill"):
        assert after("process", TextResource(action)).effect is Effect.ALLOW


@pytest.mark.parametrize("line", ["uptime", "df -h", "ls -la", "git status", "ps aux | head -n 5", "sleep 1; who"])
def test_commands_of_the_profile_that_only_look_go_on(line):
    assert after("terminal", *resources(line, "/ws")).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("tool", "about"),
    [
        ("write_file", (file("a", Access.WRITE),)),
        ("patch", (file("a", Access.WRITE), file("b", Access.WRITE))),
        ("terminal", MAKE),
        ("terminal", resources("df; make test", "/ws")),
        ("web_extract", (UrlResource("https", "docs.python.org", 443, "/"),)),
        ("web_search", (TextResource("x"),)),
        ("process", (TextResource("write"),)),
        ("process", (TextResource("submit"),)),
        ("process", (TextResource("close"),)),
        ("process", ()),
        ("mine", ()),
        ("mine", (file("a"),)),
    ],
)
def test_what_acts_asks_and_says_where_the_content_came_from(tool, about):
    allowing = policy(user='[rules]\nallow = ["terminal(make test *)", "mine", "web_extract", "web_search"]')
    assert decide(allowing, AccessRequest("a", tool, about)).effect is Effect.ALLOW
    decision = after(tool, *about, policy=allowing)
    assert (decision.effect, decision.rule_id) == (Effect.ASK, "taint:brake")
    assert SOURCE in decision.reason


def test_a_rule_may_say_that_it_holds_after_untrusted_content():
    marked = policy(user='[rules]\nallow = [{ rule = "terminal(make test *)", allow_after_untrusted = true }]')
    decision = after("terminal", *MAKE, policy=marked)
    assert (decision.effect, decision.rule_id) == (Effect.ALLOW, "user:rules.allow[0]")
    assert after("write_file", file("a", Access.WRITE), policy=marked).effect is Effect.ASK


@pytest.mark.parametrize("others", ['"terminal(make test *)"', '"terminal"', '"terminal(make test)"'])
def test_which_rule_is_found_first_makes_no_difference(others):
    marked = '{ rule = "terminal(make test *)", allow_after_untrusted = true }'
    for rules in (f"{others}, {marked}", f"{marked}, {others}"):
        assert after("terminal", *MAKE, policy=policy(user=f"[rules]\nallow = [{rules}]")).effect is Effect.ALLOW
    assert after("terminal", *MAKE, policy=policy(user=f"[rules]\nallow = [{others}]")).effect is Effect.ASK


def test_several_rules_may_share_the_mark():
    text = '[rules]\nallow = [{ allow_after_untrusted = true, rule = ["terminal(make test *)", "mine"] }]'
    assert after("mine", policy=policy(user=text)).rule_id == "user:rules.allow[0].rule[1]"


def test_a_mark_lifts_no_ask_and_no_deny():
    text = '[rules]\nallow = [{ rule = "terminal(make test *)", allow_after_untrusted = true }]\n'
    assert after("terminal", *MAKE, policy=policy(user=text + 'ask = ["terminal(make test *)"]')).rule_id == (
        "user:rules.ask[0]"
    )
    assert after(
        "terminal", *MAKE, policy=policy(user=text, project='[rules]\ndeny = ["terminal(make test *)"]')
    ).effect is (Effect.DENY)


def test_an_agents_mark_is_for_that_agent():
    text = '[rules]\nallow=["mine"]\n[agents.a.rules]\nallow = [{ rule = "mine", allow_after_untrusted = true }]'
    assert after("mine", policy=policy(user=text)).effect is Effect.ALLOW
    assert after("mine", policy=policy(user=text), principal="b").effect is Effect.ASK


@pytest.mark.parametrize(
    ("profile", "layers", "brakes"),
    [
        ("workspace", {}, True),
        ("read-only", {}, True),
        ("full", {}, False),
        ("workspace", {"user": "[taint]\nbrake = false"}, False),
        ("full", {"user": "[taint]\nbrake = true"}, True),
        ("full", {"user": "[taint]\nbrake = false", "run": "[taint]\nbrake = true"}, True),
        ("workspace", {"user": "[taint]\nbrake = false", "system": "[taint]\nbrake = true"}, True),
        ("workspace", {"user": "[taint]\nbrake = false", "project": "[taint]\nbrake = true"}, True),
        ("workspace", {"project": "[taint]\nbrake = false"}, True),
        ("full", {"system": "[taint]\nbrake = true"}, True),
    ],
)
def test_any_layer_may_switch_the_brake_on_and_only_authority_may_leave_it_off(profile, layers, brakes):
    assert policy(profile, **layers).brakes_after_untrusted is brakes


def test_without_a_brake_untrusted_content_changes_nothing():
    assert after("terminal", *resources("rm -rf $x", "/ws"), policy=policy("full")).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("layer", "text", "key", "hint"),
    [
        ("user", '[rules]\ndeny = [{ rule = "mine", allow_after_untrusted = true }]', "rules.deny[0]", "allow"),
        (
            "project",
            '[rules]\nallow = [{ rule = "mine", allow_after_untrusted = true }]',
            "rules.allow[0]",
            "takes away",
        ),
        ("user", '[rules]\nallow = [{ rul = "mine" }]', "rules.allow[0].rul", "did you mean rule"),
        ("user", "[rules]\nallow = [{ allow_after_untrusted = true }]", "rules.allow[0]", "rule"),
        (
            "user",
            '[rules]\nallow = [{ rule = "mine", allow_after_untrusted = 1 }]',
            "rules.allow[0].allow_after_untrusted",
            "must be true or false, not a number",
        ),
        ("user", '[rules]\nallow = [{ rule = ["mine", "x y"] }]', "rules.allow[0].rule[1]", "no rule"),
        ("user", '[agents.a.rules]\nask = [{ rules = "mine" }]', "agents.a.rules.ask[0].rules", "did you mean rule"),
        ("user", "[taint]\nbreak = true", "taint.break", "did you mean brake"),
        ("user", "[taint]\n", "taint", "brake"),
        ("user", '[taint]\nbrake = "on"', "taint.brake", "must be true or false, not text"),
    ],
)
def test_what_can_not_be_meant_is_refused_by_its_key(layer, text, key, hint):
    with pytest.raises(PolicyError) as caught:
        policy(**{layer: text})
    assert caught.value.key == key
    assert hint in str(caught.value)


def test_an_explanation_shows_the_brake():
    explanation = explain(policy(), AccessRequest("a", "write_file", (file("a", Access.WRITE),), untrusted=SOURCE))
    steps = {step.layer: step for step in explanation.trails[0].steps}
    assert (steps["taint"].effect, steps["taint"].rule_id) == (Effect.ASK, "taint:brake")
    assert steps["profile workspace"].effect is Effect.ALLOW
    assert explanation.decision.effect is Effect.ASK
