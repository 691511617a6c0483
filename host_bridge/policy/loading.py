"""Reads policies: profiles, files, texts, a notebook's declaration. What can't be meant exactly is refused, by file and key.

    version = 1

    [rules]
    allow = ["terminal(git status *)", "read_file(./**)"]
    ask   = ["terminal(git push *)"]
    deny  = ["read_file(./private/**)"]
    ask_unless_allowed = ["web_extract"]

    [agents.nightly.rules]
    allow = ["web_extract(domain:*.python.org)"]

Everything is read once, when a session starts: a file that changes afterwards changes the next session.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import functools
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from host_bridge.errors import PolicyError
from host_bridge.policy.display import escaped, one_line
from host_bridge.policy.floor import Floor, protecting
from host_bridge.policy.layers import Clause, Layer, Matcher, Policy, Role, Rule
from host_bridge.policy.patterns import EVERY_TOOL, KINDS_BY_TOOL, PatternError, parse_rule

__all__ = [
    "PROFILES",
    "CheckedFile",
    "Declaration",
    "Policy",
    "check",
    "load_policy",
    "narrowing_layer",
    "read_declaration",
]

PROFILES = ("read-only", "workspace", "full")
CONSTRAINING_LAYERS = frozenset(("system", "project"))
"""Layers that may only narrow; sources of any other name speak with the user's authority."""

VERSION = 1
MAX_NOTE_CHARACTERS = 2000  # a person reads it in a question
MAX_POLICY_BYTES = 2**20  # ours is a page; a file a thousand times longer is some other file
NOTEBOOK_KEY = "metadata.hermes.permissions"
_NOTEBOOK_LAYER = "notebook"
NARROWING = "narrow"
"""The layer of a cell that narrows itself."""
MAX_NARROWING_RULES = 32  # somebody writes them into a cell
MAX_NARROWING_CHARACTERS = 1024
ACCEPTED = "accepted"
"""Names the layer of an accepted declaration in rules' ids: what a person said yes to before the run."""
_FIELD_IN_ERROR = re.compile(r" - at `\$\.?(?P<field>.*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_PRINCIPAL = re.compile(r"\S{1,256}")


class RuleTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[rules]`: lists of rules by what they answer."""

    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ask_unless_allowed: tuple[str, ...] = ()


class AgentTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[agents.NAME]`: what is added for one principal."""

    rules: RuleTable = RuleTable()


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole policy file. Each value of `agents` is an `AgentTable`."""

    version: int
    rules: RuleTable = RuleTable()
    agents: dict[str, Any] = {}


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a notebook declares about itself.

    Attributes:
        budgets: Limits by name, which only lower those of the configuration. Which names there are is the session's business.
        note: For who reviews it.
    """

    allow: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    budgets: dict[str, Annotated[float, Meta(ge=0)]] = {}
    note: Annotated[str, Meta(max_length=MAX_NOTE_CHARACTERS)] = ""


_Table = TypeVar("_Table", bound=msgspec.Struct)


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedFile:
    """A policy file that loads, for `policy check`.

    Attributes:
        rules: All its rules.
        principals: Those with sections of their own.
    """

    path: str
    rules: tuple[Rule, ...]
    principals: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    layer: str
    path: str
    text: str
    rules: tuple[Rule, ...]


def load_policy(
    *,
    profile: str,
    paths: Sequence[tuple[str, str]] = (),
    texts: Sequence[tuple[str, str]] = (),
    notebook_permissions: Mapping[str, Any] | None = None,
    declaration_accepted: bool = False,
    principal: str = "default",
    workspace: str = "",
    protected_paths: Sequence[str] = (),
    known_tools: Collection[str] | None = None,
) -> Policy:
    """Read everything that is in force for one session.

    Args:
        profile: `read-only`, `workspace` or `full`.
        paths: Policy files as `(layer, path)`. `system` and `project` only narrow; any other name has the user's authority.
        texts: Further rules as `(layer, TOML text)`; they may leave out the version.
        notebook_permissions: What the notebook declares; None for nothing. It can only narrow.
        declaration_accepted: Whether a person said yes to that declaration: what it allows then needs no further yes.
        principal: Whom the session acts for.
        workspace: The session's workspace; rules about commands mean commands that run in it.
        protected_paths: Files that are never written besides the policy files, such as the running notebook.
        known_tools: If given, rules for other tools are refused.

    Raises:
        PolicyError: Something can't be read or meant; `.path` and `.key` say where.
    """
    profile_source = _read_profile(profile)
    sources = [profile_source]
    sources += [_source(layer, path, _read(path)) for layer, path in paths]
    sources += [_source(layer, "", text, version_required=False) for layer, text in texts]
    declared = () if notebook_permissions is None else read_declaration(notebook_permissions)[1]
    for source in sources:
        _check_tools(source.rules, known_tools, source.path)
    _check_tools(declared, known_tools, "")
    authority = [source for source in sources if source.layer not in CONSTRAINING_LAYERS]
    constraints = [
        Layer(source.layer, Role.CONSTRAINT, source.rules) for source in sources if source.layer in CONSTRAINING_LAYERS
    ]
    if notebook_permissions is not None:
        constraints.append(Layer(_NOTEBOOK_LAYER, Role.DECLARATION, declared))
    return Policy(
        principal=principal,
        profile=profile,
        authority=Layer("user", Role.AUTHORITY, [rule for source in authority for rule in source.rules]),
        constraints=tuple(constraints),
        floor=_floor([path for _, path in paths] + list(protected_paths)),
        workspace=os.path.realpath(workspace) if workspace else "",
        digest=_digest(sources, notebook_permissions),
        brakes_after_untrusted=profile != "full",
        sources=tuple((source.layer, source.path) for source in sources),
        accepted=_accepted(declared) if declaration_accepted else None,
    )


@functools.lru_cache(maxsize=128)  # a loop narrows itself alike again and again
def narrowing_layer(rules: tuple[str, ...]) -> Layer:
    """Make the layer of a cell that narrows itself: only what these rules allow is still allowed.

    Args:
        rules: As in a policy's `allow`. `*(./data/**)` means every tool; none at all means that nothing is allowed.

    Raises:
        PolicyError: A rule can't be meant; `.key` is its place, such as `narrow[1]`.
    """
    if len(rules) > MAX_NARROWING_RULES:
        raise PolicyError(f"narrow: over {MAX_NARROWING_RULES} rules; write fewer", key=NARROWING)
    made = [Rule(text, Clause.ALLOW, NARROWING, f"{NARROWING}[{index}]") for index, text in enumerate(rules)]
    for rule in made:
        if len(rule.text) > MAX_NARROWING_CHARACTERS:
            problem = f"a rule of {len(rule.text)} characters is over the limit of {MAX_NARROWING_CHARACTERS}"
            raise PolicyError(f"{rule.key}: {problem}", key=rule.key)
        if rule.text == EVERY_TOOL:
            raise PolicyError(f"{rule.key}: {rule.text!r} takes nothing away; name what is still needed", key=rule.key)
        _check_rule(rule, "", NARROWING, may_allow_everything=True)
    return Layer(NARROWING, Role.NARROWING, made)


def check(path: str, known_tools: Collection[str] | None = None) -> CheckedFile:
    """Read one policy file and say what is in it.

    Raises:
        PolicyError: It can't be used; `.path` and `.key` say why.
    """
    source = _source("user", path, _read(path))
    _check_tools(source.rules, known_tools, path)
    principals = dict.fromkeys(rule.principal for rule in source.rules if rule.principal)
    return CheckedFile(path, source.rules, tuple(principals))


# reading ---------------------------------------------------------------------------------------------------------------


@functools.cache  # three at most
def _read_profile(profile: str) -> _Source:
    if profile not in PROFILES:
        raise PolicyError(
            f"there is no profile {one_line(profile)!r}{_suggestion(profile, PROFILES)}; there are: {', '.join(PROFILES)}",
            key="profile",
        )
    text = (Path(__file__).parent / "profiles" / f"{profile}.toml").read_text("utf-8")
    return _source(f"profile {profile}", "", text, may_allow_everything=True)


def _read(path: str) -> str:
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


def _source(
    layer: str, path: str, text: str, *, version_required: bool = True, may_allow_everything: bool = False
) -> _Source:
    place = path or layer
    file = _parse(text, path, place, version_required=version_required)
    rules = list(_rules(file.rules, layer, "rules"))
    for name, fields in file.agents.items():
        if not _PRINCIPAL.fullmatch(name):
            raise PolicyError(
                f"{place}: agents: {escaped(name)!r} is no name of an agent; write it without blanks",
                path=path,
                key="agents",
            )
        agent = _convert(fields, AgentTable, path, place, f"agents.{name}")
        rules += _rules(agent.rules, layer, f"agents.{name}.rules", name)
    for rule in rules:
        _check_rule(rule, path, place, may_allow_everything=may_allow_everything)
    return _Source(layer, path, text, tuple(rules))


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
    return _convert(fields, PolicyFile, path, place)


def _convert(fields: object, kind: type[_Table], path: str, place: str, prefix: str = "") -> _Table:
    try:
        return msgspec.convert(fields, type=kind)
    except msgspec.ValidationError as error:
        problem, key = _explained(str(error), kind, prefix)
        raise PolicyError(f"{place}: {key}: {problem}", path=path, key=key) from None


def _explained(text: str, kind: type[_Table], prefix: str) -> tuple[str, str]:
    """Turn a decoder's message into a problem and a dotted key."""
    where = _FIELD_IN_ERROR.search(text)
    problem = text[: where.start()] if where else text
    keys = [prefix, where["field"] if where else ""]
    unknown = _UNKNOWN_FIELD.search(problem)
    if unknown:
        keys.append(unknown["name"])
        known = kind.__struct_fields__ if where is None else RuleTable.__struct_fields__
        problem = f"unknown key{_suggestion(unknown['name'], known)}; there are: {', '.join(known)}"
    return problem, escaped(".".join(key for key in keys if key))


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


# rules -----------------------------------------------------------------------------------------------------------------


def _rules(table: RuleTable | Declaration, layer: str, prefix: str, principal: str = "") -> Iterator[Rule]:
    for clause in Clause:
        for index, text in enumerate(getattr(table, clause.value, ())):
            yield Rule(text, clause, layer, f"{prefix}.{clause.value}[{index}]", principal)


def _check_rule(rule: Rule, path: str, place: str, *, may_allow_everything: bool = False) -> None:
    """Refuse a rule that can't be meant, while it is known where it stands."""
    try:
        tool = parse_rule(rule.text).tool
        if tool == EVERY_TOOL and rule.clause is Clause.ALLOW and not may_allow_everything:
            raise PatternError(f'{rule.text!r} would allow every tool; name the tools, or use profile = "full"')
        Matcher(rule.clause, [rule])
    except PatternError as error:
        raise PolicyError(f"{place}: {rule.key}: {error}", path=path, key=rule.key) from None


def _check_tools(rules: Iterable[Rule], known_tools: Collection[str] | None, path: str) -> None:
    if known_tools is None:
        return
    # Profiles name the built-in tools, whether or not a host has them all.
    known = {*known_tools, *KINDS_BY_TOOL, "process", EVERY_TOOL}
    for rule in rules:
        tool = parse_rule(rule.text).tool
        if tool not in known:
            place = path or rule.layer
            raise PolicyError(
                f"{place}: {rule.key}: there is no tool {tool!r}{_suggestion(tool, known)}", path=path, key=rule.key
            )


def read_declaration(permissions: Mapping[str, Any]) -> tuple[Declaration, tuple[Rule, ...]]:
    """Read what a notebook declares, and its rules.

    Raises:
        PolicyError: It can't be meant; `.key` says where.
    """
    if not isinstance(permissions, Mapping):
        raise PolicyError(
            f'notebook: {NOTEBOOK_KEY}: must be an object such as {{"allow": ["read_file(./data/**)"]}}',
            key=NOTEBOOK_KEY,
        )
    table = _convert(dict(permissions), Declaration, "", _NOTEBOOK_LAYER, NOTEBOOK_KEY)
    rules = tuple(_rules(table, _NOTEBOOK_LAYER, NOTEBOOK_KEY))
    for rule in rules:
        _check_rule(rule, "", _NOTEBOOK_LAYER)
    return table, rules


def _accepted(declared: Iterable[Rule]) -> Layer:
    # Under a name of its own, so that a record tells such a yes from a rule of the notebook.
    return Layer(ACCEPTED, Role.AUTHORITY, [dataclasses.replace(rule, layer=ACCEPTED) for rule in declared])


def _floor(paths: Iterable[str]) -> Floor:
    # Under both names: as it was given, and as the file system knows it.
    absolute = [str(Path(path).absolute()) for path in paths if path]
    return protecting((*map(os.path.normpath, absolute), *map(os.path.realpath, absolute)))


def _digest(sources: Iterable[_Source], notebook_permissions: Mapping[str, Any] | None) -> str:
    parts = [(source.layer, source.text) for source in sources]
    return hashlib.sha256(msgspec.json.encode([parts, notebook_permissions], order="sorted")).hexdigest()
