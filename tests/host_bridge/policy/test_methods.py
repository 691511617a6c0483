"""What a rule about URLs says of methods: narrow where it allows, generous where it denies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.audit.recorded_calls import recorded_resources
from host_bridge.declarations.inclusion import is_allowed_by
from host_bridge.declarations.learning import ObservedCall, learn
from host_bridge.declarations.sentences import rule_sentence
from host_bridge.errors import InvalidCallError
from host_bridge.policy.engine import decide
from host_bridge.policy.floor import FLOOR
from host_bridge.policy.loading import load_policy
from host_bridge.policy.matching import Matcher
from host_bridge.policy.methods import METHODS, parse_request
from host_bridge.policy.model import Access, AccessRequest, Effect, UrlResource
from host_bridge.policy.patterns import PatternError
from host_bridge.policy.remedies import rule_for
from host_bridge.policy.rules import Clause, Rule
from host_bridge.policy.subjects import WORKSPACE, path_resource, resources_of

ALL = set(METHODS)


def meant(rule: str, clause: Clause, url: str = "https://api.example.org/v1/x") -> set[str]:
    matcher = Matcher(clause, [Rule(rule, clause, "test", "rules")])
    return {method for method in METHODS if matcher.find(parse_request(f"{method} {url}")) is not None}


@pytest.mark.parametrize(
    ("rule", "allowed", "denied"),
    [
        ("http_request", ALL, ALL),
        ("http_request(domain:api.example.org)", {"GET", "HEAD"}, ALL),
        ("http_request(url:https://api.example.org/v1/**)", {"GET", "HEAD"}, ALL),
        ("http_request(GET url:https://api.example.org/v1/**)", {"GET"}, {"GET", "HEAD"}),
        ("http_request(POST domain:*.example.org)", {"POST"}, {"POST"}),
        ("http_request(POST,PUT domain:*.example.org)", {"POST", "PUT"}, {"POST", "PUT"}),
        ("http_request(GET, DELETE domain:*)", {"GET", "DELETE"}, {"GET", "HEAD", "DELETE"}),
        ("http_request(* domain:api.example.org)", ALL, ALL),
        ("http_request(* domain:other.example.org)", set(), set()),
        ("*(POST domain:api.example.org)", {"POST"}, {"POST"}),
        ("web_extract(domain:api.example.org)", {"GET", "HEAD"}, ALL),
    ],
)
def test_an_allow_rule_means_what_it_names_and_a_deny_rule_all_that_it_may(rule, allowed, denied):
    assert meant(rule, Clause.ALLOW) == allowed
    assert meant(rule, Clause.DENY) == meant(rule, Clause.ASK) == denied


def test_a_tool_without_methods_is_allowed_by_rules_without_and_denied_by_any():
    url = UrlResource("https", "a.org", 443, "/")
    for rule, allows in (
        ("mine(domain:a.org)", True),
        ("mine(GET domain:a.org)", False),
        ("mine(* domain:a.org)", False),
    ):
        assert (Matcher(Clause.ALLOW, [Rule(rule, Clause.ALLOW, "", "")]).find(url) is not None) is allows
        assert Matcher(Clause.DENY, [Rule(rule, Clause.DENY, "", "")]).find(url) is not None


@pytest.mark.parametrize(
    "rule",
    [
        *(
            "http_request(post domain:a.org)",
            "http_request(FETCH domain:a.org)",
            "http_request(GET,FETCH domain:a.org)",
        ),
        *("http_request(GET https://a.org/)", "http_request(GET)", "http_request(GET,* domain:a.org)"),
        *("http_request(GETdomain:a.org)", "http_request(GET PUT domain:a.org)", "web_extract(GET domain:a.org)"),
        "web_extract(* domain:a.org)",
    ],
)
def test_what_could_never_match_or_be_read_in_two_ways_is_refused(rule):
    with pytest.raises(PatternError):
        Matcher(Clause.DENY, [Rule(rule, Clause.DENY, "test", "rules")])


def test_a_call_about_a_request_is_read_as_people_write_it():
    place = ("https", "a.org", 443, "/x")
    assert resources_of("http_request", "post HTTPS://A.org/x") == (UrlResource(*place, "POST"),)
    assert resources_of("http_request", "https://a.org/x") == (UrlResource(*place, "GET"),)
    for wrong in ("FETCH https://a.org/", "GET", "GET a.org", "", "GET  file:///etc/passwd"):
        with pytest.raises(InvalidCallError):
            resources_of("http_request", wrong)


@given(st.sampled_from(METHODS), st.sampled_from(["https://a.org/x", "http://a.org/", "https://a.org:8443/y?z"]))
def test_what_is_recommended_or_learned_for_a_request_allows_it_and_no_method_that_changes_more(method, url):
    request = parse_request(f"{method} {url}")
    learned = learn([ObservedCall("http_request", (request,))])
    for rule in (rule_for("http_request", request), *learned.allow):
        assert meant(rule, Clause.ALLOW, url) == ({"GET", "HEAD"} if method in ("GET", "HEAD") else {method})
    assert not learned.unlearned


@pytest.mark.parametrize(
    ("narrow", "wide", "covered"),
    [
        ("GET domain:a.org", "domain:a.org", True),
        ("domain:a.org", "GET,HEAD domain:a.org", True),
        ("domain:a.org", "* domain:a.org", True),
        ("POST domain:a.org", "* domain:*", True),
        ("POST url:https://a.org/x", "POST,PUT url:https://a.org/**", True),
        ("POST domain:a.org", "domain:a.org", False),
        ("domain:a.org", "GET domain:a.org", False),
        ("* domain:a.org", "POST domain:a.org", False),
        ("POST,PUT domain:a.org", "POST domain:a.org", False),
    ],
)
def test_a_rule_covers_another_only_with_all_of_its_methods(narrow, wide, covered):
    assert is_allowed_by(f"http_request({narrow})", f"http_request({wide})") is covered


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("http_request", "make HTTP requests to any public place, with any method and body"),
        ("http_request(domain:a.org)", "make HTTP requests to a.org (GET, HEAD)"),
        ("http_request(PUT,POST url:https://a.org/x)", "make HTTP requests to https://a.org/x (POST, PUT)"),
        ("web_extract(domain:a.org)", "fetch pages of a.org"),
    ],
)
def test_a_reader_is_told_the_methods(rule, sentence):
    assert rule_sentence(rule) == sentence


def test_a_request_asks_until_a_rule_allows_it_and_is_braked_after_untrusted_content():
    request = parse_request("POST https://api.example.org/v1/x")
    rules = '[rules]\nallow = ["http_request(POST domain:api.example.org)"]'
    for policy, untrusted, effect in (
        (load_policy(profile="workspace"), "", Effect.ASK),
        (load_policy(profile="read-only"), "", Effect.DENY),
        (load_policy(profile="workspace", texts=(("user", f"version = 1\n{rules}"),)), "", Effect.ALLOW),
        (load_policy(profile="workspace", texts=(("user", f"version = 1\n{rules}"),)), "a page", Effect.ASK),
    ):
        decision = decide(policy, AccessRequest("", "http_request", (request,), untrusted))
        assert decision.effect is effect, decision
    ask = decide(load_policy(profile="workspace"), AccessRequest("", "http_request", (request,)))
    assert "http_request of POST https://api.example.org" in ask.reason
    assert "http_request(POST domain:api.example.org)" in ask.remedy


URL = "https://api.example.org/v1/x"


@pytest.mark.parametrize(
    ("rules", "effect", "about"),
    [
        ('allow = ["http_request(domain:api.example.org)"]', Effect.DENY, "write_file of ./out/x"),
        ('allow = ["http_request", "write_file(./data/**)"]', Effect.DENY, "write_file of ./out/x"),
        (
            'allow = ["http_request", "write_file"]\ndeny = ["write_file(./out/**)"]',
            Effect.DENY,
            "write_file of ./out/x",
        ),
        ('allow = ["http_request", "write_file"]\nask = ["write_file(./out/**)"]', Effect.ASK, "write_file of ./out/x"),
        ('allow = ["write_file(./out/**)"]', Effect.DENY, "http_request of GET"),
        ('allow = ["write_file"]\nask = ["http_request"]', Effect.ASK, "http_request of GET"),
        (
            'allow = ["http_request", "write_file"]\ndeny = ["http_request(domain:*)"]',
            Effect.DENY,
            "http_request of GET",
        ),
        ('allow = ["http_request(domain:api.example.org)", "write_file(./out/**)"]', Effect.ALLOW, ""),
    ],
)
def test_what_a_request_saves_is_a_write_file_besides(rules, effect, about):
    policy = load_policy(profile="read-only", texts=(("user", f"version = 1\n[rules]\n{rules}\n"),))
    saving = (parse_request(URL), path_resource("out/x", Access.WRITE))
    decision = decide(policy, AccessRequest("", "http_request", saving))
    assert decision.effect is effect, decision
    assert about in decision.reason


def test_saving_reaches_nothing_that_no_rule_gives_away():
    policy = load_policy(profile="full", workspace="/workspace")
    for path in (".git/hooks/pre-commit", ".envrc", ".vscode/tasks.json"):
        request = AccessRequest("", "http_request", (parse_request(URL), path_resource(path, Access.WRITE)))
        assert decide(policy, request).rule_id.startswith(f"{FLOOR}:"), path


def test_saving_is_recommended_and_learned_as_two_rules():
    saving = (parse_request(f"POST {URL}"), path_resource("out/x", Access.WRITE))
    rules = ("http_request(POST domain:api.example.org)", "write_file(./out/x)")
    assert learn([ObservedCall("http_request", saving)]).allow == rules
    denied = decide(load_policy(profile="read-only"), AccessRequest("", "http_request", saving))
    assert all(rule in denied.remedy for rule in rules)
    shown = {"method": "POST", "url": URL, "save_to": "out/x"}
    assert recorded_resources("http_request", shown, WORKSPACE) == saving
