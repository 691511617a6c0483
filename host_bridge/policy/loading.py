"""Puts together what is in force for a session: profiles, files, texts, a notebook's declaration, a cell's narrowing.

    version = 1

    [rules]
    allow = ["terminal(git status *)", "read_file(./**)"]
    ask   = ["terminal(git push *)"]
    deny  = ["read_file(./private/**)"]
    ask_unless_allowed = ["web_extract"]

    [agents.nightly.rules]
    allow = ["web_extract(domain:*.python.org)"]

    [taint]
    brake = true

    [[tests]]
    call = "terminal(git push origin main)"
    expect = "ask"

Everything is read once, when a session starts: a file that changes afterwards changes the next session.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from host_bridge.budgets import check_limits
from host_bridge.errors import ConfigurationError, PolicyError
from host_bridge.policy.assembly import assemble
from host_bridge.policy.display import as_written
from host_bridge.policy.expectations import run_tests
from host_bridge.policy.floor import Floor, protecting
from host_bridge.policy.layers import Layer, Policy, Role
from host_bridge.policy.patterns import EVERY_TOOL
from host_bridge.policy.rules import Clause, Rule
from host_bridge.policy.sources import (
    MAX_POLICY_BYTES,
    PROFILES,
    Source,
    check_rule,
    check_tools,
    convert,
    parse_source,
    read_profile,
    read_source,
    rules_of,
)

__all__ = [
    "MAX_POLICY_BYTES",
    "PROFILES",
    "CheckedFile",
    "Declaration",
    "Policy",
    "check",
    "load_policy",
    "narrowing_layer",
    "read_declaration",
]

MAX_DECLARED_RULES = 500
MAX_NOTE_CHARACTERS = 2000  # a person reads it in a question
NOTEBOOK_KEY = "metadata.hermes.permissions"
_NOTEBOOK_LAYER = "notebook"
NARROWING = "narrow"
"""The layer of a cell that narrows itself."""
MAX_NARROWING_RULES = 32  # somebody writes them into a cell
MAX_NARROWING_CHARACTERS = 1024
ACCEPTED = "accepted"
"""Names the layer of an accepted declaration in rules' ids: what a person said yes to before the run."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedFile:
    """A policy file that loads, for `policy check`.

    Attributes:
        rules: All its rules.
        principals: Those with sections of their own.
        tests: How many calls its tests tried, all with the answer expected.
    """

    path: str
    rules: tuple[Rule, ...]
    principals: tuple[str, ...]
    tests: int = 0


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
        PolicyError: Something can't be read or meant, or doesn't answer as its tests expect; `.path` and `.key` say where.
    """
    sources = [read_profile(profile)]
    sources += [read_source(layer, path) for layer, path in paths]
    sources += [parse_source(layer, "", text, version_required=False) for layer, text in texts]
    declared = () if notebook_permissions is None else read_declaration(notebook_permissions)[1]
    for source in sources:
        check_tools(source.rules, known_tools, source.path)
    check_tools(declared, known_tools, "")
    for source in sources:
        run_tests(source, known_tools)
    layers = [] if notebook_permissions is None else [Layer(_NOTEBOOK_LAYER, Role.DECLARATION, declared)]
    return assemble(
        sources,
        layers,
        principal=principal,
        profile=profile,
        floor=_floor([path for _, path in paths] + list(protected_paths)),
        workspace=os.path.realpath(workspace) if workspace else "",
        digest=_digest(sources, notebook_permissions),
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
            raise PolicyError(
                f"{rule.key}: {as_written(rule.text)} takes nothing away; name what is still needed", key=rule.key
            )
        check_rule(rule, "", NARROWING, may_allow_everything=True)
    return Layer(NARROWING, Role.NARROWING, made)


def check(path: str, known_tools: Collection[str] | None = None, layer: str = "user") -> CheckedFile:
    """Read one policy file and say what is in it.

    Args:
        path: The file.
        known_tools: If given, rules for other tools are refused.
        layer: What it will be read as.

    Raises:
        PolicyError: It can't be used, or doesn't answer as its tests expect; `.path` and `.key` say why.
    """
    return check_source(read_source(layer, path), known_tools)


def check_source(source: Source, known_tools: Collection[str] | None = None) -> CheckedFile:
    """Say what is in a source that was read, as `check` does.

    Raises:
        PolicyError: It can't be used, or doesn't answer as its tests expect.
    """
    check_tools(source.rules, known_tools, source.path)
    tests = run_tests(source, known_tools)
    principals = dict.fromkeys(rule.principal for rule in source.rules if rule.principal)
    return CheckedFile(source.path, source.rules, tuple(principals), tests)


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
    table = convert(dict(permissions), Declaration, "", _NOTEBOOK_LAYER, NOTEBOOK_KEY)
    try:
        check_limits(table.budgets, key=f"{NOTEBOOK_KEY}.budgets")
    except ConfigurationError as error:
        raise PolicyError(f"notebook: {error}", key=error.key) from None
    rules = tuple(rules_of(table, _NOTEBOOK_LAYER, NOTEBOOK_KEY))
    if len(rules) > MAX_DECLARED_RULES:
        raise PolicyError(
            f"notebook: {NOTEBOOK_KEY}: {len(rules)} rules are more than a person reviews; declare at most "
            f"{MAX_DECLARED_RULES}, with wildcards",
            key=NOTEBOOK_KEY,
        )
    for rule in rules:
        check_rule(rule, "", _NOTEBOOK_LAYER)
    return table, rules


def _accepted(declared: Iterable[Rule]) -> Layer:
    # Under a name of its own, so that a record tells such a yes from a rule of the notebook.
    return Layer(ACCEPTED, Role.AUTHORITY, [dataclasses.replace(rule, layer=ACCEPTED) for rule in declared])


def _floor(paths: Iterable[str]) -> Floor:
    # Under both names: as it was given, and as the file system knows it.
    absolute = [str(Path(path).absolute()) for path in paths if path]
    return protecting((*map(os.path.normpath, absolute), *map(os.path.realpath, absolute)))


def _digest(sources: Iterable[Source], notebook_permissions: Mapping[str, Any] | None) -> str:
    parts = [(source.layer, source.text) for source in sources]
    return hashlib.sha256(msgspec.json.encode([parts, notebook_permissions], order="sorted")).hexdigest()
