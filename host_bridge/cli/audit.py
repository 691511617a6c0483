"""`audit`: reading what was done, and checking that nothing of it was changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option
from host_bridge.cli.output import plain, print_json, print_note, table

if TYPE_CHECKING:
    from host_bridge.audit.reading import CallEntry, LogSummary


@click.group("audit")
def audit_command() -> None:
    """Show and verify audit logs."""


@audit_command.command("list")
@click.option(
    "--folder",
    type=FOLDER,
    metavar="DIR",
    help="Where the logs lie; by default the configured folder.",
)
@click.option("--run", metavar="ID", help="Only this run's.")
@click.option(
    "--notebook", type=FILE, metavar="FILE", help="Only those of this notebook, by its whole path or its name."
)
@click.option("--denied", is_flag=True, help="Only those with denied calls.")
@json_option
@debug_option
def list_command(folder: str | None, run: str | None, notebook: str | None, denied: bool, as_json: bool) -> None:
    """List the audit logs, the latest first."""
    from host_bridge.audit.log import find

    found = find(_folder(folder), run=run, notebook=notebook, denied=denied or None)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
    elif found:
        click.echo(table(map(_summary_row, found)))
    else:
        print_note("no audit logs")


@audit_command.command("show")
@click.argument("log", type=FILE, required=False)
@click.option("--denied", is_flag=True, help="Only denied calls.")
@json_option
@debug_option
def show_command(log: str | None, denied: bool, as_json: bool) -> None:
    """Show the calls in LOG (a file or a session's id), by default of the latest session. With --json, every record."""
    from host_bridge.audit.log import calls, read

    path = _log(log)
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in read(path)])
        return
    click.echo(f"{path}:")
    click.echo(table(map(_call_row, calls(path, denied=denied or None))) or "no calls")


@audit_command.command("verify")
@click.argument("log", type=FILE, required=False)
@click.option("--head", metavar="HASH", help="The last record's hash, if you kept it: shows a log whose end was cut.")
@json_option
@debug_option
def verify_command(log: str | None, head: str | None, as_json: bool) -> None:
    """Check that no record of LOG was changed, removed or reordered. Exits with 1 if one was."""
    from host_bridge.audit.log import verify

    report = verify(_log(log), head=head)
    if as_json:
        print_json({"ok": report.ok, **dataclasses.asdict(report)})
    else:
        end = "" if report.closed else "; its end is missing, or the session still runs"
        verdict = "as written" if report.ok else "NOT as written"
        click.echo(f"{report.path}: {report.records} records, {verdict}{end}\nhead {report.head}")
        for problem in report.problems:
            click.echo(f"  line {problem.line}: {problem.kind}: {plain(problem.text)}")
    if not report.ok:
        raise Exit(ExitCode.FAILED)


def _folder(given: str | None) -> Path:
    from host_bridge.config import audit_folder, load_config

    return Path(given) if given else audit_folder(load_config())


def _log(given: str | None) -> Path:
    """Give the log that was named by path or session, or the latest one."""
    from host_bridge.audit.log import find

    if given is not None and ("/" in given or Path(given).exists()):
        return Path(given)
    folder = _folder(None)
    found = find(folder, session=given)
    if not found:
        wanted = f"of a session {given!r} " if given else ""
        raise click.UsageError(
            f"there is no audit log {wanted}in {folder}; `hermes-runtime audit list` shows what there is"
        )
    return Path(found[0].path)


def _summary_row(log: LogSummary) -> tuple[str, ...]:
    what = Path(log.notebook).name or "-"
    return (log.opened[:19], log.session_id, log.principal, what, f"{log.calls} calls", f"{log.denied} denied")


def _call_row(call: CallEntry) -> tuple[str, ...]:
    decided: dict[str, Any] = call.decided.fields
    settled: dict[str, Any] = call.settled.fields if call.settled else {}
    cell = decided.get("cell_index")
    took = f"{settled['duration_seconds'] * 1e3:.1f} ms" if "duration_seconds" in settled else ""
    return (
        call.decided.time[:23],
        "" if cell is None else f"cell {cell}",
        str(decided.get("tool", "")),
        _shown(decided.get("arguments")),
        f"{decided.get('effect', '')} [{decided.get('rule_id', '')}]",
        str(settled.get("outcome", "")),
        took,
    )


def _shown(arguments: Any) -> str:
    """Give the arguments that say most, short."""
    if not isinstance(arguments, dict):
        return "(not kept)"
    told = [str(value) for name, value in arguments.items() if name in ("command", "path", "query", "urls", "pattern")]
    text = " ".join(told) or ", ".join(arguments)
    return text if len(text) <= 60 else f"{text[:59]}…"
