"""`permissions`: what notebooks declare they need: learned from a run, shown, compared, accepted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option
from host_bridge.cli.output import counted, indented, plain, print_json, print_note, table

if TYPE_CHECKING:
    from host_bridge.declarations.accepted import Acceptance
    from host_bridge.declarations.learning import Learned
    from host_bridge.declarations.observing import ObservedRun
    from host_bridge.declarations.standing import Standing


@click.group("permissions")
def permissions_command() -> None:
    """Learn, show, compare and accept what notebooks declare they need."""


@permissions_command.command("learn")
@click.argument("run", metavar="RUN")
@click.option("--notebook", type=FILE, metavar="FILE", help="The notebook; by default the one that ran.")
@click.option("--write", is_flag=True, help="Write the declaration into the notebook.")
@click.option("--force", is_flag=True, help="Write it even if the notebook is not the one that ran.")
@json_option
@debug_option
def learn_command(run: str, notebook: str | None, write: bool, force: bool, as_json: bool) -> None:
    """Give the smallest declaration that lets RUN happen again.

    \b
    RUN is a session's or a run's id, an audit log, a tape, or an executed notebook.
        hermes-runtime permissions learn out.ipynb --write

    It is exact, but for files of one kind, commands that differ in numbers, and searches; it says which rules allow more
    than was seen, and which calls need a rule that only a person can give.
    """
    from host_bridge.config import audit_folder, load_config
    from host_bridge.declarations.learning import learn
    from host_bridge.declarations.observing import find_logs, observe
    from host_bridge.declarations.taped import is_tape, observe_tape

    observed = observe_tape(run) if is_tape(run) else observe(find_logs(_session_of(run), audit_folder(load_config())))
    learned = learn(observed.calls, denied=observed.denied, unreadable=observed.unreadable)
    target = notebook or observed.notebook
    declared: Mapping[str, Any] = learned.declaration()
    if write:
        if not target:
            raise click.UsageError("nothing tells which notebook ran; name it with --notebook")
        from host_bridge.executor.imports import import_jsonschema_lightly

        import_jsonschema_lightly()
        from host_bridge.executor.declaring import declare

        declared = declare(target, declared, ran=observed.notebook_digest, force=force)
    if as_json:
        print_json(_learned(observed, learned, declared, target if write else None))
    else:
        _tell_learned(observed, learned, declared, target if write else None)


@permissions_command.command("show")
@click.argument("notebook", metavar="NOTEBOOK")
@click.option(
    "--workspace", default=".", type=FOLDER, metavar="DIR", help="The folder it would work in; by default this one."
)
@click.option("--agent", default="", metavar="NAME", help="For whom.")
@click.option("--profile", default="", metavar="NAME", help="read-only, workspace or full.")
@json_option
@debug_option
def show_command(notebook: str, workspace: str, agent: str, profile: str, as_json: bool) -> None:
    """Show what NOTEBOOK declares, and what of it the present policy would allow, ask about or deny.

    NOTEBOOK is a file, `-`, or a revision such as HEAD:report.ipynb.
    """
    from host_bridge.cli.policy_loading import load_session_policy
    from host_bridge.cli.versions import read_version
    from host_bridge.declarations.sentences import declaration_sentences
    from host_bridge.declarations.standing import standings
    from host_bridge.provisioning.notebook import declared_permissions

    permissions = declared_permissions(read_version(notebook))
    sentences = declaration_sentences(permissions)
    policy = load_session_policy(profile=profile, agent=agent, workspace=workspace)
    standing = () if permissions is None else standings(policy, permissions)
    if as_json:
        print_json({"permissions": permissions, "sentences": sentences, "rules": [_standing(one) for one in standing]})
        return
    click.echo("\n".join(map(plain, sentences)))
    if permissions and permissions.get("note"):
        click.echo(f"Its note: {plain(permissions['note'])}")
    if standing:
        click.echo(f"\nunder the profile {policy.profile}, for {policy.principal}:")
        click.echo(indented(standing_table(standing)))


@permissions_command.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@json_option
@debug_option
def diff_command(before: str, after: str, as_json: bool) -> None:
    """Show what notebook B could do that A could not: a difference of authority, not of text.

    \b
    A and B are files, `-`, or revisions of git:
        hermes-runtime permissions diff main:report.ipynb report.ipynb

    Exits with 0 if nothing is gained, with 1 if something is. What can't be proven to be covered counts as gained.
    """
    from host_bridge.cli.versions import read_version
    from host_bridge.declarations.difference import authority_diff
    from host_bridge.declarations.sentences import difference_sentences
    from host_bridge.provisioning.notebook import declared_permissions

    if before == after == "-":
        raise click.UsageError("standard input can be read only once")
    difference = authority_diff(*(declared_permissions(read_version(named)) for named in (before, after)))
    sentences = difference_sentences(difference)
    if as_json:
        print_json({**difference.to_dict(), "sentences": sentences})
    else:
        click.echo("\n".join(map(plain, sentences)))
    if difference.gains:
        raise Exit(ExitCode.FAILED)


@permissions_command.command("accept")
@click.argument("notebook", type=FILE)
@click.option("--agent", default="", metavar="NAME", help="For whom.")
@json_option
@debug_option
def accept_command(notebook: str, agent: str, as_json: bool) -> None:
    """Accept what NOTEBOOK declares, for its present source.

    Until a cell or the declaration changes, its runs need no further yes to what it declares. Nothing that is denied is
    allowed by it.
    """
    from host_bridge.cli.versions import read_version
    from host_bridge.declarations.accepted import AcceptedDeclarations
    from host_bridge.declarations.difference import authority_diff
    from host_bridge.declarations.sentences import declaration_sentences, difference_sentences
    from host_bridge.provisioning.declared_needs import lowered_budgets
    from host_bridge.provisioning.notebook import declared_permissions, source_digest

    document = read_version(notebook)
    permissions = declared_permissions(document)
    lowered_budgets({}, permissions)  # what can't be meant is refused before it is remembered
    principal, path = agent or _principal(), str(Path(notebook).absolute())
    store = AcceptedDeclarations()
    previous = store.latest(principal, path)
    accepted = store.accept(principal=principal, digest=source_digest(document), notebook=path, permissions=permissions)
    difference = None if previous is None else authority_diff(previous.permissions, permissions)
    if as_json:
        print_json({**_acceptance(accepted), "since_last": None if difference is None else difference.to_dict()})
        return
    click.echo(f"accepted for {plain(principal)}: {plain(notebook)}, source {accepted.digest[:16]}")
    click.echo(indented("\n".join(map(plain, declaration_sentences(permissions)))))
    if difference:
        click.echo("since it was accepted last:")
        click.echo(indented("\n".join(map(plain, difference_sentences(difference)))))


@permissions_command.command("revoke")
@click.argument("named", metavar="NOTEBOOK_OR_DIGEST")
@click.option("--agent", default="", metavar="NAME", help="Only for this agent.")
@json_option
@debug_option
def revoke_command(named: str, agent: str, as_json: bool) -> None:
    """Forget what was accepted of a notebook, in all its versions, or of one source by the beginning of its digest.

    Exits with 1 if nothing was accepted.
    """
    from host_bridge.declarations.accepted import AcceptedDeclarations

    path = str(Path(named).absolute())

    def is_meant(one: Acceptance) -> bool:
        is_named = one.notebook == path or (len(named) >= 8 and one.digest.startswith(named))
        return is_named and agent in ("", one.principal)

    revoked = AcceptedDeclarations().revoke(is_meant)
    if as_json:
        print_json({"revoked": revoked})
    else:
        click.echo(f"{counted(revoked, 'acceptance')} revoked; sessions that have begun keep theirs")
    if not revoked:
        raise Exit(ExitCode.FAILED)


@permissions_command.command("accepted")
@json_option
@debug_option
def accepted_command(as_json: bool) -> None:
    """List what was accepted, the latest first."""
    from host_bridge.declarations.accepted import AcceptedDeclarations

    accepted = AcceptedDeclarations().all()[::-1]
    if as_json:
        print_json([_acceptance(one) for one in accepted])
    elif accepted:
        click.echo(table((one.accepted, one.digest[:16], one.principal, one.notebook) for one in accepted))
    else:
        print_note("nothing was accepted")


def standing_table(standing: tuple[Standing, ...]) -> str:
    """Lay out how declared rules stand before the policy."""
    words = {"allow": "allowed", "ask": "asks", "deny": "denied"}
    return table(
        (one.rule, words[one.effect] + ("" if one.wholly else ", for example"), plain(one.by)) for one in standing
    )


def _session_of(run: str) -> str:
    """Give the session that an executed notebook was run in; anything else as it is."""
    if not run.endswith(".ipynb"):
        return run
    from host_bridge.cli.versions import read_version

    metadata = read_version(run).get("metadata")
    hermes = metadata.get("hermes") if isinstance(metadata, dict) else None
    told = hermes.get("run") if isinstance(hermes, dict) else None
    session = told.get("session_id") if isinstance(told, dict) else None
    if not isinstance(session, str) or not session:
        raise click.UsageError(f"{run}: doesn't name the session it ran in; run it with `hermes-runtime run`")
    return os.path.basename(session)  # noqa: PTH119 - a notebook's word must not become a path


def _principal() -> str:
    from host_bridge.config import PRINCIPAL_VARIABLE, load_config

    return os.environ.get(PRINCIPAL_VARIABLE) or load_config().session.principal


def _learned(
    observed: ObservedRun, learned: Learned, declared: Mapping[str, Any], written: str | None
) -> dict[str, Any]:
    import dataclasses

    return {
        "permissions": declared,
        "generalised": [dataclasses.asdict(one) for one in learned.generalised],
        "unlearned": learned.unlearned,
        "session_id": observed.session_id,
        "run_id": observed.run_id,
        "notebook": observed.notebook,
        "notebook_digest": observed.notebook_digest,
        "calls": len(observed.calls),
        "denied": observed.denied,
        "written": written,
    }


def _tell_learned(observed: ObservedRun, learned: Learned, declared: Mapping[str, Any], written: str | None) -> None:
    import json

    click.echo(plain(json.dumps({"hermes": {"permissions": declared}}, indent=2, ensure_ascii=False)))
    print_note(f"from {counted(len(observed.calls), 'call')} of session {observed.session_id}")
    for one in learned.generalised:
        print_note(f"note: {plain(one.rule)} allows more than the {one.seen} that were seen")
    for call in learned.unlearned:
        print_note(f"note: no rule was made for {plain(call)}; add one yourself if it is meant")
    if any(rule.startswith(("web_extract", "http_request")) for rule in learned.allow):
        print_note("note: redirects are decided too, and not in the log: add hosts that pages redirect to")
    print_note(
        f"written into {plain(written)}" if written else "nothing was written; --write puts it into the notebook"
    )


def _standing(one: Standing) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(one)


def _acceptance(one: Acceptance) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(one)
    return fields
