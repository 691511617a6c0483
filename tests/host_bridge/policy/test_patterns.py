from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.policy.habits import HABITS
from host_bridge.policy.hazards import find_hazards
from host_bridge.policy.matching import Matcher
from host_bridge.policy.model import Access, CommandResource, PathResource, TextResource, UrlResource
from host_bridge.policy.patterns import PatternError, parse_rule
from host_bridge.policy.remedies import quoted
from host_bridge.policy.rules import Clause, Rule
from host_bridge.policy.words import parse_command


def matches(rule: str, resource, clause: Clause = Clause.ALLOW) -> bool:
    return Matcher(clause, [Rule(rule, clause, "test", "rules")]).find(resource) is not None


def inside(relative: str, access: Access = Access.READ) -> PathResource:
    return PathResource(f"/ws/{relative}" if relative else "/ws", relative, access)


def outside(path: str) -> PathResource:
    return PathResource(path, None, Access.READ)


def command(*argv: str) -> CommandResource:
    return CommandResource(argv, " ".join(argv), "/ws")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("./**", ""),
        ("./**", "a"),
        ("./**", "a/b/c"),
        ("**", "a/b"),
        ("./data/**", "data"),
        ("./data/**", "data/x/y"),
        ("data/**", "data/x"),
        ("./data/*.csv", "data/x.csv"),
        ("./data/*.csv", "data/.csv"),
        ("./*/x", "a/x"),
        ("./**/x", "x"),
        ("./**/x", "a/b/x"),
        ("./a/**/x", "a/x"),
        ("./a b.txt", "a b.txt"),
        (r"./\[id\].ts", "[id].ts"),
        (r"./\*", "*"),
        (".", ""),
        ("./x+y(1).txt", "x+y(1).txt"),
        ("/ws/a/*", "a/b"),
        ("./ünï", "ünï"),
    ],
)
def test_a_path_pattern_reaches(pattern, path):
    assert matches(f"read_file({pattern})", inside(path))


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("./data/**", "database"),
        ("./data/**", "x/data/y"),
        ("./data/*.csv", "data/x/y.csv"),
        ("./data/*.csv", "data/x.csv.bak"),
        ("./data/*.csv", "Data/x.csv"),
        ("./data/*.csv", "data/x.csv\n"),
        ("./*", ""),
        ("./*", "a/b"),
        ("./a.c", "abc"),
        ("./x", "x/y"),
        ("./**", "a\nb"),
        ("./**", "a\u202eb"),
        ("./**", "a\u200bb"),
        ("./**", "\udcff"),
        ("./**", ".env"),
        ("./**", "a/.env"),
        ("./**", "a/.env.production"),
        ("./**", ".ENV"),
        ("./*", ".env"),
        ("./**", "home/.ssh/config"),
        ("./**", "keys/id_ed25519"),
        ("./.e*", ".env"),
    ],
)
def test_a_path_pattern_does_not_reach(pattern, path):
    assert not matches(f"read_file({pattern})", inside(path))


@pytest.mark.parametrize("path", [".env.example", "env", "x.env", ".environment", ".sshx", "id_rsa.pub", "my.key.md"])
def test_names_that_only_resemble_secrets_are_within_reach(path):
    assert matches("read_file(./**)", inside(path))


def test_a_secret_is_reached_by_its_exact_name_and_by_a_rule_for_every_call():
    assert matches("read_file(./.env)", inside(".env"))
    assert matches("read_file(/ws/.env)", inside(".env"))
    assert matches("read_file", inside(".env"))


def test_patterns_of_the_workspace_mean_nothing_outside_of_it():
    assert not matches("read_file(./**)", outside("/etc/passwd"))
    assert matches("read_file(/etc/*)", outside("/etc/passwd"))
    assert matches("read_file(/**)", outside("/"))
    assert matches("read_file(/)", outside("/"))
    assert not matches("read_file(/etc/*)", outside("/etcx/passwd"))


@pytest.mark.parametrize("path", ["/proc/1/environ", "/proc/self/root/etc/passwd", "/proc/self/cwd/x", "/proc/7/fd/3"])
def test_other_processes_are_beyond_wildcards(path):
    assert not matches("read_file(/proc/**)", outside(path))
    assert matches("read_file(/proc/**)", outside("/proc/loadavg"))


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("./secrets", "secrets/a/b"),
        ("./Secrets/*", "secrets/a"),
        ("./secrets/*", "SECRETS/a/b"),
        ("./straße", "STRASSE"),
        ("./e\u0301", "é"),
        ("./a", "a\u200b"),
        ("./ab", "ａｂ"),
    ],
)
def test_a_deny_rule_reaches_other_spellings_and_what_lies_beneath(pattern, path):
    if "\u0301" in pattern:
        pattern = pattern.replace("e\u0301", "é")
    assert matches(f"read_file({pattern})", inside(path), Clause.DENY)
    assert not matches(f"read_file({pattern})", inside("other"), Clause.DENY)


@pytest.mark.parametrize(
    ("pattern", "argv"),
    [
        ("git status *", "git status"),
        ("git status *", "git status --short x"),
        ("git status", "git status"),
        ("head -n #", "head -n 5"),
        ("tail -n #", "tail -n +5"),
        ("ls -*", "ls -la"),
        ("foo * bar", "foo x bar"),
        ("foo *.py *", "foo a.py"),
        ("foo src/*", "foo src/a"),
        ("foo src/**", "foo src/a/b"),
        ("python report.py *", "python report.py --fast x"),
        ("python -m pytest *", "python -m pytest -x"),
        ("python -W ignore report.py *", "python -W ignore report.py x"),
        ("bash build.sh *", "bash build.sh -c x"),
        ("make test *", "make test"),
        ("sed -n 1,5p *", "sed -n 1,5p x"),
        ("docker ps *", "docker ps -a"),
        ("sort -o out *", "sort -o out x"),
        ("timeout 5 git status", "timeout 5 git status"),
        ("git -C sub status", "git -C sub status"),
        ("find . -name x *", "find . -name x -type f"),
        ("find . -delete", "find . -delete"),
        ("unknown-tool *", "unknown-tool --anything -c x"),
    ],
)
def test_a_command_pattern_allows(pattern, argv):
    assert matches(f"terminal({pattern})", command(*argv.split()))


@pytest.mark.parametrize(
    ("pattern", "argv"),
    [
        ("git status *", "git"),
        ("git status *", "git log"),
        ("git status", "git status -s"),
        ("head -n #", "head -n x"),
        ("head -n #", "head -n 5 x"),
        ("head -n #", "head -n 99999999999999999999"),
        ("ls -*", "ls x"),
        ("ls -*", "ls -l x"),
        ("foo * bar", "foo -x bar"),
        ("foo * bar", "foo x y bar"),
        ("foo *.py", "foo -x.py"),
        ("foo src/*", "foo src/a/b"),
        ("foo src/**", "foo src/../x"),
        ("foo *", "./foo x"),
        ("foo *", "Foo x"),
        ("python report.py *", "python -c x"),
        ("python report.py *", "python other.py"),
        ("make test *", "make test -f evil"),
        ("make test *", "make test SHELL=evil"),
        ("sed -n 1,5p *", "sed -n 1,5p -i x"),
        ("sort -k 1 *", "sort -k 1 -o x"),
        ("find . *", "find . -delete"),
        ("find . -name x *", "find . -name x -exec id"),
        ("tar -tf x *", "tar -tf x --to-command=id"),
        ("rg * .", "rg --pre=id ."),
        ("curl https://example.org *", "curl https://example.org -o x"),
        ("curl https://example.org *", "curl https://example.org -K x"),
        ("curl https://example.org *", "curl https://example.org file:///etc/passwd"),
        ("git log *", "git log -c core.pager=x"),
        ("git push origin *", "git push origin --receive-pack=x"),
    ],
)
def test_a_command_pattern_does_not_allow(pattern, argv):
    assert not matches(f"terminal({pattern})", command(*argv.split()))


@pytest.mark.parametrize(
    ("pattern", "argv"),
    [
        ("git push *", "git push"),
        ("git push *", "git -C x push origin"),
        ("git push", "git push --force origin"),
        ("git push --force *", "git push origin --force"),
        ("rm *", "/bin/rm x"),
        ("rm *", "RM x"),
        ("rm *", "sudo rm x"),
        ("rm *", "env A=1 rm x"),
        ("rm *", "xargs -0 rm"),
        ("*", "anything"),
    ],
)
def test_a_deny_rule_for_a_command_applies_to(pattern, argv):
    assert matches(f"terminal({pattern})", command(*argv.split()), Clause.DENY)


def test_a_deny_rule_for_a_command_leaves_others_alone():
    assert not matches("terminal(rm *)", command("ls", "rm"), Clause.DENY)
    assert not matches("terminal(git push *)", command("git", "status"), Clause.DENY)


@pytest.mark.parametrize(
    "text", ["rm $X", "a > x; rm -rf y", "r''m x > y", "\\rm x", "$(echo rm) x", "/bin/r? x", "x=rm"]
)
def test_a_deny_rule_applies_to_a_line_that_may_contain_its_command(text):
    assert matches("terminal(rm *)", CommandResource(None, text, "/ws"), Clause.DENY)


def test_a_deny_rule_leaves_a_line_alone_that_can_not_contain_its_command():
    assert not matches("terminal(rm *)", CommandResource(None, "echo hi > out.txt", "/ws"), Clause.DENY)


def test_no_allow_rule_with_a_pattern_matches_a_line_that_was_not_understood():
    line = CommandResource(None, "git status > x", "/ws")
    assert not matches("terminal(git status *)", line)
    assert matches("terminal", line)


def test_text_is_compared_as_a_whole():
    assert matches("web_search(*weather*)", TextResource("the weather today"))
    assert not matches("web_search(weather)", TextResource("the weather today"))
    assert not matches("web_search(*Weather*)", TextResource("weather"))
    assert matches("web_search(*Weather*)", TextResource("WEATHER"), Clause.DENY)


def test_a_rule_without_a_pattern_is_the_only_one_for_a_call_without_resources():
    assert matches("process", None)
    assert not matches("process(x)", None)


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "Read_file(./**)",
        "read file(./**)",
        "__import__",
        "read_file(./**",
        "read_file()",
        "read_file( )",
        "read_file(./a/../b)",
        "read_file(../b)",
        "read_file(./a//b)",
        "read_file(./data/)",
        "read_file(~/x)",
        "read_file(./a**)",
        "read_file(./a?)",
        "read_file(./[ab])",
        "read_file(./{a,b})",
        "read_file(./a\u202eb)",
        "read_file(./a\nb)",
        "terminal(*)",
        "terminal(* x)",
        "terminal(git log; rm)",
        "terminal(git $x)",
        "terminal(git 'x)",
        "terminal(ls [ab])",
        "terminal(bash *)",
        "terminal(python *)",
        "terminal(python -u *)",
        "terminal(env *)",
        "terminal(xargs *)",
        "terminal(timeout 5 *)",
        "terminal(sudo *)",
        "terminal(git *)",
        "terminal(make *)",
        "web_extract(example.org)",
        "web_extract(domain:)",
        "web_extract(domain:*.*.org)",
        "web_extract(domain:docs.*.org)",
        "web_extract(domain:exämple.org)",
        "web_extract(domain:example.org/x)",
        "web_extract(url:example.org)",
        "web_extract(url:https://user@example.org/)",
        "web_extract(url:https://example.org/../x)",
        "web_extract(url:gopher://example.org/)",
        "x" * 9000,
    ],
)
def test_an_allow_rule_that_can_not_be_meant_is_refused_with_what_to_write(rule):
    with pytest.raises(PatternError) as caught:
        Matcher(Clause.ALLOW, [Rule(rule, Clause.ALLOW, "test", "rules")])
    assert len(str(caught.value)) > 20
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("word", ["a", "a b", "it's", '"', "*", "#", "$x", "", "\\", "[a]", "a'b\"c", "-", "~", "né"])
def test_a_quoted_word_means_itself_and_nothing_else(word):
    pattern = parse_command(f"cmd {quoted(word)}")
    assert pattern.allows(("cmd", word))
    assert pattern.is_literal
    assert [part.literal for part in pattern.words] == ["cmd", word]


def test_every_entry_of_the_table_is_used_and_names_hazards():
    for name, habit in HABITS.items():
        hazards = find_hazards(
            (name, *(f"-{letter}" for letter in habit.short), *habit.words, *(f"--{n}" for n in habit.long))
        )
        assert hazards.whole or hazards.indices or habit.find or habit.operands is not None, name
        assert name == name.lower()


def test_versioned_interpreters_are_known():
    for name in ("python3", "python3.11", "/usr/bin/python3", "PYTHON.EXE", "perl5.36.0", "pip3"):
        assert find_hazards((name,)).whole


def test_a_rule_is_taken_apart_at_its_first_parenthesis():
    assert parse_rule("terminal(echo 'a)')").pattern == "echo 'a)'"
    assert parse_rule("*").tool == "*"


# against a slow matcher that can't be wrong -----------------------------------------------------------------------------


def slow_name(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(slow_name(pattern[1:], name[position:]) for position in range(len(name) + 1))
    return name[:1] == pattern[0] and slow_name(pattern[1:], name[1:])


def slow_path(patterns: list[str], names: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(slow_path(patterns[1:], names[position:]) for position in range(len(names) + 1))
    return bool(names) and slow_name(patterns[0], names[0]) and slow_path(patterns[1:], names[1:])


name_patterns = st.one_of(st.just("**"), st.text("ab*", min_size=1, max_size=5).filter(lambda text: "**" not in text))


@settings(deadline=None, max_examples=1000)
@given(st.lists(name_patterns, min_size=1, max_size=6), st.lists(st.text("ab", min_size=1, max_size=5), max_size=6))
def test_a_path_pattern_means_what_a_slow_matcher_says(patterns, names):
    assert matches(f"read_file(./{'/'.join(patterns)})", inside("/".join(names))) == slow_path(patterns, names)


@settings(deadline=None, max_examples=500)
@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=10))
def test_a_text_pattern_means_what_a_slow_matcher_says(pattern, text):
    assert matches(f"web_search({pattern})", TextResource(text)) == slow_name(pattern, text)
    assert matches(f"web_search({pattern})", TextResource(text.upper()), Clause.DENY) == slow_name(pattern, text)


@settings(deadline=None, max_examples=500)
@given(st.text("ab/*", min_size=1, max_size=6).filter(lambda text: text.count("*") <= 2), st.text("ab/", max_size=8))
def test_a_word_with_wildcards_means_what_a_slow_matcher_says(pattern, word):
    expected = slow_name(pattern, word)  # but for slashes, which one star doesn't reach over
    if "/" not in word or "**" in pattern or "*" not in pattern:
        assert matches(f"terminal(cmd {pattern} end)", CommandResource(("cmd", word, "end"), "", "/ws")) == expected
    assert (
        matches(f"terminal(cmd {pattern} end)", CommandResource(("cmd", word.upper(), "end"), "", "/ws"), Clause.DENY)
        == expected
    )


@pytest.mark.parametrize(
    ("rule", "resource"),
    [
        ("read_file(./" + "**/a/" * 12 + "b)", inside("a/" * 2000 + "c")),
        ("read_file(./" + "**/*a*/" * 12 + "b)", inside("a/" * 2000 + "c")),
        ("read_file(./" + "*a" * 30 + ")", inside("a" * 4000 + "b")),
        ("read_file(./**/" + "*a" * 30 + "/x)", inside("aaaa/" * 800 + "b")),
        ("web_search(" + "*a" * 30 + ")", TextResource("a" * 20_000 + "b")),
        ("terminal(git push *)", CommandResource(None, "git " * 32_000 + "> x", "/ws")),
        ("terminal(git push *)", CommandResource(("sudo", *["git"] * 1000), "", "/ws")),
        ("terminal(git push *)", CommandResource(None, "\u0130" * 120_000, "/ws")),
        ("terminal(x *a*a)", CommandResource(("x", "a" * 8000 + "b"), "", "/ws")),
        ("terminal(x *a*a)", CommandResource(("x", "a" * 2000 + "b"), "", "/ws")),
        ("web_extract(url:https://a.b/**a*c)", UrlResource("https", "a.b", 443, "/" + "a" * 2000)),
        ("web_extract(url:https://a.b/**a*c)", UrlResource("https", "a.b", 443, "/" + "a" * 100_000)),
    ],
    ids=range(12),
)
def test_no_pattern_takes_long_on_any_resource(rule, resource):
    for clause in (Clause.ALLOW, Clause.DENY):
        matcher = Matcher(clause, [Rule(rule, clause, "test", "rules")])
        started = time.perf_counter()
        matcher.find(resource)
        assert time.perf_counter() - started < 0.3


def test_patterns_with_many_wildcards_in_a_word_are_refused():
    for rule in ("terminal(x *a*b*c)", "web_extract(url:https://a.b/*/*/*)"):
        with pytest.raises(PatternError, match="wildcards"):
            Matcher(Clause.ALLOW, [Rule(rule, Clause.ALLOW, "test", "rules")])
