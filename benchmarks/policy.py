"""What one decision costs: a path rule, and a compound shell command that is parsed each time.

Three layers (user, system, project) with 200 rules in two of them, besides the profile's. The named peer is what a list of
permissions takes at least: `fnmatch` over the same 200 patterns for a path, `shlex` and `fnmatch` over them for each part of a
command. It gets wrong most of what ours is for (a link, a `..`, a quoted `;`, an option that runs another program): a ruler.

    python benchmarks/policy.py
"""

from __future__ import annotations

import fnmatch
import itertools
import re
import shlex
import statistics
import time
from collections.abc import Callable, Iterator

from host_bridge.policy import commands
from host_bridge.policy.engine import decide
from host_bridge.policy.layers import Policy
from host_bridge.policy.loading import load_policy, narrowing_layer
from host_bridge.policy.model import Access, AccessRequest, Decision, Effect, PathResource

ROUNDS = 3000
WARM_UP = 200
AIMS_MICROSECONDS = {"path": 100, "command": 1000}

PATHS = [f"./some/folder{number}/**" for number in range(99)] + ["./data/**"]
COMMANDS = [f"tool{number} run *" for number in range(98)] + ["git log *", "head -n #"]


def layers() -> Policy:
    """Give a policy of three layers, 200 rules each of which could have decided."""

    def text(deny: str, paths: list[str] = PATHS, lines: list[str] = COMMANDS) -> str:
        allow = [f"read_file({path})" for path in paths] + [f"terminal({line})" for line in lines]
        return f"[rules]\nallow = {allow!r}\ndeny = [{deny!r}, 'terminal(rm *)']\n"

    return load_policy(
        profile="workspace",
        workspace="/ws",
        texts=[
            ("user", text("read_file(./private/**)")),
            ("system", '[rules]\ndeny = ["read_file(/root/**)", "terminal(ssh *)"]\n'),
            ("project", text("read_file(./secrets/**)")),
        ],
    )


def microseconds(act: Callable[[int], object]) -> float:
    """Give the median of many single acts."""
    taken = []
    for round_ in range(WARM_UP + ROUNDS):
        started = time.perf_counter_ns()
        act(round_)
        taken.append(time.perf_counter_ns() - started)
    return statistics.median(taken[WARM_UP:]) / 1000


def path_acts(policy: Policy) -> Iterator[tuple[str, Callable[[int], object], Callable[[int], object], Effect]]:
    def ours(path: str) -> Callable[[int], Decision]:
        resource = PathResource(f"/ws/{path}", path, Access.READ)
        return lambda _: decide(policy, AccessRequest("a", "read_file", (resource,)))

    def peer(path: str) -> Callable[[int], bool]:
        spelled = f"./{path}"
        return lambda _: any(fnmatch.fnmatchcase(spelled, pattern) for pattern in (*PATHS, "./private/*"))

    yield "path, allowed", ours("data/a/b/c.csv"), peer("data/a/b/c.csv"), Effect.ALLOW
    yield "path, denied by a rule", ours("private/a/b/c.csv"), peer("private/a/b/c.csv"), Effect.DENY
    yield "path, denied by silence", ours("else/a/b/c.csv"), peer("else/a/b/c.csv"), Effect.DENY


def command_acts(policy: Policy) -> Iterator[tuple[str, Callable[[int], object], Callable[[int], object], Effect]]:
    def line(round_: int, end: str) -> str:
        # Another text each time, so that no cache spares the grammar.
        return f"git log --oneline -{round_ % 997} --author 'a b' && git log -n {round_} | {end}"

    def ours(end: str) -> Callable[[int], Decision]:
        return lambda round_: decide(
            policy, AccessRequest("a", "terminal", commands.resources(line(round_, end), "/ws"))
        )

    def peer(end: str) -> Callable[[int], bool]:
        def act(round_: int) -> bool:
            parts = re.split(r"&&|\|\||[;|]", line(round_, end))
            words = [" ".join(shlex.split(part)) for part in parts]
            return all(any(fnmatch.fnmatchcase(text, pattern) for pattern in (*COMMANDS, "rm *")) for text in words)

        return act

    yield "command of three, allowed", ours("head -n 5"), peer("head -n 5"), Effect.ALLOW
    yield "command of three, denied", ours("rm -rf x"), peer("rm -rf x"), Effect.DENY


def main() -> int:
    policy = layers()
    count = sum(len(layer.rules) for layer in policy.layers)
    print(f"three layers and the profile, {count} rules; p50 of {ROUNDS}, parsing included for commands\n")
    print("| decision | fnmatch, shlex | ours | ratio | aim |")
    print("|---|---:|---:|---:|---:|")
    missed = 0
    for name, ours, peer, effect in itertools.chain(path_acts(policy), command_acts(policy)):
        decision = ours(0)
        assert isinstance(decision, Decision)
        assert decision.effect is effect, (name, decision)
        its, theirs = microseconds(ours), microseconds(peer)
        aim = AIMS_MICROSECONDS[name.partition(",")[0].split()[0]]
        missed += its > aim
        print(f"| {name} | {theirs:.0f} µs | {its:.0f} µs | {its / theirs:.2f} | < {aim} µs |")
    _print_extras(policy)
    return 1 if missed else 0


def _print_extras(policy: Policy) -> None:
    """What a narrowing and untrusted content add to an allowed path."""
    resource = PathResource("/ws/data/a/b/c.csv", "data/a/b/c.csv", Access.READ)
    narrowing = (narrowing_layer(("read_file(data/**)", "terminal(ls)")),)
    plain = microseconds(lambda _: decide(policy, AccessRequest("a", "read_file", (resource,))))
    narrowed = microseconds(lambda _: decide(policy, AccessRequest("a", "read_file", (resource,), narrowing=narrowing)))
    tainted = microseconds(lambda _: decide(policy, AccessRequest("a", "read_file", (resource,), untrusted="x")))
    print(f"\na narrowing adds {narrowed - plain:.1f} µs to a path, untrusted content {tainted - plain:.1f} µs")


if __name__ == "__main__":
    raise SystemExit(main())
