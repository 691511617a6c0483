"""What was observed is allowed again, and no stranger is: but for the steps that generalise, which say so."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.declarations.learning import Generalised, ObservedCall, learn
from host_bridge.policy.commands import resources
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import load_policy
from host_bridge.policy.matching import Matcher
from host_bridge.policy.model import (
    Access,
    AccessRequest,
    CommandResource,
    Effect,
    PathResource,
    Resource,
    TextResource,
    UrlResource,
)
from host_bridge.policy.rules import Clause, Rule


def file(name: str, tool: str = "read_file") -> ObservedCall:
    access = Access.WRITE if tool in ("write_file", "patch") else Access.READ
    return ObservedCall(tool, (PathResource(f"/ws/{name}" if name else "/ws", name, access),))


def outside(path: str) -> ObservedCall:
    return ObservedCall("read_file", (PathResource(path, None, Access.READ),))


def command(line: str) -> ObservedCall:
    return ObservedCall("terminal", resources(line, "/ws"))


def url(host: str, port: int = 443, path: str = "/") -> ObservedCall:
    return ObservedCall("web_extract", (UrlResource("https", host, port, path),))


def search(text: str) -> ObservedCall:
    return ObservedCall("web_search", (TextResource(text),))


def is_allowed(declaration: dict | None, call: ObservedCall) -> bool:
    policy = load_policy(profile="full", notebook_permissions=declaration, workspace="/ws")
    return decide(policy, AccessRequest("default", call.tool, call.resources)).effect is Effect.ALLOW


names = st.sampled_from(
    ["a", "b.csv", "c.csv", "d.csv", ".env", "x*y", "[id].ts", "a b.txt", "p,q=r.csv", "#", "'", "ä.csv", "-n"]
)
folders = st.sampled_from(["", "data/", "data/deep/", ".ssh/", "**x/"])
words = st.sampled_from(
    ["a", "*", "#", "-n", "5", "-7", "x y", "'", '"', "$x", "", "a*b", "=", "~", "--all", "-c", "é", "1e5", "00"]
)
programs = st.sampled_from(["git", "head", "mine", "sort", "env", "python", "./run", "date"])
observed = st.one_of(
    st.builds(
        lambda folder, name, tool: file(folder + name, tool),
        folders,
        names,
        st.sampled_from(["read_file", "list_files", "patch"]),
    ),
    st.builds(
        lambda name: ObservedCall("search_files", (PathResource(f"/ws/{name}", name, Access.READ),), recursive=True),
        st.sampled_from(["data", "data/deep", ".ssh"]),
    ),
    names.map(lambda name: outside(f"/var/log/{name}")),
    st.builds(
        lambda program, rest: ObservedCall(
            "terminal", (CommandResource((program, *rest), " ".join((program, *rest)), "/ws"),)
        ),
        programs,
        st.lists(words, max_size=4),
    ),
    st.builds(url, st.sampled_from(["a.org", "b.a.org"]), st.sampled_from([443, 8443]), st.sampled_from(["/", "/x?y"])),
    st.sampled_from(["weather", "a*b", "x", "y"]).map(search),
    st.sampled_from([ObservedCall("process"), ObservedCall("mine")]),
)


def is_generalised(call: ObservedCall, generalised: tuple[Generalised, ...]) -> bool:
    rules = [Rule(one.rule, Clause.ALLOW, "", "") for one in generalised if one.rule.startswith(call.tool)]
    return bool(rules) and all(Matcher(Clause.ALLOW, rules).find(resource) for resource in call.resources)


def place(resource: Resource) -> object:
    """What of a resource a rule about it can't tell from others: of a URL all but the place."""
    return (resource.scheme, resource.host, resource.port) if isinstance(resource, UrlResource) else resource


@settings(deadline=None, max_examples=200)
@given(st.lists(observed, max_size=8), st.lists(observed, max_size=4))
def test_what_was_observed_is_allowed_again_and_strangers_are_not(calls, strangers):
    calls = [call for call in calls if is_allowed(None, call)]  # what the floor denies was never observed
    learned = learn(calls)
    declaration = learned.declaration()

    if not learned.unlearned:
        assert all(is_allowed(declaration, call) for call in calls)
    seen = {(call.tool, place(resource)) for call in calls for resource in call.resources}
    for call in strangers:
        if call.recursive or not call.resources or all((call.tool, place(one)) in seen for one in call.resources):
            continue
        if call.tool == "search_files" or is_generalised(call, learned.generalised):
            continue
        assert not is_allowed(declaration, call), (call, declaration)


def test_single_things_are_exact():
    calls = [
        file("data/x.csv"),
        outside("/proc/loadavg"),
        command("git log --oneline"),
        url("docs.python.org"),
        search("snow"),
    ]

    learned = learn([*calls, *calls])

    assert learned.allow == (
        "read_file(./data/x.csv)",
        "read_file(/proc/loadavg)",
        "terminal(git log --oneline)",
        "web_extract(domain:docs.python.org)",
        "web_search(snow)",
    )
    assert (learned.generalised, learned.unlearned) == ((), ())


def test_three_files_of_a_kind_become_one_rule_and_two_do_not():
    two = learn([file("data/a.csv"), file("data/b.csv")])
    three = learn([*map(file, ("data/a.csv", "data/b.csv", "data/c.csv", "data/d.txt"))])

    assert two.allow == ("read_file(./data/a.csv)", "read_file(./data/b.csv)")
    assert three.allow == ("read_file(./data/*.csv)", "read_file(./data/d.txt)")
    assert three.generalised == (Generalised("read_file(./data/*.csv)", 3),)


def test_secrets_are_named_one_by_one():
    learned = learn(map(file, (".env.a", ".env.b", ".env.c", "keys/id_ed25519", "x.p12", "y.p12", "z.p12")))

    assert "*" not in "".join(learned.allow)
    assert len(learned.allow) == 7


def test_commands_that_differ_in_a_number_become_one_rule_and_a_single_one_does_not():
    learned = learn(map(command, ("head -n 5 x.txt", "head -n 9 x.txt", "kill 12", "git show 1", "env a 1", "env a 2")))

    assert learned.allow == (
        "terminal(env a 1)",  # it runs what its arguments say, so no wildcard reaches it
        "terminal(env a 2)",
        "terminal(git show 1)",
        "terminal(head -n # x.txt)",
        "terminal(kill 12)",
    )
    assert learned.generalised == (Generalised("terminal(head -n # x.txt)", 2),)


def test_a_folder_that_was_searched_is_one_with_all_in_it():
    searched = ObservedCall("search_files", (PathResource("/ws/data", "data", Access.READ),), recursive=True)
    everywhere = ObservedCall("search_files", (PathResource("/ws", "", Access.READ),), recursive=True)

    assert learn([searched]).allow == ("search_files(./data/**)",)
    assert learn([everywhere]).allow == ("search_files(./**)",)


def test_what_no_rule_allows_is_told_instead_of_guessed_at():
    learned = learn([command("echo $HOME"), file("ok.txt"), file("hid\u200bden.txt")])

    assert learned.allow == ("read_file(./ok.txt)",)
    assert learned.unlearned == ("terminal: echo $HOME", "read_file: ./hid\u200bden.txt")


def test_looking_after_commands_goes_with_commands_and_tools_of_the_host_are_whole():
    assert learn([command("ls"), ObservedCall("process")]).allow == ("terminal(ls)",)
    assert learn([ObservedCall("process"), ObservedCall("notify")]).allow == ("notify", "process")


def test_budgets_are_what_was_counted_half_as_much_again():
    calls = [reading(4 * 2**20) for _ in range(20)]

    assert learn(calls, denied=4).budgets == {"calls": 36, "bytes": 120 * 2**20}
    assert learn(calls[:1]).budgets == {"calls": 10, "bytes": 6 * 2**20}
    assert learn([]).declaration() == {"allow": [], "budgets": {"calls": 10}}


def reading(result_bytes: int) -> ObservedCall:
    return ObservedCall("read_file", (PathResource("/ws/a", "a", Access.READ),), result_bytes=result_bytes)
