"""Says what a person could do about a denial: the command that allows the call by the narrowest sensible rule; and sentences.

What is written here reaches the kernel, so it shows no path of the host that the kernel could not know. A command is for a
person to run in a shell, and holds what a kernel wrote: it is quoted, or not given.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Sequence

from host_bridge.policy.display import escaped, one_line
from host_bridge.policy.habits import HABITS
from host_bridge.policy.hazards import find_hazards
from host_bridge.policy.layers import Layer
from host_bridge.policy.methods import judged_as, shown_method, with_method
from host_bridge.policy.model import AccessRequest, CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS
from host_bridge.policy.rules import Clause, Rule

_SAFE_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./^~-]+")
_TOOL = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SUBCOMMAND = re.compile(r"[a-z][a-z0-9-]*")
_WILD = re.compile(r"[][?*{}\\]")
# Where things lie on every machine: naming them tells nothing about this one.
_PUBLIC_PLACES = ("/proc/", "/sys/", "/etc/", "/usr/", "/var/log/", "/dev/")
MAX_REMEDY_CHARACTERS = 1000  # longer than that is no command to copy from a denial
_FILES = {"user": "", "system": "--system", "project": "--project"}
"""The layers a command can change, and how it is told which."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """One layer's refusal of one resource.

    Attributes:
        is_silence: Whether no rule objects: an `allow` rule is all that is missing.
        is_elsewhere: Whether it is for where a command would run; no rule about the command would help.
    """

    layer: Layer
    resource: Resource | None
    is_silence: bool = False
    is_elsewhere: bool = False


def remedy(refusals: Sequence[Refusal], request: AccessRequest) -> str:
    """Give the commands after which the policy would allow a call, to be run by a person; empty where no command would do.

    Where a rule that was given for one run stands in the way, it is a sentence that says so: whoever started the run can.

    Args:
        refusals: Every layer's, about every resource of the call.
        request: The call.
    """
    commands: list[str] = []
    by_layer: dict[Layer, list[Refusal]] = {}
    for refusal in refusals:
        by_layer.setdefault(refusal.layer, []).append(refusal)
    try:
        for layer, its in by_layer.items():
            needed = _commands_for(layer, its, request)
            if not needed:
                return ""
            commands += needed
    except _GivenForRunError as error:
        rule = error.rule
        return f"no command: leave out the rule {shown_rule(rule.text)}, which was given for this run ({rule.id})"
    text = " && ".join(commands)
    return text if len(text) <= MAX_REMEDY_CHARACTERS else ""


def after_untrusted_remedy(tool: str, braked: Iterable[Resource | None], agent: str) -> str:
    """Give the command after which a call is allowed after untrusted content too; empty where none would do."""
    rules = [rule_for(tool, resource) for resource in braked]
    command = policy_command(Clause.ALLOW, rules, "--after-untrusted", _for_agent(agent))
    return command if len(command) <= MAX_REMEDY_CHARACTERS else ""


def policy_command(clause: Clause, rules: Iterable[str], *options: str) -> str:
    """Write `hermes-runtime policy …` so that a shell passes the rules on as they are; empty if it can't be sure to."""
    unique = dict.fromkeys(rules)
    if not unique or not all(map(_is_safe_in_a_shell, unique)):
        return ""
    return " ".join(["hermes-runtime policy", clause.value, *filter(None, options), *map(shlex.quote, unique)])


class _GivenForRunError(Exception):
    """A rule that no file has stands in the way."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.id)
        self.rule = rule


def _commands_for(layer: Layer, refusals: Sequence[Refusal], request: AccessRequest) -> list[str]:
    """Give what has to go from a layer and what has to come, in commands; none where commands can't do it."""
    file = _FILES.get(layer.name)
    if file is None or any(refusal.is_elsewhere for refusal in refusals):
        return []
    objecting: dict[tuple[Clause, str], list[str]] = {}
    missing = []
    for refusal in refusals:
        if refusal.is_silence:
            missing.append(rule_for(request.tool, refusal.resource))
            continue
        for rule in layer.objections(request.principal, request.tool, refusal.resource):
            if rule.layer not in _FILES:
                raise _GivenForRunError(rule)
            objecting.setdefault((rule.clause, rule.principal), []).append(rule.text)
        if layer.would_still_ask(request.principal, request.tool, refusal.resource):
            return []
        if layer.lacks_allowing(request.principal, request.tool, refusal.resource):
            missing.append(rule_for(request.tool, refusal.resource))
    commands = [
        policy_command(clause, rules, "--remove", file, _for_agent(principal))
        for (clause, principal), rules in objecting.items()
    ]
    if missing:
        agent = request.principal if layer.has_section(request.principal) else ""
        commands.append(policy_command(Clause.ALLOW, missing, file, _for_agent(agent)))
    return commands if all(commands) else []


def _for_agent(agent: str) -> str:
    return shlex.join([f"--agent={agent}"]) if agent else ""


def _is_safe_in_a_shell(rule: str) -> bool:
    # Shells disagree about a backslash before a quote between quotes, so a rule with both is left to a person's editor.
    return bool(rule) and rule.isprintable() and not ("\\" in rule and "'" in rule)


def rule_for(tool: str, resource: Resource | None) -> str:
    """Give the narrowest sensible rule that allows a tool to use a resource; empty where there is none to recommend."""
    match resource:
        case PathResource():
            return _path_rule(judged_as(tool, resource), resource)
        case CommandResource(argv=None):
            return ""
        case CommandResource():
            return _command_rule(tool, resource.argv or ())
        case UrlResource():
            return f"{tool}({with_method(_url_pattern(resource), resource.method)})"
        case TextResource() | None:
            return tool if _TOOL.fullmatch(tool) else ""


def describe(tool: str, resource: Resource | None) -> str:
    """Name what was asked for, for the middle of a sentence."""
    tool = escaped(judged_as(tool, resource))
    match resource:
        case PathResource(relative=None):
            return f"{tool} of {one_line(resource.path)}" if _is_public(resource) else f"{tool} outside the workspace"
        case PathResource():
            return f"{tool} of ./{one_line(resource.relative or '')}"
        case CommandResource(argv=None):
            return "this command line"
        case CommandResource():
            return f"the command `{one_line(' '.join(map(quoted, resource.argv or ())))}`"
        case UrlResource():
            return f"{tool} of {one_line(f'{shown_method(resource)}{resource.scheme}://{resource.host}')}"
        case TextResource() | None:
            return tool


def quoted(word: str) -> str:
    """Write a word so that a rule, and a shell, take it literally."""
    return word if _SAFE_WORD.fullmatch(word) else "'" + word.replace("'", "'\"'\"'") + "'"


def _path_rule(tool: str, resource: PathResource) -> str:
    if resource.relative is None:
        path = resource.path if _is_public(resource) else ""
    else:
        path = f"./{resource.relative}" if resource.relative else "."
    if not path or not path.isprintable():
        return ""
    return f"{tool}({_WILD.sub(_escape, path)})"


def _escape(match: re.Match[str]) -> str:
    return "\\" + match[0]


def _is_public(resource: PathResource) -> bool:
    return resource.path.startswith(_PUBLIC_PLACES)


def _command_rule(tool: str, argv: tuple[str, ...]) -> str:
    words = [quoted(word) for word in argv]
    if not all(map(str.isprintable, words)):
        return ""
    habit = HABITS.get(argv[0])
    has_subcommands = habit is not None and habit.first_operand and not habit.runs
    if has_subcommands and len(argv) > 1 and _SUBCOMMAND.fullmatch(argv[1]):
        hazards = find_hazards(argv)
        if not hazards.whole and all(index <= 1 for index in hazards.indices):
            words = [*words[:2], "*"]
    return f"{tool}({' '.join(words)})"


def _url_pattern(url: UrlResource) -> str:
    if url.port == DEFAULT_PORTS.get(url.scheme):
        return f"domain:{url.host}"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"url:{url.scheme}://{host}:{url.port}/**"


def shown_rule(text: str) -> str:
    """A rule's text inside a sentence."""
    return escaped(text) if len(text) <= 200 else one_line(text, 200)
