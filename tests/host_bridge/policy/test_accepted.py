"""An accepted declaration turns a question into a yes, for exactly what it allows, and nothing denied into anything."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, Decision, Effect, PathResource, Resource, UrlResource

RULES = (
    *("read_file(./**)", "read_file(./data/**)", "read_file(./.env)", "write_file(./**)", "write_file(./out/*)"),
    *("terminal", "terminal(git push *)", "terminal(git push origin main)", "terminal(ls)", "process"),
    *("web_extract", "web_extract(domain:*.python.org)"),
)
REQUESTS = (
    *(("read_file", (PathResource(f"/ws/{name}", name, Access.READ),)) for name in ("data/x", "a", ".env")),
    *(("write_file", (PathResource(f"/ws/{name}", name, Access.WRITE),)) for name in ("out/a", "b", ".git/config")),
    *(("terminal", resources(line, "/ws")) for line in ("git push", "git push origin main", "ls; git push", "echo $x")),
    ("terminal", resources("git push", "/elsewhere")),
    ("process", ()),
    ("web_extract", (UrlResource("https", "docs.python.org", 443, "/"), UrlResource("https", "evil.org", 443, "/"))),
)
clauses = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("allow", "ask", "deny"), st.lists(st.sampled_from(RULES), max_size=4))
)


def decided(permissions: dict, rules: str, request: tuple[str, tuple[Resource, ...]], *, accepted: bool) -> Decision:
    policy = load_policy(
        profile="read-only",
        texts=(("user", rules),),
        notebook_permissions=permissions,
        declaration_accepted=accepted,
        workspace="/ws",
    )
    return decide(policy, AccessRequest("default", *request))


@settings(deadline=None, max_examples=300)
@given(clauses, clauses, st.lists(st.sampled_from(RULES), max_size=4), st.sampled_from(REQUESTS))
def test_acceptance_answers_questions_and_changes_nothing_else(declared, user, unless, request):
    rules = "\n".join(["[rules]", *(f"{name} = {json.dumps(texts)}" for name, texts in user.items())])
    rules += f"\nask_unless_allowed = {json.dumps(unless)}"
    before = decided(declared, rules, request, accepted=False)
    after = decided(declared, rules, request, accepted=True)

    if before.effect is Effect.ASK and after.effect is Effect.ALLOW:
        # The declaration by itself, before an authority that allows everything, allows the call.
        alone = load_policy(profile="full", notebook_permissions=declared, workspace="/ws")
        assert decide(alone, AccessRequest("default", *request)).effect is Effect.ALLOW
        assert after.rule_id.startswith("accepted:metadata.hermes.permissions.allow[")
    else:
        assert after == before


def test_what_the_notebook_itself_wants_asked_is_asked_still():
    push = ("terminal", resources("git push", "/ws"))
    wants = {"allow": ["terminal(git push *)"], "ask": ["terminal(git push *)"]}
    asks = '[rules]\nask_unless_allowed = ["terminal"]'

    assert decided({"allow": ["terminal(git push *)"]}, asks, push, accepted=True).effect is Effect.ALLOW
    assert decided(wants, asks, push, accepted=True).effect is Effect.ASK


def test_a_command_elsewhere_needs_the_bare_rule_here_too():
    elsewhere = ("terminal", resources("git push", "/elsewhere"))
    asks = '[rules]\nask_unless_allowed = ["terminal"]'

    assert decided({"allow": ["terminal(git push *)"]}, asks, elsewhere, accepted=True).effect is Effect.ASK
    assert decided({"allow": ["terminal"]}, asks, elsewhere, accepted=True).effect is Effect.ALLOW
