"""A policy file says what it has to answer, and is refused when it answers something else."""

from __future__ import annotations

import pytest

from host_bridge.errors import PolicyError
from host_bridge.policy.expectations import MAX_CALLS
from host_bridge.policy.loading import check, load_policy

RULES = """
version = 1

[rules]
allow = ["terminal(git push *)", "web_extract(domain:*.python.org)", "mine(./data/**)"]
ask   = ["terminal(git push --force *)"]
deny  = ["read_file(./private/**)"]

[agents.nightly.rules]
deny = ["terminal(git push *)"]
"""


def written(tmp_path, tests: str, rules: str = RULES) -> str:
    file = tmp_path / "p.toml"
    file.write_text(f"{rules}\n{tests}")
    return str(file)


def refused(tmp_path, tests: str, rules: str = RULES, layer: str = "user", **options) -> PolicyError:
    path = written(tmp_path, tests, rules)
    with pytest.raises(PolicyError) as caught:
        load_policy(profile="read-only", paths=[(layer, path)], **options)
    assert caught.value.path == path
    assert path in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("terminal(git push origin main)", "allow"),
        ("terminal(git push --force)", "ask"),
        ("terminal(git push origin main && rm -rf x)", "deny"),
        ("terminal(git push $BRANCH)", "ask"),
        ("terminal(echo (x))", "deny"),
        ("read_file(private/x)", "deny"),
        ("read_file(./data/../private/x)", "deny"),
        ("read_file(/workspace/private/x)", "deny"),
        ("read_file(Private/x)", "deny"),
        ("search_files(private)", "deny"),
        ("read_file(data/x)", "allow"),
        ("read_file(../x)", "deny"),
        ("read_file(//etc/passwd)", "deny"),
        ("read_file(.env)", "deny"),
        ("write_file(out/x)", "allow"),
        ("write_file(.git/hooks/x)", "deny"),
        ("web_extract(https://docs.python.org/3/)", "allow"),
        ("web_extract(https://docs.python.org.evil.com/)", "ask"),
        ("web_extract(http://2130706433/)", "deny"),
        ("web_search(weather)", "ask"),
        ("mine(./data/x)", "allow"),
        ("mine(./x)", "deny"),
        ("process", "allow"),
        ("process(kill)", "allow"),
        ("unheard_of", "deny"),
    ],
)
def test_a_call_of_a_test_is_decided_as_a_real_one(tmp_path, call, expected):
    tests = f"[[tests]]\ncall = {call!r}\nexpect = {{}}\n"
    path = written(tmp_path, tests.format(repr(expected)))
    assert check(path).tests == 1
    load_policy(profile="full", paths=[("user", path)])  # whatever the session's own profile is
    for other in {"allow", "ask", "deny"} - {expected}:
        assert refused(tmp_path, tests.format(repr(other))).key == "tests[0].call"


def test_a_failing_test_says_what_was_decided_and_by_which_rule(tmp_path):
    error = refused(
        tmp_path,
        '[[tests]]\ncall = ["read_file(data/x)", "terminal(git push origin main)"]\nexpect = "allow"\n'
        '[[tests]]\ncall = ["terminal(ls)", "terminal(git push)"]\nexpect = "allow"\nagent = "nightly"\n',
    )
    assert error.key == "tests[1].call[1]"
    assert "'terminal(git push)' should be 'allow' and is 'deny'" in str(error)
    assert "user:agents.nightly.rules.deny[0]" in str(error)


def test_a_test_may_be_about_what_comes_after_untrusted_content(tmp_path):
    tests = '[[tests]]\ncall = "terminal(git push)"\nexpect = "ask"\nafter_untrusted = true\n'
    assert check(written(tmp_path, tests)).tests == 1


def test_what_a_narrowing_file_does_not_take_away_its_tests_find_allowed(tmp_path):
    rules = 'version = 1\n[rules]\ndeny = ["terminal(git push *)"]\n'
    tests = (
        '[[tests]]\ncall = "terminal(git push)"\nexpect = "deny"\n'
        '[[tests]]\ncall = ["terminal(rm -rf x)", "read_file(/etc/passwd)"]\nexpect = "allow"\n'
    )
    path = written(tmp_path, tests, rules)
    assert check(path, layer="project").tests == 3
    load_policy(profile="read-only", paths=[("project", path)])
    assert refused(tmp_path, tests, rules).key == "tests[1].call[0]"  # a user's file stands on the profile


def test_no_other_layer_makes_a_test_fail(tmp_path):
    path = written(tmp_path, '[[tests]]\ncall = "write_file(x)"\nexpect = "allow"\n')
    load_policy(profile="read-only", paths=[("user", path)], texts=[("project", '[rules]\ndeny = ["write_file"]')])


@pytest.mark.parametrize(
    ("tests", "key", "hint"),
    [
        ('[[tests]]\ncall = "terminal(ls)"\n', "tests[0]", "expect"),
        ('[[tests]]\nexpect = "deny"\n', "tests[0]", "call"),
        ('[[tests]]\ncall = "ls -l"\nexpect = "deny"\n', "tests[0].call", "no call"),
        ('[[tests]]\ncall = "*"\nexpect = "deny"\n', "tests[0].call", "no call"),
        ('[[tests]]\ncall = "mine"\nexpect = "denied"\n', "tests[0].expect", "denied"),
        ('[[tests]]\ncall = "mine"\nexpect = "deny"\nagnt = "x"\n', "tests[0].agnt", "did you mean agent"),
        ('[[tests]]\ncall = ["mine", 3]\nexpect = "deny"\n', "tests[0].call[1]", "must be text, not a number"),
        ('[[tests]]\ncall = "raed_file(x)"\nexpect = "deny"\n', "tests[0].call", "did you mean read_file"),
        ('[tests]\ncall = "mine"\n', "tests", "must be a list, not a table"),
        (f'[[tests]]\ncall = {["mine"] * (MAX_CALLS + 1)!r}\nexpect = "deny"\n', "tests", str(MAX_CALLS)),
    ],
)
def test_a_test_that_can_not_be_meant_is_refused_by_its_key(tmp_path, tests, key, hint):
    error = refused(tmp_path, tests, known_tools=["mine", "read_file", "terminal"])
    assert error.key == key
    assert hint in str(error)
