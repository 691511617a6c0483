"""Every denial carries the command that would allow the call; it does what it says, and nothing else, in any shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.policy.commands import resources
from host_bridge.policy.editing import edited
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import load_policy, narrowing_layer
from host_bridge.policy.model import Access, AccessRequest, Effect, PathResource, TextResource, UrlResource
from host_bridge.policy.rules import Clause

FILES = {"": "user", "--system": "system", "--project": "project"}
EMPTY = "version = 1\n"


def path(relative: str, access: Access = Access.READ) -> PathResource:
    return PathResource(f"/ws/{relative}", relative, access)


def loaded(files: dict[str, str], **options):
    return load_policy(profile="workspace", workspace="/ws", texts=list(files.items()), **options)


def obeyed(remedy: str, files: dict[str, str]) -> dict[str, str]:
    """Do with the texts of policy files what the commands would do with the files."""
    files = dict(files)
    for command in _commands(shlex.split(remedy)):
        program, group, clause, *words = command
        assert (program, group) == ("hermes-runtime", "policy")
        options = [word for word in words if word.startswith("--")]
        rules = [word for word in words if not word.startswith("--")]
        layer = FILES[next((option for option in options if option in FILES), "")]
        principal = next((option.removeprefix("--agent=") for option in options if option.startswith("--agent=")), "")
        removing = "--remove" in options
        edit = edited(
            files.get(layer, EMPTY),
            Clause(clause),
            () if removing else rules,
            removed=rules if removing else (),
            principal=principal,
            after_untrusted="--after-untrusted" in options,
        )
        assert edit.changed
        files[layer] = edit.text
    return files


def _commands(words: list[str]) -> list[list[str]]:
    commands: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


@pytest.mark.parametrize(
    ("tool", "resources_", "remedy"),
    [
        ("terminal", resources("git push origin main", "/ws"), "'terminal(git push *)'"),
        ("terminal", resources("git push", "/ws"), "'terminal(git push *)'"),
        ("terminal", resources("git -C x push", "/ws"), "'terminal(git -C x push)'"),
        ("terminal", resources("git push --receive-pack=x", "/ws"), "'terminal(git push --receive-pack=x)'"),
        ("terminal", resources("rm -rf x", "/ws"), "'terminal(rm -rf x)'"),
        ("terminal", resources("git status; make 'a b'; make", "/ws"), None),
        ("terminal", resources("python -c 'print(1)'", "/ws"), None),
        ("terminal", resources('foo "it\'s"', "/ws"), None),
        ("terminal", resources("find . -name '*.py' -exec rm '{}' ';'", "/ws"), None),
        ("terminal", resources("echo $HOME", "/ws"), ""),
        ("terminal", resources("foo 'a\nb'", "/ws"), ""),
        ("read_file", (path(".env"),), "'read_file(./.env)'"),
        ("read_file", (PathResource("/etc/hosts", None, Access.READ),), "'read_file(/etc/hosts)'"),
        ("read_file", (PathResource("/home/u/x", None, Access.READ),), ""),
        ("mine", (), "mine"),
        ("mine", (path("a[1]*.txt"),), None),
        (
            "web_extract",
            (UrlResource("https", "docs.python.org", 443, "/3/"),),
            "'web_extract(domain:docs.python.org)'",
        ),
        ("web_extract", (UrlResource("https", "x.org", 8443, "/"),), "'web_extract(url:https://x.org:8443/**)'"),
        ("web_search", (TextResource("x"),), "web_search"),
    ],
)
def test_a_remedy_is_the_narrowest_rule_and_works(tool, resources_, remedy):
    request = AccessRequest("a", tool, resources_)
    decision = decide(loaded({}), request)
    assert decision.effect is not Effect.ALLOW
    if remedy is not None:
        assert decision.remedy == (remedy and f"hermes-runtime policy allow {remedy}")
    if remedy != "":
        assert decide(loaded(obeyed(decision.remedy, {})), request).effect is Effect.ALLOW


PUSH = AccessRequest("bot", "terminal", resources("git push origin", "/ws"))
LOOK = AccessRequest("bot", "read_file", (path("private/a"),))
BOT = "version = 1\n[agents.bot.rules]\n"


@pytest.mark.parametrize(
    ("files", "request_", "remedy"),
    [
        # what stands in the way goes, and what is missing comes
        (
            {"user": '[rules]\ndeny = ["read_file(./private/**)"]'},
            LOOK,
            "hermes-runtime policy deny --remove 'read_file(./private/**)'",
        ),
        (
            {"user": '[rules]\nask = ["terminal(git *)"]'},
            PUSH,
            "hermes-runtime policy ask --remove 'terminal(git *)' && hermes-runtime policy allow 'terminal(git push *)'",
        ),
        (
            {"user": '[rules]\ndeny = ["read_file(./private/**)", "*(./private/a)"]\nask = ["read_file"]'},
            LOOK,
            "hermes-runtime policy deny --remove 'read_file(./private/**)' '*(./private/a)' && "
            "hermes-runtime policy ask --remove read_file",
        ),
        # an agent with a section of its own gets the rule there
        ({"user": BOT + 'allow = ["mine"]'}, PUSH, "hermes-runtime policy allow --agent=bot 'terminal(git push *)'"),
        (
            {"user": BOT + 'deny = ["read_file"]'},
            LOOK,
            "hermes-runtime policy deny --remove --agent=bot read_file",
        ),
        (
            {"user": "[agents.other.rules]\nallow = ['mine']"},
            PUSH,
            "hermes-runtime policy allow 'terminal(git push *)'",
        ),
        # other layers are named, and all of them
        (
            {"project": '[rules]\ndeny = ["read_file(./private/**)"]'},
            LOOK,
            "hermes-runtime policy deny --remove --project 'read_file(./private/**)'",
        ),
        (
            {"system": '[rules]\nallow = ["read_file(./data/**)"]'},
            LOOK,
            "hermes-runtime policy allow --system 'read_file(./private/a)'",
        ),
        (
            {
                "system": '[rules]\nask = ["terminal(git push *)"]',
                "project": '[rules]\nallow = ["terminal(make test)"]',
            },
            PUSH,
            "hermes-runtime policy allow 'terminal(git push *)' && "
            "hermes-runtime policy ask --remove --system 'terminal(git push *)' && "
            "hermes-runtime policy allow --project 'terminal(git push *)'",
        ),
    ],
)
def test_a_remedy_names_every_layer_that_stands_in_the_way(files, request_, remedy):
    decision = decide(loaded(files), request_)
    assert decision.effect is not Effect.ALLOW
    assert decision.remedy == remedy
    assert decide(loaded(obeyed(remedy, files)), request_).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({}, {"notebook_permissions": {"allow": ["read_file(./data/**)"]}}),
        ({}, {"notebook_permissions": {"deny": ["read_file(./private/**)"], "allow": ["read_file"]}}),
        ({"project": '[rules]\nask_unless_allowed = ["read_file"]'}, {}),
    ],
)
def test_where_no_command_would_do_there_is_no_remedy(files, options):
    decision = decide(loaded(files, **options), LOOK)
    assert decision.effect is not Effect.ALLOW
    assert decision.remedy == ""


def test_a_rule_that_was_given_for_the_run_is_named(tmp_path):
    files = {"run": '[rules]\nask = ["terminal(git push *)"]', "project": '[rules]\ndeny = ["terminal(git *)"]'}
    remedy = decide(loaded(files), PUSH).remedy
    assert (
        remedy == "no command: leave out the rule terminal(git push *), which was given for this run (run:rules.ask[0])"
    )
    for shell in SHELLS:
        done = subprocess.run([shell, "-c", remedy], capture_output=True, cwd=tmp_path, timeout=30)
        assert done.returncode != 0


def test_a_narrowing_has_no_remedy_even_where_a_rule_is_missing_too():
    narrowed = AccessRequest("a", PUSH.tool, PUSH.resources, narrowing=(narrowing_layer(("read_file",)),))
    assert decide(loaded({}), narrowed).remedy == ""
    assert (
        decide(loaded({}), AccessRequest("a", "write_file", (path(".git/x", Access.WRITE),))).remedy == ""
    )  # the floor


def test_the_remedy_of_the_brake_marks_a_rule():
    files = {"user": EMPTY + '[rules]\nallow = ["terminal(git push *)"]\n'}
    request = AccessRequest("a", PUSH.tool, PUSH.resources, untrusted="a web page")
    decision = decide(loaded(files), request)
    assert decision.remedy == "hermes-runtime policy allow --after-untrusted 'terminal(git push *)'"
    assert decide(loaded(obeyed(decision.remedy, files)), request).effect is Effect.ALLOW


SHELLS = [shell for shell in ("bash", "dash", "zsh") if shutil.which(shell)]
HOSTILE = [
    *(
        "a'b",
        "a';touch pwned;'",
        "$(touch pwned)",
        "`touch pwned`",
        "a\\'; touch pwned; '",
        'a"b',
        "a\\",
        "!!",
        "-rf",
        "~",
    ),
    *(
        "*",
        "?[a]",
        "{a,b}",
        "a b",
        "#",
        "é",
        "’",
        "%s",
        "a\\*'b",
        "--remove",
        "&& touch pwned",
        "|",
        ">pwned",
        "=x",
        "\\'",
    ),
]


def written_by_a_shell(shell: str, remedy: str, folder) -> list[list[str]]:
    script = f'hermes-runtime() {{ printf "%s\\0" "$@" END; }}\n{remedy}\n'.replace("hermes-runtime", "hermes_runtime")
    done = subprocess.run(
        [shell, "-c", script], capture_output=True, text=True, cwd=folder, env={"PATH": "/usr/bin:/bin"}, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(folder.iterdir())
    calls = done.stdout.split("END\0")
    assert calls.pop() == ""
    return [call.split("\0")[:-1] for call in calls]


def check_in_shells(remedy: str, folder) -> None:
    meant = [command[1:] for command in _commands(shlex.split(remedy))]
    for shell in SHELLS:
        assert written_by_a_shell(shell, remedy, folder) == meant


@pytest.mark.parametrize("name", HOSTILE)
def test_a_remedy_runs_nothing_else_whatever_a_file_or_an_argument_is_called(name, tmp_path):
    quoted = shlex.quote(name)
    requests = [
        AccessRequest("a", "read_file", (path(f".ssh/{name}"),)),
        AccessRequest("a", "mine", (path(name),)),
        AccessRequest("a", "terminal", resources(f"foo {quoted}", "/ws")),
        AccessRequest("a", "terminal", resources(f"foo {quoted}; bar x{quoted}", "/ws")),
        AccessRequest("a", "mine", (TextResource(name),)),
    ]
    for request in requests:
        remedy = decide(loaded({}), request).remedy
        assert remedy == "" or remedy.startswith("hermes-runtime policy allow ")
        if remedy:
            check_in_shells(remedy, tmp_path)
            assert decide(loaded(obeyed(remedy, {})), request).effect is Effect.ALLOW


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("ab'\"\\$`!;&|<>()[]{}*?#~ \n\x1b-=é\u202e", min_size=1, max_size=12), min_size=1, max_size=3))
def test_a_remedy_of_any_words_is_one_command_with_these_words(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("shell")
    lines = resources("foo " + " ".join(map(shlex.quote, words)), "/ws")
    for request in (AccessRequest("a", "terminal", lines), AccessRequest("a", "mine", tuple(map(path, words)))):
        remedy = decide(loaded({}), request).remedy
        assert remedy.isprintable()
        if remedy:
            check_in_shells(remedy, folder)


def test_an_agents_name_is_quoted(tmp_path):
    name = "a';touch${IFS}pwned;'"
    policy = loaded({"user": f'[agents."{name}".rules]\nallow = ["mine"]'})
    remedy = decide(policy, AccessRequest(name, PUSH.tool, PUSH.resources)).remedy
    check_in_shells(remedy, tmp_path)
    assert shlex.split(remedy)[3] == f"--agent={name}"


def test_a_remedy_is_short_enough_to_be_read():
    for line in ["rm " + "x" * 5000, "; ".join(f"rm {n} " * 8 for n in range(32))]:
        assert len(decide(loaded({}), AccessRequest("a", "terminal", resources(line, "/ws"))).remedy) <= 1000


RULES = [
    "read_file",
    "read_file(./private/**)",
    "read_file(./data/*)",
    "search_files(./**)",
    "write_file(./**)",
    "patch",
]
RULES += ["terminal", "terminal(git status *)", "terminal(git push *)", "terminal(ls)", "web_extract"]
RULES += ["web_extract(domain:*.python.org)", "web_search", "mine", "process"]
REQUESTS = [
    *(("read_file", (path(name),)) for name in ("private/a", "data/x", "x", ".env")),
    *(("search_files", (path(name),)) for name in ("private", "data")),
    ("patch", (path("a", Access.WRITE), path("private/b", Access.WRITE))),
    *(
        ("terminal", resources(line, "/ws"))
        for line in ("git push", "git status; git push x", "ls", "echo $x", "rm 'a b'")
    ),
    ("web_extract", (UrlResource("https", "docs.python.org", 443, "/"), UrlResource("https", "x.org", 8443, "/"))),
    ("web_search", (TextResource("x"),)),
    ("process", (TextResource("kill"),)),
    ("mine", ()),
]
tables = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("allow", "ask", "deny", "ask_unless_allowed"), st.lists(st.sampled_from(RULES), max_size=3)
    ),
)


def toml(general: dict, for_bot: dict) -> str:
    def lists(table: dict) -> str:
        return "".join(f"{clause} = {rules!r}\n" for clause, rules in table.items())

    return f"version = 1\n[rules]\n{lists(general)}[agents.bot.rules]\n{lists(for_bot)}"


@settings(deadline=None, max_examples=50)
@given(tables, tables, tables, tables, st.sampled_from(REQUESTS), st.sampled_from(["bot", "other"]))
def test_obeying_a_remedy_allows_the_call(user, for_bot, system, project, request, principal):
    files = {"user": toml(user, for_bot), "system": toml(system, {}), "project": toml(project, {})}
    asked = AccessRequest(principal, *request)
    decision = decide(loaded(files), asked)
    if decision.effect is Effect.ALLOW:
        assert decision.remedy == ""
    elif decision.remedy:
        assert decide(loaded(obeyed(decision.remedy, files)), asked).effect is Effect.ALLOW
