"""`policy test`: which calls of the past a policy would answer differently."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import counted, indented, plain, print_json, table

if TYPE_CHECKING:
    from host_bridge.policy.layers import Policy
    from host_bridge.policy.rehearsal import PastCall, Rehearsal

_SHOWN_CHANGES = 100  # more than anybody reads; --json has them all


@click.command("test")
@click.argument("new", type=FILE, metavar="NEW.TOML")
@click.option(
    "--audit", "logs", multiple=True, metavar="LOG", help="A log, or a session's or run's id; by default all the logs."
)
@click.option("--tape", "tapes", multiple=True, type=FILE, metavar="FILE", help="A run's tape, instead of logs.")
@click.option("--agent", default="", metavar="NAME", help="Only this agent's calls.")
@click.option("--profile", default="", metavar="NAME", help="Try it with this profile instead of each session's own.")
@json_option
@debug_option
def test_command(
    new: str, logs: tuple[str, ...], tapes: tuple[str, ...], agent: str, profile: str, as_json: bool
) -> None:
    """Say which calls of the past would be answered differently if NEW.TOML took the place of your policy file.

    \b
        hermes-runtime policy test new.toml --audit ~/.local/state/hermes-runtime/audit/2026-11-28.jsonl

    A file named hermes.toml takes the place of the project's. Nothing is run, and nothing but logs and policy files is read. A
    call is left out, and counted, where its record doesn't say exactly what it was about, and where it was decided by what
    belongs to its run alone.

    Exits with 0 if every answer stays, with 1 if any would be another.
    """
    from host_bridge.policy.rehearsal import rehearse

    def calls() -> Iterator[PastCall]:
        for call in itertools.chain(_taped(tapes), _logged(logs) if logs or not tapes else ()):
            if agent in ("", call.principal):
                yield call

    choose = _policies(new, profile)
    choose("", str(Path.cwd()), "default")  # a file that can't be used is said even if no log has a call
    outcome = rehearse(calls(), lambda call: choose(call.profile, call.workspace, call.principal))
    if as_json:
        changes = [{**dataclasses.asdict(change), "widens": change.widens} for change in outcome.changes]
        print_json({"calls": outcome.calls, "changes": changes, "left_out": outcome.left_out})
    else:
        _tell(outcome)
    if outcome.changes:
        raise Exit(ExitCode.FAILED)


def _tell(outcome: Rehearsal) -> None:
    for reason, count in sorted(outcome.left_out.items()):
        click.echo(f"{counted(count, 'call')} left out: {plain(reason)}")
    if not outcome.changes:
        click.echo(f"{counted(outcome.calls, 'call')} tried: every answer stays")
        return
    total = sum(change.calls for change in outcome.changes)
    wider = sum(change.calls for change in outcome.changes if change.widens)
    click.echo(
        f"{counted(outcome.calls, 'call')} tried, {total} with another answer: {wider} let through that were not, "
        f"{total - wider} no longer"
    )
    rows = [
        (
            f"{change.calls}x",
            f"{change.before} -> {change.after}",
            f"{change.tool} {change.subject}".rstrip(),
            f"{change.rule_before} -> {change.rule_after}",
        )
        for change in outcome.changes[:_SHOWN_CHANGES]
    ]
    click.echo(indented(table(rows)))
    if len(outcome.changes) > _SHOWN_CHANGES:
        click.echo(f"  … and {len(outcome.changes) - _SHOWN_CHANGES} more; --json lists all")


def _logged(logs: tuple[str, ...]) -> Iterator[PastCall]:
    from host_bridge.audit.reading import read
    from host_bridge.audit.recorded_calls import past_calls

    for path in _paths(logs):
        yield from past_calls(read(path), path)


def _taped(tapes: tuple[str, ...]) -> Iterator[PastCall]:
    if not tapes:
        return
    from host_bridge.tape.past_calls import past_calls
    from host_bridge.tape.reader import TapeReader

    for path in tapes:
        with TapeReader(path) as tape:
            yield from past_calls(tape)


def _paths(logs: tuple[str, ...]) -> tuple[str, ...]:
    from host_bridge.audit.log import find
    from host_bridge.config import audit_folder, load_config
    from host_bridge.declarations.observing import find_logs

    folder = audit_folder(load_config())
    if not logs:
        return tuple(one.path for one in reversed(find(folder)))
    return tuple(path for named in logs for path in find_logs(named, folder))


def _policies(new: str, profile: str) -> Callable[[str, str, str], Policy]:
    """Give the policy that a session would have with the new file; one for each kind of session."""
    from host_bridge.config import load_config
    from host_bridge.policy.loading import load_policy
    from host_bridge.provisioning.session_config import layer_of, policy_paths, standard_policy

    config = load_config()
    file = Path(new).expanduser().absolute()
    layer = layer_of(file)

    @functools.cache
    def choose(its_profile: str, workspace: str, principal: str) -> Policy:
        replaced = (str(standard_policy(layer, workspace)), str(file))
        others = [pair for pair in policy_paths(config, workspace) if pair[1] not in replaced]
        return load_policy(
            profile=profile or its_profile or config.session.profile,
            paths=[*others, (layer, str(file))],
            principal=principal,
            workspace=workspace,
        )

    return choose
