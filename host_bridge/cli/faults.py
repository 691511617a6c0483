"""`faults`: what a notebook does when its calls go wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, SECONDS, debug_option, json_option
from host_bridge.cli.output import counted, print_json, print_note, table
from host_bridge.cli.run_parameters import gather, parameter_options

if TYPE_CHECKING:
    from host_bridge.executor.faults import Finding

KINDS = ("timeout", "denied", "provider", "truncated")


@click.command("faults")
@click.argument("notebook", type=FILE)
@click.option(
    "--tape", required=True, metavar="TAPE", help="Of a run that succeeded: a tape, an output notebook, a run."
)
@parameter_options
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind; can be given again.")
@click.option("--cell", type=click.IntRange(min=0), metavar="INDEX", help="Only the calls of this cell.")
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, metavar="SECONDS", help="For each replay.")
@click.option(
    "--total-timeout",
    type=SECONDS,
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="For all of them; 0 for no limit.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 for cells that crash, too.")
@json_option
@debug_option
def faults_command(
    notebook: str,
    tape: str,
    given: dict[str, Any],
    kinds: tuple[str, ...],
    cell: int | None,
    timeout: float,
    total_timeout: float,
    strict: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Replay NOTEBOOK with one fault at a time, at each place that calls a tool.

    Faults are a timeout, a denial, a provider's error (429) and a truncated result. A cell copes (the same results), crashes
    (so nobody can miss it), warns (other results, and something new on standard error), or gives a wrong answer in silence.

    Each fault has a kernel of its own, as it may leave one in another state: count some seconds for each, four faults for a
    place, and two replays without any.

    Exits with 1 if an answer was wrong in silence, with 4 if the time for all was over before every fault was tried.
    """
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.earlier import tape_of
    from host_bridge.executor.faults import CRASHES, UNTRIED, WRONG, examine

    declared = NotebookExecutor().inspect_parameters(notebook)
    parameters = gather(declared, **given)
    counting = _Counting()
    findings = examine(
        notebook,
        tape_of(tape),
        parameters=parameters,
        timeout=timeout or None,
        total_timeout=total_timeout or None,
        kinds=kinds or KINDS,
        cell=cell,
        on_start=counting.start,
        on_finding=counting.tell,
    )
    if as_json:
        print_json([dataclasses.asdict(found) for found in findings])
    else:
        click.echo(table(map(_row, findings)) or "the tape has no calls to put a fault into")
        click.echo(", ".join(_counts(findings)))
    bad = {WRONG, CRASHES} if strict else {WRONG}
    if any(found.verdict in bad for found in findings):
        raise Exit(ExitCode.FAILED)
    if any(found.verdict == UNTRIED for found in findings):
        raise Exit(ExitCode.TIMED_OUT)


class _Counting:
    """Shows how far it is, on standard error."""

    def __init__(self) -> None:
        self._total = self._done = 0

    def start(self, total: int) -> None:
        self._total = total
        print_note(f"{counted(total, 'fault')}, each with a kernel of its own; first two replays without any")

    def tell(self, found: Finding) -> None:
        self._done += 1
        print_note(f"[{self._done}/{self._total}] {_place(found)} {found.kind}: {found.verdict}")


def _place(found: Finding) -> str:
    return f"cell {found.cell_index}" + (f":{found.line}" if found.line else "") + f" {found.tool}"


def _row(found: Finding) -> tuple[str, ...]:
    return (
        _place(found),
        found.kind,
        found.verdict,
        found.detail if len(found.detail) <= 100 else f"{found.detail[:99]}…",
    )


def _counts(findings: list[Finding]) -> list[str]:
    verdicts = ("copes", "warns", "crashes", "wrong", "untried")
    numbers = {verdict: sum(found.verdict == verdict for found in findings) for verdict in verdicts}
    return [counted(len(findings), "fault"), *(f"{number} {verdict}" for verdict, number in numbers.items() if number)]
