"""`audit`: reading what was done, and checking that nothing of it was changed."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option
from host_bridge.cli.output import plain, print_json, print_note, table

if TYPE_CHECKING:
    from host_bridge.audit.reading import CallEntry, LogSummary, Report

_AGE = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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
@click.option("--folder", type=FOLDER, metavar="DIR", help="Where the logs lie; by default the configured folder.")
@click.option("--run", metavar="ID", help="Only calls of this run, in whatever log.")
@click.option("--session", metavar="ID", help="Only calls of this session.")
@click.option(
    "--since", metavar="WHEN", help="Only calls since a date (2026-11-03, 2026-11-03T10:15) or an age (90m, 2d)."
)
@click.option("--tool", metavar="NAME", multiple=True, help="Only calls of this tool. May be given several times.")
@click.option("--denied", is_flag=True, help="Only denied calls.")
@json_option
@debug_option
def show_command(
    log: str | None,
    folder: str | None,
    run: str | None,
    session: str | None,
    since: str | None,
    tool: tuple[str, ...],
    denied: bool,
    as_json: bool,
) -> None:
    """Show the calls in LOG (a file or a session's id), by default of the latest session.

    With --run, --session or --since, and no LOG, the calls in all logs. With --json the records of the chosen calls, and of the
    answers they were decided by, or every record of the log where no option chooses.
    """
    from host_bridge.audit.log import calls, find, read

    start = "" if since is None else _since(since)
    over_all = log is None and bool(run or session or since or folder)
    paths = [found.path for found in reversed(find(_folder(folder)))] if over_all else [str(_log(log))]
    if as_json and not (run or session or since or tool or denied):
        print_json([dataclasses.asdict(entry) for path in paths for entry in read(path)])
        return
    chosen = [
        (path, call)
        for path in paths
        for call in calls(path, denied=denied or None)
        if _is_wanted(call, run=run, session=session, start=start, tools=tool)
    ]
    if as_json:
        # One answer may be for many calls, and is one record.
        entries = {(path, entry.seq): entry for path, call in chosen for entry in _entries(call)}
        print_json([dataclasses.asdict(entry) for entry in entries.values()])
        return
    shown = [path for path in paths if not over_all or any(path == each for each, _ in chosen)]
    for path in shown:
        click.echo(f"{path}:")
        click.echo(table((_call_row(call) for each, call in chosen if each == path), gives_way=3) or "no calls")
    if not shown:
        print_note("no such calls")


@audit_command.command("verify")
@click.argument("log", type=FILE, required=False)
@click.option(
    "--all", "everything", is_flag=True, help="All logs in the configured folder, and those that should be there."
)
@click.option("--head", metavar="HASH", help="The last record's hash, if you kept it: shows a log whose end was cut.")
@click.option("--heads", type=FILE, metavar="FILE", help="Where heads are kept; by default the configured file.")
@json_option
@debug_option
def verify_command(log: str | None, everything: bool, head: str | None, heads: str | None, as_json: bool) -> None:
    """Check that no record of LOG was changed, removed or reordered, and its end not cut off. Exits with 1 if so."""
    from host_bridge.audit.heads import read_heads
    from host_bridge.audit.log import find, verify
    from host_bridge.audit.pruning import missing_logs

    kept = heads or _heads()
    paths = [Path(found.path) for found in find(_folder(None))] if everything else [_log(log)]
    reports = [verify(path, head=head, heads=kept) for path in paths]
    missing = missing_logs(_folder(None), read_heads(kept)) if everything else []
    found = [{"ok": report.ok, **dataclasses.asdict(report)} for report in reports]
    if as_json:
        print_json({"logs": found, "missing": [lost.log for lost in missing]} if everything else found[0])
    else:
        for report in reports:
            _print_report(report)
        for lost in missing:
            click.echo(f"{lost.log}: MISSING; it had at least {lost.seq + 1} records")
    if missing or not all(report.ok for report in reports):
        raise Exit(ExitCode.FAILED)


@audit_command.command("prune")
@click.option("--older-than", required=True, metavar="AGE", help="How long ago it was last written: 90d, 12w.")
@click.option("--folder", type=FOLDER, metavar="DIR", help="Where the logs lie; by default the configured folder.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@debug_option
def prune_command(older_than: str, folder: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove old logs, whole, leaving a tombstone for each where heads are kept.

    A log that is being written stays, and so does one that doesn't verify. Exits with 1 if one of these did.
    """
    from host_bridge.audit.pruning import prune

    done = prune(_folder(folder), _heads(), _age(older_than).total_seconds(), dry_run=dry_run)
    if as_json:
        print_json([dataclasses.asdict(one) for one in done])
    elif done:
        verb = "would be removed" if dry_run else "removed"
        click.echo(
            table((one.log, f"{one.records} records", f"kept: {one.kept}" if one.kept else verb) for one in done)
        )
    else:
        print_note("no logs that old")
    if any(one.kept for one in done):
        raise Exit(ExitCode.FAILED)


def _print_report(report: Report) -> None:
    end = "" if report.closed else "; its end is missing, or the session still runs"
    if not report.closed and report.kept is not None:
        end = "; not closed: its session was killed, or still runs"
    verdict = "as written" if report.ok else "NOT as written"
    kept = "no head was kept" if report.kept is None else f"its head was kept up to record {report.kept}"
    click.echo(f"{report.path}: {report.records} records, {verdict}{end}; {kept}\nhead {report.head}")
    for problem in report.problems:
        place = f"{Path(problem.log).name} " if len(report.files) > 1 else ""
        click.echo(f"  {place}line {problem.line}: {problem.kind}: {plain(problem.text)}")


def _is_wanted(call: CallEntry, *, run: str | None, session: str | None, start: str, tools: tuple[str, ...]) -> bool:
    fields = call.decided.fields
    return (
        (run is None or fields.get("run_id") == run)
        and (session is None or fields.get("session_id") == session)
        and call.decided.time >= start
        and (not tools or fields.get("tool") in tools)
    )


def _entries(call: CallEntry) -> Iterator[Any]:
    if call.answered is not None:
        yield call.answered
    yield call.decided
    if call.settled is not None:
        yield call.settled


def _since(text: str) -> str:
    """Give a point in time as records have it, so that they compare as text."""
    if _AGE.fullmatch(text):
        point = datetime.datetime.now(datetime.UTC) - _age(text)
    else:
        try:
            point = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
        except ValueError:
            raise click.UsageError(
                f"--since {text!r} is neither a date (2026-11-03, 2026-11-03T10:15) nor an age (90m, 12h, 2d)"
            ) from None
    return point.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _age(text: str) -> datetime.timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{text!r} is no age; write 90m, 12h, 30d or 12w")
    try:
        return datetime.timedelta(**{_UNITS[match["unit"]]: int(match["number"])})
    except OverflowError:
        raise click.UsageError(f"{text!r} is longer than anybody kept a log") from None


def _heads() -> str:
    from host_bridge.config import audit_heads, load_config

    return str(audit_heads(load_config()))


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
    from host_bridge.runs.amounts import took

    decided: dict[str, Any] = call.decided.fields
    settled: dict[str, Any] = call.settled.fields if call.settled else {}
    cell = decided.get("cell_index")
    duration = settled.get("duration_seconds")
    return (
        call.decided.time[:23],
        "" if cell is None else f"cell {cell}",
        str(decided.get("tool", "")),
        _shown(decided.get("arguments")),
        f"{decided.get('effect', '')} [{decided.get('rule_id', '')}]{_answer(call)}",
        str(settled.get("outcome", "")),
        took(duration) if isinstance(duration, int | float) else "",
    )


def _answer(call: CallEntry) -> str:
    """Say by which answer a call was decided, and whose it was."""
    answer = call.decided.fields.get("answer")
    by = call.answered.fields.get("by") if call.answered else ""
    return f", answer {answer}{f' by {by}' if by else ''}" if answer else ""


def _shown(arguments: Any) -> str:
    """Give the arguments that say most, short."""
    if not isinstance(arguments, dict):
        return "(not kept)"
    from host_bridge.policy.telling import telling

    text = telling(arguments)
    return text if len(text) <= 60 else f"{text[:59]}…"
