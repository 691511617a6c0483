"""What is said to be covered is covered: checked against the engine's own matching, on random rules and random calls."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from host_bridge.declarations.inclusion import Effort, is_allowed_by, is_caught_by
from host_bridge.policy.matching import Matcher
from host_bridge.policy.model import Access, CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.patterns import PatternError
from host_bridge.policy.rules import Clause, Rule

untimed = settings(deadline=None, max_examples=250)

names = st.sampled_from(["a", "b", "A", "ab", "*", "a*", "*b", "*a*", "**", ".env", ".ssh", "x.csv", "*.csv", r"\*"])
paths = st.builds(
    lambda start, parts: start + "/".join(parts),
    st.sampled_from(["./", "/", "/ws/"]),
    st.lists(names, min_size=1, max_size=4),
)
real_names = st.sampled_from(["a", "b", "A", "ab", "aab", "ba", ".env", ".ssh", "x.csv", "*", "..csv"])
files = st.builds(
    lambda inside, parts: PathResource(
        f"/ws/{'/'.join(parts)}" if inside else f"/{'/'.join(parts)}", "/".join(parts) if inside else None, Access.READ
    ),
    st.booleans(),
    st.lists(real_names, min_size=1, max_size=5),
)

words = st.sampled_from(["*", "#", "a", "-n", "--all", "5", "a*", "*.py", "-*", "src/**", "status", "-c", "x=1", "run"])
commands = st.builds(
    lambda command, rest: " ".join([command, *rest]),
    st.sampled_from(["git", "mine", "ls", "head", "sort", "make", "tar"]),
    st.lists(words, max_size=4),
)
real_words = st.sampled_from(
    [
        "a",
        "ab",
        "-n",
        "--all",
        "5",
        "-5",
        "x.py",
        "src/a/b.py",
        "status",
        "-c",
        "x=1",
        "run",
        "..",
        "../x.py",
        "-o",
        "--output=x",
    ]
)
calls = st.builds(
    lambda command, rest: CommandResource((command, *rest), " ".join([command, *rest]), "/ws"),
    st.sampled_from(["git", "mine", "ls", "head", "sort", "make", "tar"]),
    st.lists(real_words, max_size=5),
)

hosts = st.sampled_from(["*", "*.org", "a.org", "*.a.org", "b.a.org", "org"])
url_patterns = st.one_of(
    hosts.map("domain:{}".format),
    st.builds(
        "url:{}://{}{}{}".format,
        st.sampled_from(["http", "https"]),
        hosts,
        st.sampled_from(["", ":80", ":443", ":8443"]),
        st.sampled_from(["", "/", "/*", "/**", "/a/*", "/a/**", "/a/b", "/a?x=*", "/*/b", "/**/b"]),
    ),
)
places = st.builds(
    UrlResource,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.org", "b.a.org", "c.b.a.org", "org", "x.com"]),
    st.sampled_from([80, 443, 8443]),
    st.sampled_from(["/", "/a", "/a/", "/a/b", "/a/b/c", "/a?x=1", "/a?x=/b", "/a/../b", "/x/b"]),
)

texts = st.text("ab*", min_size=1, max_size=5).filter(lambda text: text.strip())


def finds(rule: str, clause: Clause, resource: Resource | None) -> bool:
    return Matcher(clause, [Rule(rule, clause, "test", "rules")]).find(resource) is not None


def check(narrow: str, wide: str, resource: Resource | None) -> None:
    try:
        if is_allowed_by(narrow, wide):
            assert not finds(narrow, Clause.ALLOW, resource) or finds(wide, Clause.ALLOW, resource)
        if is_caught_by(narrow, wide):
            assert not finds(narrow, Clause.DENY, resource) or finds(wide, Clause.DENY, resource)
    except PatternError:
        assume(False)


@untimed
@given(paths, paths, files)
def test_a_path_said_to_be_covered_is_allowed_by_the_wider_rule(narrow: str, wide: str, file: PathResource) -> None:
    check(f"read_file({narrow})", f"read_file({wide})", file)


@untimed
@given(commands, commands, calls)
def test_a_command_said_to_be_covered_is_allowed_by_the_wider_rule(
    narrow: str, wide: str, call: CommandResource
) -> None:
    check(f"terminal({narrow})", f"terminal({wide})", call)


@untimed
@given(url_patterns, url_patterns, places)
def test_a_place_said_to_be_covered_is_allowed_by_the_wider_rule(narrow: str, wide: str, place: UrlResource) -> None:
    check(f"web_extract({narrow})", f"web_extract({wide})", place)


@untimed
@given(texts, texts, st.text("ab*", max_size=6))
def test_a_text_said_to_be_covered_is_allowed_by_the_wider_rule(narrow: str, wide: str, text: str) -> None:
    check(f"web_search({narrow})", f"web_search({wide})", TextResource(text))


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("read_file(./data/x.csv)", "read_file(./data/*.csv)"),
        ("read_file(./data/*.csv)", "read_file(./data/**)"),
        ("read_file(data/**)", "read_file(./**)"),
        ("read_file(./a/**/x)", "read_file(./**/x)"),
        ("read_file(./**)", "read_file(/**)"),
        ("read_file(./.env)", "read_file(./.env)"),
        ("read_file(./.env)", "read_file"),
        ("read_file(.)", "read_file(./**)"),
        ("terminal(git push origin main)", "terminal(git push *)"),
        ("terminal(git push *)", "terminal(git push *)"),
        ("terminal(head -n 5 x.txt)", "terminal(head -n # *)"),
        ("terminal(mine a *)", "terminal(mine *)"),
        ("terminal(git push *)", "terminal"),
        ("web_extract(domain:docs.python.org)", "web_extract(domain:*.python.org)"),
        ("web_extract(url:https://a.org/v1/*)", "web_extract(url:https://a.org/**)"),
        ("web_extract(url:https://a.org/v1/**)", "web_extract(domain:a.org)"),
        ("web_search(a*b)", "web_search(a*)"),
    ],
)
def test_what_anybody_would_call_covered_is(narrow: str, wide: str) -> None:
    assert is_allowed_by(narrow, wide)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("read_file(./.env)", "read_file(./**)"),  # wildcards don't reach secrets
        ("read_file(./data/**)", "read_file(./data/*)"),
        ("write_file(./a)", "read_file(./a)"),
        ("read_file", "read_file(./**)"),
        ("terminal(git -c x=y log)", "terminal(git *)"),
        ("terminal(sort -o out.txt *)", "terminal(sort *)"),
        ("terminal(git push *)", "terminal(git push origin *)"),
        ("terminal", "terminal(git push *)"),
        ("terminal(mine # x)", "terminal(mine * x)"),  # -5 could be an option
        ("web_extract(domain:python.org)", "web_extract(domain:*.python.org)"),
        ("web_extract(url:https://a.org:8443/x)", "web_extract(domain:a.org)"),
        ("web_extract(domain:a.org)", "web_extract(url:https://a.org/**)"),  # http too
    ],
)
def test_what_is_more_is_not_called_covered(narrow: str, wide: str) -> None:
    assert not is_allowed_by(narrow, wide)


def test_rules_that_take_away_are_compared_as_they_match() -> None:
    assert is_caught_by("read_file(./private/x)", "read_file(./PRIVATE/**)")
    assert is_caught_by("read_file(./private/x)", "read_file")
    assert is_caught_by("terminal(rm *)", "*")
    assert not is_caught_by("read_file(./private/**)", "read_file(./private/x)")
    assert not is_caught_by("terminal(rm *)", "terminal(rm -rf *)")


def test_long_patterns_are_compared_in_bounded_time() -> None:
    long = "read_file(./" + "*a" * 500 + ")"
    assert is_allowed_by(long, long)
    assert not is_allowed_by(long, long.replace("a)", "b)"))


def test_what_can_not_be_proven_any_more_is_not_claimed() -> None:
    effort = Effort(2000)

    assert is_allowed_by("read_file(./data/x.csv)", "read_file(./data/*.csv)", effort)
    assert not is_allowed_by("read_file(./" + "a" * 200 + ")", "read_file(./" + "*a" * 100 + ")", effort)
    assert not is_allowed_by("read_file(./data/x.csv)", "read_file(./data/*.csv)", effort)
