"""`runs` and `undo`: which runs there were, what each of them did, and taking it back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import counted, indented, plain, print_json, print_note, short, table, write_page

if TYPE_CHECKING:
    from host_bridge.runs.index import RunEntry
    from host_bridge.tape.reader import Recorded
    from host_bridge.tape.undo import Undone


@click.group("runs")
def runs_command() -> None:
    """Show the runs there were, and forget old ones."""


@runs_command.command("list")
@click.option("--state", metavar="STATE", help="Only those: succeeded, failed, denied, crashed, running, …")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@json_option
@debug_option
def list_command(state: str | None, limit: int, as_json: bool) -> None:
    """List the runs, the latest first.

    One whose process is gone without a word has crashed; of one in another container or on another machine that is unknown.
    """
    from host_bridge.runs.index import entries

    found = [entry for entry in entries() if state in (None, entry.shown_state)][:limit]
    if as_json:
        print_json([_as_json(entry) for entry in found])
    elif found:
        click.echo(table(map(_row, found), gives_way=5))
    else:
        print_note("no runs")


@runs_command.command("show")
@click.argument("run")
@click.option("--denied", is_flag=True, help="Only denied calls.")
@click.option(
    "--html",
    "html_path",
    type=FILE,
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write a page of the run, by default run-ID.html here; - for stdout.",
)
@json_option
@debug_option
def show_command(run: str, denied: bool, html_path: str | None, as_json: bool) -> None:
    """Show RUN (an id or its beginning, `last`, an output notebook, a tape): its cells and its calls.

    The page is one file without scripts: the cells on a line of time, their calls, what was asked and answered, what was
    written. It holds what the tape holds of that, so only you can read it.
    """
    from host_bridge.errors import TapeError
    from host_bridge.runs.index import find
    from host_bridge.tape.reader import TapeReader

    entry = find(run)
    if html_path is not None:
        if as_json or denied:
            raise click.UsageError("--html is the whole run as a page: leave out --json and --denied")
        _write_page(entry, html_path or f"run-{entry.run_id[:8]}.html")
        return
    calls: list[Recorded] = []
    facts: dict[str, Any] = {}
    note = "" if entry.tape else entry.without_tape
    if entry.is_alive:
        note = "its calls can be seen when it is over"
    elif entry.tape:
        try:
            with TapeReader(entry.tape) as tape:
                calls, facts = tape.calls(), tape.facts()
            if facts.get("run_id") != entry.run_id:
                calls, facts, note = [], {}, f"the tape at {entry.tape} is of another run"
        except TapeError as error:
            note = str(error)
    shown = [call for call in calls if not denied or _outcome(call) == "denied"]
    if as_json:
        print_json({**_as_json(entry), "facts": facts, "calls": [_call_as_json(call) for call in shown]})
        return
    click.echo("\n".join(_lines(entry)))
    click.echo(indented(note or table(map(_call_row, shown), gives_way=1, margin=2) or "no calls"))


@runs_command.command("gc")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Forget runs that started before that."
)
@click.option("--keep", type=click.IntRange(min=0), metavar="COUNT", help="Keep the latest so many, however old.")
@click.option("--dry-run", is_flag=True, help="Say which, and forget none.")
@json_option
@debug_option
def gc_command(older_than: float | None, keep: int | None, dry_run: bool, as_json: bool) -> None:
    """Forget old runs, with the tapes that lie in the state folder. Outputs, and tapes beside them, stay."""
    import datetime

    from host_bridge.runs.index import entries, forget
    from host_bridge.runs.retention import expired

    if older_than is None and keep is None:
        raise click.UsageError("say which: --older-than DAYS, --keep COUNT, or both")
    gone = expired(entries(), datetime.datetime.now(datetime.UTC), older_than_days=older_than, keep=keep)
    for entry in () if dry_run else gone:
        forget(entry)
    if as_json:
        print_json({"forgotten": [entry.run_id for entry in gone], "dry_run": dry_run})
    else:
        click.echo(f"{counted(len(gone), 'run')} {'would be ' if dry_run else ''}forgotten")


@click.command("undo")
@click.argument("run")
@click.option("--cell", type=click.IntRange(min=0), metavar="INDEX", help="Only what this cell of the output did.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
@debug_option
def undo_command(run: str, cell: int | None, dry_run: bool, as_json: bool) -> None:
    """Take back what RUN did to files with write_file, patch and http_request (save_to).

    A file gets its bytes and its mode back, or is removed if the run had made it. One that has changed since stays as it is,
    and the difference is shown. What commands and a cell's own Python did can't be taken back.

    Exits with 1 if a file was refused.
    """
    from host_bridge.runs.index import find
    from host_bridge.tape.reader import TapeReader
    from host_bridge.tape.undo import REFUSED, Undo

    entry = find(run)
    if entry.is_alive:
        raise click.UsageError(f"the run {entry.run_id} still runs; wait until it is over")
    if not entry.tape:
        raise click.UsageError(f"{entry.without_tape}, so it isn't known what was there before")
    with TapeReader(entry.tape) as tape:
        _check_root(entry, tape.root())
        undone = list(Undo(tape, cell).run(dry=dry_run))
    if as_json:
        print_json({"run_id": entry.run_id, "dry_run": dry_run, "files": [dataclasses.asdict(one) for one in undone]})
    else:
        click.echo("\n".join(map(_undone, undone)) or "the run changed no files by write_file or patch")
        if dry_run and undone:
            click.echo("nothing was done (--dry-run)")
    if any(one.outcome == REFUSED for one in undone):
        raise Exit(ExitCode.FAILED)


def _write_page(entry: RunEntry, path: str) -> None:
    from host_bridge.executor.run_page import run_page
    from host_bridge.executor.run_story import story_of

    write_page(path, run_page(story_of(entry)))
    if path != "-":
        click.echo(f"saved {plain(path)}")


def _check_root(entry: RunEntry, root: str) -> None:
    """Believe a tape only as it was when its run ended: whoever writes the workspace could have changed it since."""
    from host_bridge.errors import TapeError

    if entry.tape_root and entry.tape_root != root:
        raise TapeError(f"the tape {entry.tape} was changed since its run ended, so what it says isn't put into files")


def _undone(one: Undone) -> str:
    line = f"{one.outcome:<9}  {plain(one.path)}" + (f": {plain(one.reason)}" if one.reason else "")
    return f"{line}\n{indented(plain(one.diff))}" if one.diff else line


def _as_json(entry: RunEntry) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(entry)
    return {**fields, "state": entry.shown_state, "error": entry.shown_error}


def _row(entry: RunEntry) -> tuple[str, ...]:
    from host_bridge.runs.amounts import took

    calls = entry.tool_calls.get("total", 0)
    denied = entry.tool_calls.get("by_outcome", {}).get("denied", 0)
    return (
        entry.started[:19].replace("T", " "),
        entry.run_id[:12],
        entry.shown_state,
        took(entry.duration_seconds) if entry.ended else "",
        counted(calls, "call") + (f", {denied} denied" if denied else ""),
        entry.output or entry.notebook,
    )


def _lines(entry: RunEntry) -> list[str]:
    from host_bridge.runs.amounts import took

    lines = [f"{entry.run_id}  {entry.shown_state}", f"  notebook  {plain(entry.notebook)}"]
    lines += [f"  output    {plain(entry.output)}"] if entry.output else []
    lines += [f"  tape      {plain(entry.tape)}"] if entry.tape else []
    started = entry.started[:19].replace("T", " ")
    lines.append(f"  started   {started}, {took(entry.duration_seconds)}, {counted(entry.cells_executed, 'cell')}")
    lines += [f"  resumes   {entry.resumes}"] if entry.resumes else []
    lines += [f"  error     {plain(entry.shown_error.splitlines()[0])}"] if entry.shown_error.strip() else []
    lines += [f"  scrap     {plain(name)}: {plain(short(value))}" for name, value in entry.scraps.items()]
    return lines


def _outcome(call: Recorded) -> str:
    return call.outcome.outcome if call.outcome is not None else "unknown" if call.row.acts else "no result"


def _call_row(call: Recorded) -> tuple[str, ...]:
    from host_bridge.policy.telling import told_call
    from host_bridge.runs.amounts import took

    row = call.row
    place = "" if row.cell_index is None else f"cell {row.cell_index}" + (f":{row.line}" if row.line else "")
    duration = took(call.outcome.duration_seconds) if call.outcome else ""
    shown = told_call(row.tool, row.arguments)
    return (
        place,
        shown if len(shown) <= 80 else f"{shown[:79]}…",
        _outcome(call),
        duration,
        "" if row.origin == "live" else row.origin,
    )


def _call_as_json(call: Recorded) -> dict[str, Any]:
    row = call.row
    return {
        "seq": row.seq,
        "call_id": row.call_id,
        "tool": row.tool,
        "cell_index": row.cell_index,
        "cell_id": row.cell_id,
        "line": row.line,
        "occurrence": row.occurrence,
        "arguments": row.arguments,
        "effect": row.effect,
        "rule_id": row.rule_id,
        "reason": row.reason,
        "acts": row.acts,
        "origin": row.origin,
        "outcome": _outcome(call),
        "duration_seconds": call.outcome.duration_seconds if call.outcome else None,
    }
