"""Writes the smallest declaration that lets an observed run happen again, and says what it could not write.

Exact by default: one rule for each thing that was touched. Three steps generalise, each bounded and named in the result:

    files      three or more of one folder with one suffix  ->  `read_file(./data/*.csv)`; never what sounds secret
    commands   two or more that differ in whole numbers     ->  `#` for these, where that allows them all
    searches   three or more                                ->  the bare rule, since nobody repeats a search word for word

A URL becomes `domain:` of its host where it is at its scheme's own port, else `url:` with scheme, host and port. What was
searched or listed through is a folder with all in it, as the call saw it. Budgets are what was counted, half as much again.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from host_bridge.policy.floor import is_secret
from host_bridge.policy.matching import Matcher
from host_bridge.policy.methods import judged_as, shown_method, with_method
from host_bridge.policy.model import CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS, bracketed
from host_bridge.policy.patterns import PatternError
from host_bridge.policy.remedies import quoted
from host_bridge.policy.rules import Clause, Rule

SAME_KIND = 3
"""From how many files of one folder and suffix, or searches, on one rule stands for all. Two may be coincidence."""

SAME_COMMAND = 2
"""From how many commands that differ in numbers on one rule stands for all: `kill 12` says nothing about `kill 1`."""

MARGIN = 1.5
"""Budgets are this many times what was counted: data grows between two runs, and a loop out of hand is far beyond."""

MIN_CALLS = 10  # a notebook of two calls may make a third
MIN_BYTES = 2**20

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_SUFFIX = re.compile(r".+(\.[A-Za-z0-9]{1,12})")
_WILD = re.compile(r"[\\*?\[\]{}]")


@dataclasses.dataclass(frozen=True, slots=True)
class ObservedCall:
    """One allowed call, from whatever kept it: an audit log, a tape.

    Attributes:
        tool: Its name.
        resources: What the policy looked at; canonical.
        recursive: Whether it went on into what lies beneath its folder.
        result_bytes: What it gave back.
    """

    tool: str
    resources: tuple[Resource, ...] = ()
    recursive: bool = False
    result_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Generalised:
    """A rule that allows more than was seen.

    Attributes:
        rule: The rule.
        seen: How many different things it stands for.
    """

    rule: str
    seen: int


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """What came of an observed run.

    Attributes:
        allow: The rules, sorted.
        budgets: Limits by name.
        generalised: Which of the rules allow more than was seen.
        unlearned: Calls that no rule but the one for every call of the tool would allow; such a rule is a person's to add.
    """

    allow: tuple[str, ...]
    budgets: Mapping[str, int]
    generalised: tuple[Generalised, ...] = ()
    unlearned: tuple[str, ...] = ()

    def declaration(self) -> dict[str, Any]:
        """Give it as `metadata.hermes.permissions`."""
        return {"allow": list(self.allow), "budgets": dict(self.budgets)}


def learn(calls: Iterable[ObservedCall], *, denied: int = 0, unreadable: Iterable[str] = ()) -> Learned:
    """Give the smallest declaration under which these calls are allowed again. Pure.

    Args:
        calls: Those that were allowed, in any order.
        denied: How many others there were; they count against a budget too.
        unreadable: Those that were allowed and of which too little was kept, for people.
    """
    learner = _Learner(denied, unreadable)
    for call in calls:
        learner.add(call)
    return learner.result()


class _Learner:
    def __init__(self, denied: int, unreadable: Iterable[str]) -> None:
        self._exact: dict[str, None] = {}
        self._files: dict[tuple[str, str, str], set[str]] = collections.defaultdict(set)
        self._searches: dict[str, set[str]] = collections.defaultdict(set)
        self._numbered: dict[str, set[tuple[str, ...]]] = collections.defaultdict(set)
        self._unlearned: dict[str, None] = dict.fromkeys(unreadable)
        self._calls = len(self._unlearned) + denied
        self._bytes = 0

    def add(self, call: ObservedCall) -> None:
        self._calls += 1
        self._bytes += call.result_bytes
        if not call.resources or call.tool == "process":  # what it may do with a command is the command's business
            self._exact[call.tool] = None
            return
        for resource in call.resources:
            match resource:
                case PathResource():
                    self._add_path(call, resource)
                case CommandResource():
                    self._add_command(call.tool, resource)
                case UrlResource():
                    self._add_rule(f"{call.tool}({with_method(_url_pattern(resource), resource.method)})", resource)
                case TextResource():
                    self._searches[call.tool].add(resource.text)

    def result(self) -> Learned:
        allow = dict(self._exact)
        generalised = []
        for rule, exact in self._rules_of_many():
            allow[rule] = None
            if exact:
                generalised.append(Generalised(rule, exact))
        if any(rule.startswith("terminal") for rule in allow):
            allow.pop("process", None)  # whoever may start commands may look after them
        budgets = {"calls": max(MIN_CALLS, math.ceil(self._calls * MARGIN))}
        if self._bytes:
            budgets["bytes"] = max(MIN_BYTES, math.ceil(self._bytes * MARGIN))
        return Learned(tuple(sorted(allow)), budgets, tuple(sorted(generalised, key=_rule_of)), tuple(self._unlearned))

    def _add_path(self, call: ObservedCall, resource: PathResource) -> None:
        path, tool = _spelled(resource), judged_as(call.tool, resource)
        if call.recursive:
            self._add_rule(f"{tool}({path.rstrip('/')}/**)", resource, or_else=f"{tool}({path})")
            return
        rule = f"{tool}({path})"
        folder, _, name = path.rpartition("/")
        suffix = _SUFFIX.fullmatch(name)
        if folder and suffix is not None and not _is_secret(resource) and _allows(rule, resource):
            self._files[tool, folder, suffix[1]].add(path)
        else:
            self._add_rule(rule, resource)

    def _add_command(self, tool: str, resource: CommandResource) -> None:
        argv = resource.argv
        if argv is None:
            self._unlearned[f"{tool}: {resource.text}"] = None
            return
        words = ["#" if index and _NUMBER.fullmatch(word) else quoted(word) for index, word in enumerate(argv)]
        numbered = f"{tool}({' '.join(words)})"
        exact = f"{tool}({' '.join(map(quoted, argv))})"
        if "#" in words and _allows(numbered, resource) and _allows(exact, resource):
            self._numbered[numbered].add(argv)
        else:
            self._add_rule(exact, resource)

    def _add_rule(self, rule: str, resource: Resource, *, or_else: str = "") -> None:
        """Take a rule that allows the resource; what no rule allows is told, not guessed at."""
        for candidate in (rule, or_else):
            if candidate and _allows(candidate, resource):
                self._exact[candidate] = None
                return
        self._unlearned[f"{rule.partition('(')[0]}: {_told(resource)}"] = None

    def _rules_of_many(self) -> Iterable[tuple[str, int]]:
        """Give rules about files of a kind, numbered commands and searches, each with how many it generalises; 0 if exact."""
        for (tool, folder, suffix), paths in self._files.items():
            if len(paths) >= SAME_KIND:
                yield f"{tool}({folder}/*{suffix})", len(paths)
            else:
                yield from ((f"{tool}({path})", 0) for path in paths)
        for numbered, commands in self._numbered.items():
            tool = numbered.partition("(")[0]
            if len(commands) >= SAME_COMMAND:
                yield numbered, len(commands)
            else:
                yield from ((f"{tool}({' '.join(map(quoted, argv))})", 0) for argv in commands)
        for tool, texts in self._searches.items():
            rules = [f"{tool}({text})" for text in texts]
            exact = all(
                "*" not in text and _allows(rule, TextResource(text)) for text, rule in zip(texts, rules, strict=True)
            )
            if len(texts) < SAME_KIND and exact:
                yield from ((rule, 0) for rule in rules)
            else:
                yield tool, len(texts)


def _spelled(resource: PathResource) -> str:
    path = resource.path if resource.relative is None else f"./{resource.relative}" if resource.relative else "."
    return _WILD.sub(lambda match: "\\" + match[0], path)


def _is_secret(resource: PathResource) -> bool:
    return is_secret(resource.path if resource.relative is None else resource.relative)


def _url_pattern(url: UrlResource) -> str:
    if url.port == DEFAULT_PORTS.get(url.scheme):
        return f"domain:{bracketed(url.host)}"
    return f"url:{url.scheme}://{bracketed(url.host)}:{url.port}/**"


def _allows(rule: str, resource: Resource) -> bool:
    try:
        return Matcher(Clause.ALLOW, [Rule(rule, Clause.ALLOW, "", "")]).find(resource) is not None
    except PatternError:
        return False


def _told(resource: Resource) -> str:
    match resource:
        case PathResource():
            return resource.path if resource.relative is None else f"./{resource.relative}"
        case CommandResource():
            return resource.text
        case UrlResource():
            return f"{shown_method(resource)}{resource.scheme}://{resource.host}:{resource.port}{resource.path}"
        case TextResource():
            return resource.text


def _rule_of(one: Generalised) -> str:
    return one.rule


__all__: Sequence[str] = ["Generalised", "Learned", "ObservedCall", "learn"]
