"""A difference of authority: what is not named as gained can't be done, and what anybody would call a gain is named."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.declarations.difference import BudgetChange, Gain, Gained, authority_diff
from host_bridge.errors import PolicyError
from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import load_policy
from host_bridge.policy.model import Access, AccessRequest, Effect, PathResource, TextResource, UrlResource

RULES = (
    *("read_file", "read_file(./**)", "read_file(./data/**)", "read_file(./data/x.csv)", "read_file(./.env)"),
    *("search_files(./**)", "search_files(./data/**)", "write_file(./out/*)", "write_file(./**)", "patch(./**)"),
    *("terminal", "terminal(git push *)", "terminal(git push origin main)", "terminal(ls)", "terminal(head -n #)"),
    *(
        "process",
        "process(x)",
        "web_extract",
        "web_extract(domain:*.python.org)",
        "web_search(a*)",
        "web_search",
        "mine",
    ),
)
REQUESTS = (
    *(
        (tool, (PathResource(f"/ws/{path}", path, access),))
        for tool, access in (
            ("read_file", Access.READ),
            ("search_files", Access.READ),
            ("write_file", Access.WRITE),
            ("patch", Access.WRITE),
        )
        for path in ("", "data/x.csv", "DATA/x.csv", "out/a", ".env", "a")
    ),
    *(
        ("terminal", resources(line, "/ws"))
        for line in ("ls", "git push", "git push origin main", "head -n 5", "x; ls", "$x")
    ),
    *(("web_extract", (UrlResource("https", host, 443, "/"),)) for host in ("docs.python.org", "python.org")),
    *(("web_search", (TextResource(text),)) for text in ("ab", "b")),
    ("process", ()),
    ("mine", ()),
    ("other", ()),
)
rule_lists = st.lists(st.sampled_from(RULES), max_size=3)
taking = st.lists(st.sampled_from((*RULES, "*", "*(./data/**)")), max_size=2)
declarations = st.none() | st.fixed_dictionaries({}, optional={"allow": rule_lists, "ask": taking, "deny": taking})


def level(permissions: dict[str, Any] | None, request: Any) -> Effect:
    policy = load_policy(profile="full", notebook_permissions=permissions, workspace="/ws")
    return decide(policy, AccessRequest("default", *request)).effect


@settings(deadline=None, max_examples=200)
@given(declarations, declarations)
def test_where_nothing_is_said_to_be_gained_no_call_is_decided_more_mildly(before: Any, after: Any) -> None:
    if authority_diff(before, after).gains:
        return
    for request in REQUESTS:
        assert level(after, request) >= level(before, request), request


@settings(deadline=None, max_examples=50)
@given(declarations)
def test_nothing_changes_between_a_declaration_and_itself_in_another_order(declared: Any) -> None:
    shuffled = declared and {name: [*reversed(rules), *rules] for name, rules in reversed(declared.items())}

    assert not authority_diff(declared, shuffled)


def test_a_declaration_that_is_gone_is_the_whole_policy() -> None:
    difference = authority_diff({"allow": []}, None)

    assert difference.gains
    assert difference.declaration == "removed"
    assert authority_diff(None, {"allow": ["terminal"]}).gains is False
    assert authority_diff(None, {"allow": ["terminal"]}).declaration == "added"
    assert not authority_diff(None, None)


def test_rules_are_gained_widened_and_lost() -> None:
    difference = authority_diff(
        {"allow": ["read_file(./data/*.csv)", "terminal(git status)", "write_file(./out.txt)"]},
        {"allow": ["read_file(./data/**)", "terminal(git push *)", "write_file(./out.txt)"]},
    )

    assert difference.gained == (
        Gained(Gain.WIDENED, "read_file(./data/**)", "read_file(./data/*.csv)"),
        Gained(Gain.ALLOWED, "terminal(git push *)"),
    )
    assert difference.lost == ("terminal(git status)",)


def test_a_narrower_rule_gains_nothing() -> None:
    difference = authority_diff({"allow": ["read_file(./**)"]}, {"allow": ["read_file(./data/x.csv)"]})

    assert not difference.gains
    assert difference.lost == ("read_file(./**)",)


def test_what_was_asked_or_denied_and_is_no_longer_is_a_gain() -> None:
    before = {"allow": ["terminal"], "ask": ["terminal(git push *)"], "deny": ["terminal(rm *)"]}

    assert authority_diff(before, {"allow": ["terminal"]}).gained == (
        Gained(Gain.UNDENIED, "terminal(rm *)"),
        Gained(Gain.UNASKED, "terminal(git push *)"),
    )
    assert authority_diff(before, {"allow": ["read_file(./a)"]}).gained == (Gained(Gain.ALLOWED, "read_file(./a)"),)
    assert not authority_diff(before, {"allow": ["terminal"], "deny": ["terminal"]}).gains


def test_budgets_are_compared_each() -> None:
    difference = authority_diff(
        {"budgets": {"calls": 10, "bytes": 5, "seconds": 1}},
        {"budgets": {"calls": 20, "bytes": 4, "concurrent_calls": 2}},
    )

    assert set(difference.raised) == {BudgetChange("calls", 10, 20), BudgetChange("seconds", 1, None)}
    assert set(difference.lowered) == {BudgetChange("bytes", 5, 4), BudgetChange("concurrent_calls", None, 2)}
    assert difference.gains


def test_a_strangers_declaration_is_compared_in_bounded_time() -> None:
    before = {"allow": [f"read_file(./{'*a' * 500}{number})" for number in range(50)]}
    after = {"allow": [f"read_file(./{'*b' * 500}{number})" for number in range(50)]}
    began = time.monotonic()

    assert len(authority_diff(before, after).gained) == 50
    assert time.monotonic() - began < 60  # some seconds; without a bound, an hour


def test_more_rules_than_anybody_reads_are_refused() -> None:
    with pytest.raises(PolicyError, match="more than a person reviews"):
        authority_diff({}, {"allow": [f"read_file(./{number})" for number in range(501)]})


def test_a_note_is_no_authority_and_nonsense_is_refused() -> None:
    assert not authority_diff({"note": "a"}, {"note": "b"})
    with pytest.raises(PolicyError, match="alow"):
        authority_diff({}, {"alow": []})


def test_the_difference_is_plain_data() -> None:
    assert authority_diff({}, {"allow": ["terminal(ls)"]}).to_dict() == {
        "gains": True,
        "declaration": "kept",
        "gained": ({"how": "allowed", "rule": "terminal(ls)", "before": ""},),
        "lost": (),
        "raised": (),
        "lowered": (),
    }
