"""The rules of one clause about one tool, laid out by what they are compared with: which of them matches a resource."""

from __future__ import annotations

import re
from collections.abc import Iterable

from host_bridge.policy import urls
from host_bridge.policy.floor import is_secret
from host_bridge.policy.model import CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.patterns import Kind, PatternError, fold, parse_path, parse_rule, parse_text
from host_bridge.policy.rules import EFFECTS, Clause, Rule, Verdict
from host_bridge.policy.words import CommandPattern, check_allowable, parse_command


class Matcher:
    """The rules of one clause about one tool.

    `allow` rules match narrowly, all others generously.

    Args:
        clause: The clause.
        rules: Its rules, in any order.

    Raises:
        PatternError: A pattern can't be compiled.
    """

    __slots__ = (
        "_bare",
        "_by_command",
        "_generous",
        "_globs",
        "_globs_regex",
        "_literals",
        "_texts",
        "_urls",
        "clause",
    )

    def __init__(self, clause: Clause, rules: Iterable[Rule]) -> None:
        self.clause = clause
        self._generous = clause is not Clause.ALLOW
        self._bare: Verdict | None = None
        self._literals: dict[str, Verdict] = {}
        self._globs: list[tuple[str, Verdict]] = []
        self._by_command: dict[str, list[tuple[CommandPattern, Verdict]]] = {}
        self._urls: list[tuple[urls.UrlPattern, Verdict]] = []
        self._texts: list[tuple[re.Pattern[str], Verdict]] = []
        for rule in rules:
            self._add(rule, Verdict(EFFECTS[clause], rule))
        # One alternation instead of a loop: which group matched says which rule it was.
        joined = "|".join(f"({regex})" for regex, _ in self._globs)
        self._globs_regex = re.compile(joined, re.DOTALL) if joined else None

    def find(self, resource: Resource | None) -> Verdict | None:
        """Give the verdict of a rule that matches a resource, or a call without any (None)."""
        if self._bare is not None or resource is None:
            return self._bare
        kind = type(resource)
        if kind is PathResource:
            return self._find_path(resource)  # type: ignore[arg-type]
        if kind is CommandResource:
            return self._find_command(resource)  # type: ignore[arg-type]
        if kind is UrlResource:
            return self._find_url(resource)  # type: ignore[arg-type]
        return self._find_text(resource)  # type: ignore[arg-type]

    def _add(self, rule: Rule, verdict: Verdict) -> None:
        parsed = parse_rule(rule.text)
        if parsed.pattern is None:
            self._bare = self._bare or verdict
            return
        if Kind.PATH in parsed.kinds:
            path = parse_path(parsed.pattern)
            if path.literal is not None and not self._generous:
                self._literals.setdefault(path.literal, verdict)
            else:
                self._globs.append((path.generous if self._generous else path.narrow, verdict))
        if Kind.URL in parsed.kinds:
            self._urls.append((urls.parse_url_pattern(parsed.pattern), verdict))
        if Kind.TEXT in parsed.kinds:
            self._texts.append((parse_text(parsed.pattern, generous=self._generous), verdict))
        if Kind.COMMAND in parsed.kinds:
            self._add_command(rule.text, parsed.pattern, verdict, required=Kind.TEXT not in parsed.kinds)

    def _add_command(self, text: str, pattern: str, verdict: Verdict, *, required: bool) -> None:
        try:
            command = parse_command(pattern)
            if not self._generous:
                check_allowable(command, text)
        except PatternError:
            if required:
                raise
            return  # a pattern for text, not for commands
        # A generous comparison looks behind paths and programs that run others, so it can't go by the name.
        name = "" if self._generous else command.words[0].literal or ""
        self._by_command.setdefault(name, []).append((command, verdict))

    def _find_path(self, resource: PathResource) -> Verdict | None:
        relative = resource.relative
        inside = None if relative is None else f"./{relative}" if relative else "."
        absolute = resource.path if resource.path != "/" else ""
        if self._generous:
            return self._glob(fold(absolute)) or (None if inside is None else self._glob(fold(inside)))
        verdict = None if inside is None else self._literals.get(inside)
        verdict = verdict or self._literals.get(absolute)
        if verdict is not None or self._globs_regex is None:
            return verdict
        verdict = (None if inside is None else self._glob(inside)) or self._glob(absolute)
        if verdict is None or is_beyond_wildcards(resource):
            return None
        return verdict

    def _glob(self, path: str) -> Verdict | None:
        match = None if self._globs_regex is None else self._globs_regex.fullmatch(path)
        return None if match is None or match.lastindex is None else self._globs[match.lastindex - 1][1]

    def _find_command(self, resource: CommandResource) -> Verdict | None:
        argv = resource.argv
        if self._generous:
            for command, verdict in self._by_command.get("", ()):
                if command.may_occur_in(resource.text) if argv is None else command.may_mean(argv):
                    return verdict
            return None
        if argv is None:
            return None
        for command, verdict in self._by_command.get(argv[0], ()):
            if command.allows(argv):
                return verdict
        return None

    def _find_url(self, resource: UrlResource) -> Verdict | None:
        for pattern, verdict in self._urls:
            if pattern.may_mean(resource) if self._generous else pattern.allows(resource):
                return verdict
        return None

    def _find_text(self, resource: TextResource) -> Verdict | None:
        text = fold(resource.text) if self._generous else resource.text
        for pattern, verdict in self._texts:
            if pattern.fullmatch(text):
                return verdict
        return None


def is_beyond_wildcards(resource: PathResource) -> bool:
    """Whether only a rule that names a path exactly may allow it: it sounds secret, or can't be read by a person."""
    named = named_path(resource)
    return not named.isprintable() or is_secret(named)


def named_path(resource: PathResource) -> str:
    """The part of a path that its name is judged by: what lies above the workspace is nobody's doing."""
    return resource.path if resource.relative is None else resource.relative
