"""`policy`: what the rules in force say, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option, policies_option
from host_bridge.cli.output import counted, indented, plain, print_json, table
from host_bridge.cli.policy_edits import allow_command, ask_command, deny_command, init_command
from host_bridge.cli.policy_loading import load_session_policy
from host_bridge.cli.policy_rehearsal import test_command

if TYPE_CHECKING:
    from host_bridge.policy.engine import Explanation

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@click.group("policy")
def policy_command() -> None:
    """Write and check policy files, and explain what they decide."""


policy_command.add_command(init_command)
policy_command.add_command(allow_command)
policy_command.add_command(ask_command)
policy_command.add_command(deny_command)
policy_command.add_command(test_command)


@policy_command.command("check")
@click.argument("files", nargs=-1, type=FILE, metavar="[FILE]...")
@json_option
@debug_option
def check_command(files: tuple[str, ...], as_json: bool) -> None:
    """Check policy files, by default the configured ones, and run their tests. Exits with 2 at the first that can't be used."""
    from host_bridge.policy.loading import check
    from host_bridge.provisioning.session_config import layer_of
    from host_bridge.tools.registry import load_tools

    known_tools = frozenset(load_tools())
    named = [(layer_of(Path(file).absolute()), file) for file in files]
    checked = [check(path, known_tools, layer) for layer, path in named or _configured_files()]
    if as_json:
        print_json(
            [
                {"path": one.path, "rules": len(one.rules), "tests": one.tests, "principals": one.principals}
                for one in checked
            ]
        )
        return
    for one in checked:
        tests = f", {counted(one.tests, 'test')} passed" if one.tests else ""
        agents = f", sections for {', '.join(one.principals)}" if one.principals else ""
        click.echo(f"{one.path}: {counted(len(one.rules), 'rule')}{tests}{agents}")
    if not checked:
        click.echo("no policy files are configured; the profile alone decides")


def _session_options(function: Decorated) -> Decorated:
    for option in (
        click.option("--notebook", type=FILE, metavar="FILE", help="Count in what this notebook declares."),
        click.option(
            "--workspace",
            default=".",
            type=FOLDER,
            metavar="DIR",
            help="The folder calls work in; by default this one.",
        ),
        click.option("--agent", default="", metavar="NAME", help="For whom."),
        click.option("--deny", multiple=True, metavar="RULE", help="A rule to add that takes away."),
        click.option("--allow", multiple=True, metavar="RULE", help="A rule to add."),
        policies_option,
        click.option("--profile", default="", metavar="NAME", help="read-only, workspace or full."),
    ):
        function = option(function)
    return function


@policy_command.command("show")
@_session_options
@json_option
@debug_option
def show_command(as_json: bool, **choices: Any) -> None:
    """Show the rules that a session started here would have."""
    policy = load_session_policy(**choices)
    layers = (*policy.layers, policy.accepted) if policy.accepted else policy.layers
    rules = [rule for layer in layers for rule in layer.rules if rule.principal in ("", policy.principal)]
    if as_json:
        fields = ("text", "clause", "layer", "key", "principal", "id", "after_untrusted")
        print_json(
            {
                "profile": policy.profile,
                "principal": policy.principal,
                "sources": policy.sources,
                "digest": policy.digest,
                "brakes_after_untrusted": policy.brakes_after_untrusted,
                "rules": [{name: getattr(rule, name) for name in fields} for rule in rules],
            }
        )
        return
    brake = "acting asks first" if policy.brakes_after_untrusted else "nothing changes"
    click.echo(f"profile {policy.profile}, for {policy.principal}; digest {policy.digest[:16]}")
    click.echo(f"after untrusted content: {brake}")
    marks = {True: "after untrusted content too", False: ""}
    click.echo(table((rule.clause.value, rule.text, rule.id, marks[rule.after_untrusted]) for rule in rules))


@policy_command.command("explain")
@click.argument("tool")
@click.argument("subject", required=False)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--after-untrusted", is_flag=True, help="As if the session had read something untrusted before.")
@click.option("--narrow", multiple=True, metavar="RULE", help="As if the cell had narrowed itself to this.")
@_session_options
@json_option
@debug_option
def explain_command(
    tool: str,
    subject: str | None,
    arguments: tuple[str, ...],
    after_untrusted: bool,
    narrow: tuple[str, ...],
    as_json: bool,
    **choices: Any,
) -> None:
    """Say how a call of TOOL would be decided, and by which rules.

    \b
    SUBJECT is what the call is about: a command line, a path, a URL, or a text. NAME=VALUE are further arguments.
        hermes-runtime policy explain terminal 'git push origin main'
        hermes-runtime policy explain read_file /etc/passwd
    A call can also be written like a rule: 'terminal(git push origin main)'.
        hermes-runtime policy explain http_request 'POST https://api.example.org/v1/items'

    Exits with 0 if it is allowed, with 3 if it is denied or needs a person.
    """
    from host_bridge.cli.policy_subjects import named, prepared_resources
    from host_bridge.policy.engine import explain
    from host_bridge.policy.loading import narrowing_layer
    from host_bridge.policy.model import AccessRequest, Effect

    if subject is None and tool.endswith(")"):
        tool, _, subject = tool[:-1].partition("(")
    policy = load_session_policy(**choices)
    resources = prepared_resources(tool, subject, named(arguments), policy.workspace)
    narrowing = (narrowing_layer(narrow),) if narrow else ()
    untrusted = "something untrusted, as you supposed" if after_untrusted else ""
    request = AccessRequest(policy.principal, tool, resources, untrusted, narrowing)
    explanation = explain(policy, request)
    decision = explanation.decision
    if as_json:
        print_json(_explained(explanation))
    else:
        click.echo(
            f"{decision.effect.name}: {plain(decision.reason or 'no rule is needed')} [{plain(decision.rule_id)}]"
        )
        for trail in explanation.trails:
            click.echo(f"  {plain(trail.shown)}")
            steps = (
                (step.layer, step.effect.name if step.effect else "-", step.rule_id, step.rule) for step in trail.steps
            )
            click.echo(indented(indented(table(steps))))
        if decision.remedy:
            click.echo(f"what would allow it:\n\n    {plain(decision.remedy)}")
    if decision.effect is not Effect.ALLOW:
        raise Exit(ExitCode.DENIED)


def _explained(explanation: Explanation) -> dict[str, Any]:
    decision = explanation.decision
    return {
        "effect": decision.effect.name.lower(),
        "rule_id": decision.rule_id,
        "reason": decision.reason,
        "remedy": decision.remedy,
        "trails": [
            {
                "subject": trail.shown,
                "steps": [
                    {
                        "layer": step.layer,
                        "effect": step.effect.name.lower() if step.effect else None,
                        "rule_id": step.rule_id,
                        "rule": step.rule,
                    }
                    for step in trail.steps
                ],
            }
            for trail in explanation.trails
        ],
    }


def _configured_files() -> tuple[tuple[str, str], ...]:
    from host_bridge.config import load_config
    from host_bridge.provisioning.session_config import policy_paths

    return policy_paths(load_config(), str(Path.cwd()))
