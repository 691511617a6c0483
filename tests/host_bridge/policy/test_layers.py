"""Layers only narrow, order never matters, the strictest answer wins: over random rules and requests."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.errors import PolicyError
from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide, explain
from host_bridge.policy.loading import load_policy, narrowing_layer
from host_bridge.policy.model import Access, AccessRequest, Effect, PathResource, TextResource, UrlResource

RULES = [
    *(
        "read_file",
        "read_file(./**)",
        "read_file(./data/**)",
        "read_file(./data/x.csv)",
        "read_file(/etc/*)",
        "read_file(./.env)",
    ),
    *("write_file", "write_file(./**)", "write_file(./out/*)", "patch(./**)", "search_files(./**)", "list_files(./**)"),
    *(
        "terminal",
        "terminal(git status *)",
        "terminal(git push *)",
        "terminal(ls)",
        "terminal(echo *)",
        "terminal(rm -rf x)",
    ),
    *(
        "web_extract",
        "web_extract(domain:*.python.org)",
        "web_extract(url:https://example.org/a/**)",
        "web_search",
        "process",
        "mine",
    ),
]
REQUESTS = [
    *(
        (tool, (PathResource(f"/ws/{path}", path, Access.READ),))
        for tool in ("read_file", "search_files", "list_files")
        for path in ("", "data", "data/x.csv", "DATA/x.csv", "src/a.py", ".env", "a\u202eb")
    ),
    *(
        (tool, (PathResource(f"/ws/{path}", path, Access.WRITE),))
        for tool in ("write_file", "patch")
        for path in ("out/a", "data/x.csv", ".git/hooks/x", "hermes.toml")
    ),
    ("read_file", (PathResource("/etc/passwd", None, Access.READ),)),
    ("patch", (PathResource("/ws/out/a", "out/a", Access.WRITE), PathResource("/ws/b", "b", Access.WRITE))),
    *(
        ("terminal", resources(line, "/ws"))
        for line in ("git status -s", "git push", "ls; rm -rf x", "echo hi", "echo $x", "sudo rm -rf x")
    ),
    (
        "web_extract",
        (UrlResource("https", "docs.python.org", 443, "/"), UrlResource("https", "example.org", 443, "/a/b")),
    ),
    ("web_extract", (UrlResource("https", "python.org", 443, "/"),)),
    ("web_search", (TextResource("weather"),)),
    ("process", ()),
    ("mine", ()),
    ("unknown", ()),
]

untimed = settings(deadline=None, max_examples=60)  # how long an example takes is the machine's business

rule_lists = st.lists(st.sampled_from(RULES), max_size=5)
CLAUSES = ("allow", "ask", "deny", "ask_unless_allowed")
tables = st.fixed_dictionaries({}, optional=dict.fromkeys(CLAUSES, rule_lists))
layers = st.tuples(tables, tables)
marked_rules = st.lists(st.sampled_from(RULES).map(lambda rule: Marked(rule)) | st.sampled_from(RULES), max_size=5)
marked_tables = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(CLAUSES, rule_lists), "allow": marked_rules, "brake": st.booleans()}
)
marked_layers = st.tuples(marked_tables, st.fixed_dictionaries({}, optional={"allow": marked_rules}))
narrowings = st.lists(
    st.lists(st.sampled_from([*RULES, "*(./data/**)", "*(domain:*.python.org)"]), max_size=4).map(tuple), max_size=3
)
sources = st.sampled_from(["", "web_extract of https://example.org"])
requests = st.builds(
    lambda request, principal: AccessRequest(principal, *request),
    st.sampled_from(REQUESTS),
    st.sampled_from(["a", "b", "c"]),
)


class Marked(str):
    """A rule that also holds after untrusted content."""


def toml(general: dict, for_a: dict) -> str:
    def lists(table: dict) -> list[str]:
        return [f"{name} = [{', '.join(map(entry, rules))}]" for name, rules in table.items() if name in CLAUSES]

    def entry(rule: str) -> str:
        text = json.dumps(rule)
        return f"{{ rule = {text}, allow_after_untrusted = true }}" if isinstance(rule, Marked) else text

    lines = ["version = 1", "[rules]", *lists(general), "[agents.a.rules]", *lists(for_a)]
    if "brake" in general:
        lines += ["[taint]", f"brake = {json.dumps(general['brake'])}"]
    return "\n".join(lines)


@untimed
@given(layers, layers, st.sampled_from(["system", "project"]), requests, st.sampled_from(["read-only", "full"]))
def test_adding_a_constraining_layer_never_widens(user, constraint, name, request, profile):
    texts = [("user", toml(*user))]
    before = decide(load_policy(profile=profile, texts=texts, workspace="/ws"), request)
    after = decide(load_policy(profile=profile, texts=[*texts, (name, toml(*constraint))], workspace="/ws"), request)
    assert after.effect >= before.effect


@untimed
@given(layers, tables, requests)
def test_a_notebooks_declaration_never_widens(user, declared, request):
    texts = [("user", toml(*user))]
    declared.pop("ask_unless_allowed", None)
    before = decide(load_policy(profile="read-only", texts=texts), request)
    after = decide(load_policy(profile="read-only", texts=texts, notebook_permissions=declared), request)
    assert after.effect >= before.effect


@untimed
@given(marked_layers, narrowings, st.lists(st.sampled_from(RULES), max_size=4).map(tuple), requests, sources)
def test_a_cells_narrowing_never_widens(user, before, added, request, untrusted):
    policy = load_policy(profile="workspace", texts=[("user", toml(*user))], workspace="/ws")
    request = dataclasses.replace(request, untrusted=untrusted, narrowing=tuple(map(narrowing_layer, before)))
    narrowed = dataclasses.replace(request, narrowing=(*request.narrowing, narrowing_layer(added)))
    assert decide(policy, narrowed).effect >= decide(policy, request).effect


@untimed
@given(narrowings, requests)
def test_the_order_of_narrowings_never_matters(nested, request):
    policy = load_policy(profile="workspace", workspace="/ws")
    layers = tuple(map(narrowing_layer, nested))
    one = decide(policy, dataclasses.replace(request, narrowing=layers))
    assert decide(policy, dataclasses.replace(request, narrowing=layers[::-1])).effect == one.effect


@untimed
@given(marked_layers, tables, st.booleans(), st.sampled_from(["system", "project"]), requests, sources)
def test_adding_a_constraining_layer_never_widens_after_untrusted_content(user, rules, brake, name, request, untrusted):
    texts = [("user", toml(*user))]
    request = dataclasses.replace(request, untrusted=untrusted)
    before = decide(load_policy(profile="workspace", texts=texts, workspace="/ws"), request)
    added = (name, toml({**rules, "brake": brake}, {}))
    after = decide(load_policy(profile="workspace", texts=[*texts, added], workspace="/ws"), request)
    assert after.effect >= before.effect


@untimed
@given(marked_layers, requests)
def test_untrusted_content_only_ever_makes_an_ask_of_an_allow(user, request):
    policy = load_policy(profile="workspace", texts=[("user", toml(*user))], workspace="/ws")
    before = decide(policy, request)
    after = decide(policy, dataclasses.replace(request, untrusted="x"))
    assert (before.effect, after.effect) in {
        *((effect, effect) for effect in Effect),
        (Effect.ALLOW, Effect.ASK),
    }
    if not policy.brakes_after_untrusted:
        assert before == after


@untimed
@given(marked_layers, requests, sources)
def test_the_order_of_marked_rules_never_matters(user, request, untrusted):
    turned = tuple({name: value if name == "brake" else value[::-1] for name, value in table.items()} for table in user)
    request = dataclasses.replace(request, untrusted=untrusted)
    one, other = (
        load_policy(profile="read-only", texts=[("user", toml(*tables))], workspace="/ws") for tables in (user, turned)
    )
    assert decide(one, request).effect == decide(other, request).effect


@untimed
@given(layers, rule_lists, st.sampled_from(["deny", "ask"]), requests)
def test_adding_deny_or_ask_rules_never_widens(user, added, clause, request):
    texts = [("user", toml(*user))]
    before = decide(load_policy(profile="read-only", texts=texts), request)
    after = decide(load_policy(profile="read-only", texts=[*texts, ("more", toml({clause: added}, {}))]), request)
    if clause == "deny":
        assert after.effect >= before.effect
    else:
        # An ask turns a yes into a question; it may also turn a silence into one, for a person to decide.
        assert not (before.effect is Effect.ASK and after.effect is Effect.ALLOW)
        assert not (before.effect is Effect.DENY and after.effect is Effect.ALLOW)


@untimed
@given(layers, layers, requests)
def test_the_order_of_sources_and_rules_never_matters(first, second, request):
    def turned(layer):
        return tuple({name: rules[::-1] for name, rules in table.items()} for table in layer)

    one = load_policy(profile="read-only", texts=[("user", toml(*first)), ("run", toml(*second))])
    other = load_policy(profile="read-only", texts=[("run", toml(*turned(second))), ("user", toml(*turned(first)))])
    assert decide(one, request).effect == decide(other, request).effect


@untimed
@given(layers, requests)
def test_a_call_is_allowed_only_if_each_of_its_resources_is(user, request):
    policy = load_policy(profile="read-only", texts=[("user", toml(*user))])
    alone = [
        decide(policy, AccessRequest(request.principal, request.tool, (resource,))) for resource in request.resources
    ]
    if alone:
        assert decide(policy, request).effect == max(decision.effect for decision in alone)


@untimed
@given(marked_layers, layers, requests, narrowings, sources)
def test_an_explanation_agrees_with_the_decision(user, constraint, request, nested, untrusted):
    request = dataclasses.replace(request, untrusted=untrusted, narrowing=tuple(map(narrowing_layer, nested)))
    policy = load_policy(
        profile="read-only", texts=[("user", toml(*user)), ("project", toml(*constraint))], workspace="/ws"
    )
    explanation = explain(policy, request)
    assert explanation.decision == decide(policy, request)
    effects = [step.effect for trail in explanation.trails for step in trail.steps if step.effect is not None]
    assert max(effects) == explanation.decision.effect
    ids = [step.rule_id for trail in explanation.trails for step in trail.steps]
    assert explanation.decision.rule_id in ids


def effect(texts, tool, *resources_, principal="a", **options):
    policy = load_policy(profile="workspace", texts=texts, **options)
    return decide(policy, AccessRequest(principal, tool, resources_)).effect


def read(path: str) -> PathResource:
    return PathResource(f"/ws/{path}", path, Access.READ)


def test_a_constraining_layer_leaves_alone_what_it_does_not_mention():
    layer = [("project", 'version = 1\n[rules]\nallow = ["write_file(./out/**)"]')]
    assert effect(layer, "read_file", read("a")) is Effect.ALLOW
    assert effect(layer, "write_file", PathResource("/ws/a", "a", Access.WRITE)) is Effect.DENY
    assert effect(layer, "write_file", PathResource("/ws/out/a", "out/a", Access.WRITE)) is Effect.ALLOW


def test_a_constraining_layer_that_only_denies_leaves_the_rest_alone():
    layer = [("project", 'version = 1\n[rules]\ndeny = ["read_file(./private/**)"]')]
    assert effect(layer, "read_file", read("a")) is Effect.ALLOW
    assert effect(layer, "read_file", read("private/a")) is Effect.DENY
    assert effect(layer, "search_files", read("private/a")) is Effect.DENY


def test_a_constraining_layer_can_not_allow():
    layer = [("project", 'version = 1\n[rules]\nallow = ["terminal"]')]
    assert effect(layer, "terminal", *resources("rm x", "/ws")) is Effect.DENY


def test_a_declaration_denies_what_it_does_not_declare():
    declared = {"allow": ["read_file(./data/**)", "terminal(git status *)"]}
    assert effect([], "read_file", read("data/a"), notebook_permissions=declared) is Effect.ALLOW
    assert effect([], "read_file", read("a"), notebook_permissions=declared) is Effect.DENY
    assert effect([], "list_files", read("data"), notebook_permissions=declared) is Effect.DENY
    assert effect([], "terminal", *resources("git log", "/ws"), notebook_permissions=declared) is Effect.DENY
    assert effect([], "terminal", *resources("git status", "/ws"), notebook_permissions=declared) is Effect.ALLOW
    assert effect([], "process", notebook_permissions=declared) is Effect.ALLOW  # belongs to terminal
    assert effect([], "read_file", read("data/a"), notebook_permissions={}) is Effect.DENY
    assert effect([], "process", notebook_permissions={}) is Effect.DENY


def test_a_users_rule_answers_what_the_profile_would_have_asked():
    docs = UrlResource("https", "docs.python.org", 443, "/")
    assert effect([], "web_extract", docs) is Effect.ASK
    user = [("user", 'version = 1\n[rules]\nallow = ["web_extract(domain:*.python.org)"]')]
    assert effect(user, "web_extract", docs) is Effect.ALLOW
    assert effect(user, "web_extract", UrlResource("https", "example.org", 443, "/")) is Effect.ASK


def test_an_agents_section_adds_to_the_general_rules_for_that_agent_only():
    texts = [
        (
            "user",
            'version = 1\n[rules]\nallow = ["terminal(make test)"]\n'
            '[agents.a.rules]\nallow = ["terminal(make docs)"]\ndeny = ["read_file(./x)"]\n',
        )
    ]
    docs, test = resources("make docs", "/ws"), resources("make test", "/ws")
    assert effect(texts, "terminal", *docs, principal="a") is Effect.ALLOW
    assert effect(texts, "terminal", *docs, principal="b") is Effect.DENY
    assert effect(texts, "terminal", *test, principal="a") is Effect.ALLOW
    assert effect(texts, "terminal", *test, principal="b") is Effect.ALLOW
    assert effect(texts, "read_file", read("x"), principal="a") is Effect.DENY
    assert effect(texts, "read_file", read("x"), principal="b") is Effect.ALLOW


def test_a_general_deny_holds_for_an_agent_whose_section_allows():
    texts = [
        (
            "user",
            'version = 1\n[rules]\ndeny = ["terminal(make *)"]\n[agents.a.rules]\nallow = ["terminal(make docs)"]\n',
        )
    ]
    assert effect(texts, "terminal", *resources("make docs", "/ws"), principal="a") is Effect.DENY


def test_a_deny_rule_for_every_tool_reaches_tools_it_never_heard_of():
    texts = [("user", 'version = 1\n[rules]\nallow = ["brand_new"]\ndeny = ["*(./private/**)"]')]
    assert effect(texts, "brand_new", read("private/a")) is Effect.DENY
    assert effect(texts, "brand_new", read("a")) is Effect.ALLOW
    assert effect(texts, "read_file", read("Private/a")) is Effect.DENY


def test_only_the_profile_full_allows_every_tool():
    with pytest.raises(PolicyError, match="full"):
        load_policy(profile="workspace", texts=[("user", '[rules]\nallow = ["*"]')])
    full = load_policy(profile="full")
    assert decide(full, AccessRequest("a", "brand_new", ())).effect is Effect.ALLOW
    assert decide(full, AccessRequest("a", "terminal", resources("rm -rf $x", "/ws"))).effect is Effect.ALLOW


def test_rules_about_commands_mean_the_workspace():
    policy = load_policy(
        profile="workspace", workspace="/ws", texts=[("user", '[rules]\nallow = ["terminal(make test)"]')]
    )

    def decided(line, folder):
        return decide(policy, AccessRequest("a", "terminal", resources(line, folder)))

    assert decided("make test", "/ws").effect is Effect.ALLOW
    assert decided("make test", "/ws/sub").effect is Effect.ALLOW
    assert decided("make test", "/ws2").effect is Effect.DENY
    assert decided("make test", "/").effect is Effect.DENY
    # git reads its settings from where it runs, and a session can write them below the workspace
    assert decided("git status", "/ws").effect is Effect.ALLOW
    assert decided("git status", "/ws/sub").effect is Effect.DENY
    assert "workdir" in decided("git status", "/ws/sub").reason
    everywhere = load_policy(profile="full", workspace="/ws")
    assert decide(everywhere, AccessRequest("a", "terminal", resources("git status", "/x"))).effect is Effect.ALLOW
