"""Reads one text with rules: a profile, a policy file, the command line's. What can't be meant is refused, by file and key.

The shapes here are the language's grammar; `host_bridge.policy.loading` puts the sources of a session together.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import functools
import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from host_bridge.config.misfits import in_words, place_of
from host_bridge.errors import PolicyError
from host_bridge.policy.display import MAX_LINE_CHARACTERS, as_written, escaped, one_line
from host_bridge.policy.matching import Matcher
from host_bridge.policy.patterns import EVERY_TOOL, KINDS_BY_TOOL, PatternError, parse_rule
from host_bridge.policy.rules import Clause, Rule

PROFILES = ("read-only", "workspace", "full")
CONSTRAINING_LAYERS = frozenset(("system", "project"))
"""Layers that may only narrow; sources of any other name speak with the user's authority."""

VERSION = 1
MAX_POLICY_BYTES = 2**20  # ours is a page; a file a thousand times longer is some other file
_FIELD_IN_ERROR = re.compile(r" - at `\$\.?(?P<field>.*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_PRINCIPAL = re.compile(r"\S{1,256}")


class RuleEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule as a table: `{ rule = "terminal(df *)", allow_after_untrusted = true }`; several rules may share one."""

    rule: str | tuple[str, ...]
    allow_after_untrusted: bool = False


class RuleTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[rules]`: lists of rules by what they answer."""

    allow: tuple[str | RuleEntry, ...] = ()
    ask: tuple[str | RuleEntry, ...] = ()
    deny: tuple[str | RuleEntry, ...] = ()
    ask_unless_allowed: tuple[str | RuleEntry, ...] = ()


class AgentTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[agents.NAME]`: what is added for one principal."""

    rules: RuleTable = RuleTable()


class TaintTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[taint]`: whether calls that act ask a person once the session has received untrusted content."""

    brake: bool


class TestTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[tests]]`: calls, and what this file has to answer. See `host_bridge.policy.expectations`."""

    __test__ = False  # the name is the file's; to pytest it would be a class of tests

    call: str | tuple[str, ...]
    expect: Literal["allow", "ask", "deny"]
    agent: str = "default"
    after_untrusted: bool = False


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole policy file. Each value of `agents` is an `AgentTable`."""

    version: int
    rules: RuleTable = RuleTable()
    agents: dict[str, Any] = {}
    taint: TaintTable | None = None
    tests: tuple[TestTable, ...] = ()


_INNER_TABLES: tuple[tuple[re.Pattern[str], type[msgspec.Struct]], ...] = (
    (re.compile(r"(?:.*\.)?rules"), RuleTable),
    (re.compile(r"(?:.*\.)?(?:allow|ask|deny|ask_unless_allowed)\[\d+\]"), RuleEntry),
    (re.compile("taint"), TaintTable),
    (re.compile(r"tests\[\d+\]"), TestTable),
)
"""Which table stands at a place, to say what it may hold."""

_Table = TypeVar("_Table", bound=msgspec.Struct)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One text with rules.

    Attributes:
        layer: Where it is from.
        path: Its file, empty where it is none.
        text: All of it, for the digest.
        rules: Its rules.
        brake: What it says about the taint brake, None for nothing.
        tests: What it has to answer.
    """

    layer: str
    path: str
    text: str
    rules: tuple[Rule, ...]
    brake: bool | None = None
    tests: tuple[TestTable, ...] = ()

    @property
    def constrains(self) -> bool:
        """Whether it may only narrow."""
        return self.layer in CONSTRAINING_LAYERS

    @property
    def place(self) -> str:
        """Names it in errors."""
        return self.path or self.layer


@functools.cache  # three at most
def read_profile(profile: str) -> Source:
    """Read a built-in profile.

    Raises:
        PolicyError: There is none of that name.
    """
    if profile not in PROFILES:
        named, near = as_written(profile[:MAX_LINE_CHARACTERS]), suggestion(profile, PROFILES)
        raise PolicyError(f"there is no profile {named}{near}; there are: {', '.join(PROFILES)}", key="profile")
    text = (Path(__file__).parent / "profiles" / f"{profile}.toml").read_text("utf-8")
    return parse_source(f"profile {profile}", "", text, may_allow_everything=True)


def read_source(layer: str, path: str) -> Source:
    """Read a policy file.

    Raises:
        PolicyError: It can't be read or meant; `.path` and `.key` say where.
    """
    return parse_source(layer, path, read_text(path))


def read_text(path: str) -> str:
    """Read a policy file's text, if it is one that only its owner decides about.

    Raises:
        PolicyError: It can't be read, or anybody may write it.
    """
    try:
        # Not through a link: what it leads to could be exchanged by whoever owns the link. Not blocking: it may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise PolicyError(f"{path}: {_unreadable(error)}", path=path) from None
    except ValueError:
        raise PolicyError(f"{escaped(path)}: not a path", path=path) from None
    try:
        _check_status(os.fstat(descriptor), path)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path}: {_unreadable(error)}", path=path) from None
    finally:
        os.close(descriptor)
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"{path}: over {MAX_POLICY_BYTES} bytes; is it the right file?", path=path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8", path=path) from None


def _unreadable(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link; name the file itself"
    if error.errno == errno.ENOENT:
        return "no such policy file; create it or take it out of the configuration"
    return f"can't be read: {error.strerror}"


def _check_status(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise PolicyError(f"{path}: not a regular file", path=path)
    # Whoever can write here decides what sessions may do.
    if status.st_mode & stat.S_IWOTH:
        raise PolicyError(f"{path}: anybody may write it; run: chmod o-w {path}", path=path)


def parse_source(
    layer: str, path: str, text: str, *, version_required: bool = True, may_allow_everything: bool = False
) -> Source:
    """Read a policy's text.

    Args:
        layer: Where it is from.
        path: Its file, empty where it is none.
        text: TOML.
        version_required: Whether it must say its version.
        may_allow_everything: Whether it may allow every tool.

    Raises:
        PolicyError: It can't be meant.
    """
    place = path or layer
    file = _parse(text, path, place, version_required=version_required)
    rules = list(rules_of(file.rules, layer, "rules"))
    for name, fields in file.agents.items():
        if not _PRINCIPAL.fullmatch(name):
            raise PolicyError(
                f"{place}: agents: {as_written(name)} is no name of an agent; write it without blanks",
                path=path,
                key="agents",
            )
        agent = convert(fields, AgentTable, path, place, f"agents.{name}")
        rules += rules_of(agent.rules, layer, f"agents.{name}.rules", name)
    for rule in rules:
        check_rule(rule, path, place, may_allow_everything=may_allow_everything)
    brake = None if file.taint is None else file.taint.brake
    return Source(layer, path, text, tuple(rules), brake, file.tests)


def _parse(text: str, path: str, place: str, *, version_required: bool) -> PolicyFile:
    if len(text) > MAX_POLICY_BYTES:
        raise PolicyError(f"{place}: over {MAX_POLICY_BYTES} characters", path=path)
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{place}: not valid TOML: {error}", path=path) from None
    except RecursionError:
        raise PolicyError(f"{place}: nested too deeply to be a policy", path=path) from None
    if not version_required:
        fields.setdefault("version", VERSION)
    version = fields.get("version")
    if version != VERSION or type(version) is not int:
        problem = "is missing" if version is None else f"{one_line(repr(version), 40)} is not known"
        raise PolicyError(f"{place}: version {problem}; write version = {VERSION}", path=path, key="version")
    return convert(fields, PolicyFile, path, place)


def convert(fields: object, kind: type[_Table], path: str, place: str, prefix: str = "") -> _Table:
    """Give data as a declared shape.

    Raises:
        PolicyError: It doesn't fit; `.key` says where, from `prefix` on.
    """
    try:
        return msgspec.convert(fields, type=kind)
    except msgspec.ValidationError as error:
        problem, key = _explained(error, kind, prefix)
        raise PolicyError(f"{place}: {key}: {problem}", path=path, key=key) from None


def _explained(error: msgspec.ValidationError, kind: type[_Table], prefix: str) -> tuple[str, str]:
    """Turn a decoder's message into a problem and a dotted key."""
    text = str(error)
    where = _FIELD_IN_ERROR.search(text)
    problem = text[: where.start()] if where else text
    keys = [prefix, where["field"] if where else ""]
    unknown = _UNKNOWN_FIELD.search(problem)
    if unknown:
        keys.append(unknown["name"])
        inner = (table for pattern, table in _INNER_TABLES if where and pattern.fullmatch(where["field"]))
        known = next(inner, kind).__struct_fields__
        problem = f"unknown key{suggestion(unknown['name'], known)}; there are: {', '.join(known)}"
    else:
        problem = in_words(error, kind).removeprefix(f"`{place_of(error)}` ")
    return problem, escaped(".".join(key for key in keys if key))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Give ` (did you mean …?)` for a misspelt name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


# rules -----------------------------------------------------------------------------------------------------------------


def rules_of(table: msgspec.Struct, layer: str, prefix: str, principal: str = "") -> Iterator[Rule]:
    """Give the rules of a table with lists of them."""
    for clause in Clause:
        for index, entry in enumerate(getattr(table, clause.value, ())):
            key = f"{prefix}.{clause.value}[{index}]"
            if isinstance(entry, str):
                yield Rule(entry, clause, layer, key, principal)
                continue
            marked = entry.allow_after_untrusted
            if isinstance(entry.rule, str):
                yield Rule(entry.rule, clause, layer, key, principal, marked)
                continue
            for number, text in enumerate(entry.rule):
                yield Rule(text, clause, layer, f"{key}.rule[{number}]", principal, marked)


def check_rule(rule: Rule, path: str, place: str, *, may_allow_everything: bool = False) -> None:
    """Refuse a rule that can't be meant, while it is known where it stands.

    Raises:
        PolicyError: It says why.
    """
    try:
        tool = parse_rule(rule.text).tool
        if tool == EVERY_TOOL and rule.clause is Clause.ALLOW and not may_allow_everything:
            raise PatternError(
                f'{as_written(rule.text)} would allow every tool; name the tools, or use profile = "full"'
            )
        if rule.after_untrusted and rule.clause is not Clause.ALLOW:
            raise PatternError(f"allow_after_untrusted is for rules that allow; this list is {rule.clause.value!r}")
        if rule.after_untrusted and rule.layer in CONSTRAINING_LAYERS:
            raise PatternError(f"allow_after_untrusted is the user's to give; the {rule.layer} policy only takes away")
        Matcher(rule.clause, [rule])
    except PatternError as error:
        raise PolicyError(f"{place}: {rule.key}: {error}", path=path, key=rule.key) from None


def check_tools(rules: Iterable[Rule], known_tools: Collection[str] | None, path: str) -> None:
    """Refuse rules for tools that there are none of, where it is known which there are.

    Raises:
        PolicyError: It names the rule.
    """
    for rule in rules:
        problem = unknown_tool(parse_rule(rule.text).tool, known_tools)
        if problem:
            raise PolicyError(f"{path or rule.layer}: {rule.key}: {problem}", path=path, key=rule.key)


def unknown_tool(tool: str, known_tools: Collection[str] | None) -> str:
    """Say that there is no such tool; empty if there is, or if nobody knows."""
    # Profiles name the built-in tools, whether or not a host has them all.
    if known_tools is None or tool in known_tools or tool in KINDS_BY_TOOL or tool in ("process", EVERY_TOOL):
        return ""
    return f"there is no tool {as_written(tool)}{suggestion(tool, {*known_tools, *KINDS_BY_TOOL})}"
