"""`policy init`, `allow`, `ask` and `deny`: write policy files as a person would."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import plain, print_json, print_note

if TYPE_CHECKING:
    from host_bridge.policy.editing import Edit

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
_LATER = "it holds for sessions that start from now on"


def _where_options(function: Decorated) -> Decorated:
    for option in (
        click.option("--system", "where", flag_value="system", help="This machine's file; it only takes away."),
        click.option("--project", "where", flag_value="project", help="This folder's hermes.toml; it only takes away."),
        click.option("--user", "where", flag_value="user", default=True, help="Your own file; the default."),
    ):
        function = option(function)
    return function


@click.command("init")
@_where_options
@json_option
@debug_option
def init_command(where: str, as_json: bool) -> None:
    """Write a policy file to start from, full of comments and without a rule. Never overwrites one."""
    import importlib.resources

    from host_bridge.policy.editing import create

    path = _path_of(where)
    text = importlib.resources.files("host_bridge.policy").joinpath("starting", f"{where}.toml").read_text("utf-8")
    create(path, text, private=where == "user")
    if as_json:
        print_json({"path": str(path), "layer": where})
    else:
        click.echo(f"wrote {path}")


def _rule_command(clause: str, summary: str) -> click.Command:
    @click.command(clause, help=summary)
    @click.argument("rules", nargs=-1, required=True, metavar="RULE...")
    @click.option("--remove", is_flag=True, help="Take the rules out instead.")
    @click.option("--agent", default="", metavar="NAME", help="For this agent only, in a section of its own.")
    @click.option("--file", "file", type=FILE, metavar="FILE", help="Any other policy file.")
    @_where_options
    @json_option
    @debug_option
    def command(
        rules: tuple[str, ...],
        remove: bool,
        agent: str,
        file: str | None,
        where: str,
        as_json: bool,
        after_untrusted: bool = False,
    ) -> None:
        _edit(clause, rules, remove, agent, file, where, as_json, after_untrusted)

    if clause == "allow":
        marked = click.option(
            "--after-untrusted", is_flag=True, help="Also after the session has read something untrusted."
        )
        command = marked(command)
    return command


allow_command = _rule_command(
    "allow",
    """Allow what the rules say, from the next session on.

    \b
        hermes-runtime policy allow 'terminal(git push *)'
        hermes-runtime policy allow --agent nightly 'read_file(/var/log/**)'

    Writes your policy file, or the one that is named, as you would with an editor: comments and layout stay. A rule that stood
    in another list of the same table moves. Nothing is written unless the file loads and passes its tests afterwards.
    """,
)
ask_command = _rule_command(
    "ask",
    """Have a person decide about what the rules say, from the next session on. See `policy allow`.""",
)
deny_command = _rule_command(
    "deny",
    """Deny what the rules say, from the next session on. See `policy allow`.""",
)


def _edit(
    clause: str,
    rules: tuple[str, ...],
    remove: bool,
    agent: str,
    file: str | None,
    where: str,
    as_json: bool,
    after_untrusted: bool,
) -> None:
    from host_bridge.policy.editing import add_rules, remove_rules
    from host_bridge.policy.rules import Clause
    from host_bridge.tools.registry import load_tools

    known_tools = frozenset(load_tools())
    if remove:
        path, layer = _holding(clause, rules, agent, file, where)
        edit = remove_rules(path, Clause(clause), rules, principal=agent, layer=layer, known_tools=known_tools)
    else:
        path, layer = _target(file, where)
        edit = add_rules(
            path,
            Clause(clause),
            rules,
            principal=agent,
            after_untrusted=after_untrusted,
            layer=layer,
            known_tools=known_tools,
        )
    _say(edit, path, clause, rules, remove, as_json)


def _say(edit: Edit, path: Path, clause: str, rules: tuple[str, ...], remove: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "path": str(path),
                "clause": clause,
                "rules": rules,
                "removed": remove,
                "changed": edit.changed,
                "moved_from": edit.moved_from,
            }
        )
        return
    if not edit.changed:
        click.echo(f"{path}: {clause} has it already")
        return
    done = "took out of" if remove else "added to"
    moved = f" (it stood in {', '.join(edit.moved_from)})" if edit.moved_from else ""
    click.echo(f"{path}: {done} {clause}: {plain(', '.join(rules))}{moved}")
    print_note(_LATER)


def _target(file: str | None, where: str) -> tuple[Path, str]:
    """Give the file to edit, and what sessions read it as."""
    from host_bridge.provisioning.session_config import layer_of

    if file is None:
        return _path_of(where), where
    path = Path(file).expanduser().absolute()
    return path, layer_of(path)


def _holding(clause: str, rules: tuple[str, ...], agent: str, file: str | None, where: str) -> tuple[Path, str]:
    """Give the file that has the rules: of the user's there may be several."""
    path, layer = _target(file, where)
    if file is not None or where != "user":
        return path, layer
    from host_bridge.config import load_config
    from host_bridge.policy.sources import read_source

    for other in (str(path), *load_config().policy.files):
        if not os.path.lexists(other):
            continue
        held = {
            rule.text for rule in read_source("user", other).rules if (rule.clause, rule.principal) == (clause, agent)
        }
        if held.issuperset(rules):
            return Path(other), "user"
    return path, layer


def _path_of(where: str) -> Path:
    from host_bridge.provisioning.session_config import standard_policy

    return standard_policy(where, Path.cwd())
