"""`doctor`: would the main job work on this machine, and if not, what to do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import debug_option, json_option
from host_bridge.cli.output import hanging, plain, print_json

if TYPE_CHECKING:
    from host_bridge.doctor import Finding

_MARKS = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "failure": ("FAIL", "red")}
_SUBJECT_WIDTH = 16


@click.command("doctor")
@json_option
@debug_option
def doctor_command(as_json: bool) -> None:
    """See whether running notebooks works on this machine, and what to do where it doesn't.

    Looks at versions, the kernel spec, folders and sockets, the policy and the tools, and makes real calls through a real
    kernel. Exits with 0 if the main job works (whatever the notes say), with 1 if it doesn't.
    """
    from host_bridge.doctor import Status, examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    failures = sum(finding.status is Status.FAILURE for finding in findings)
    notes = sum(finding.status is Status.WARNING for finding in findings)
    if as_json:
        print_json({"works": not failures, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        verdict = f"{failures} to mend before notebooks run here" if failures else "notebooks run on this machine"
        click.echo(f"\n{verdict}; {notes} note{'' if notes == 1 else 's'}")
    if failures:
        raise Exit(ExitCode.FAILED)


def _show(finding: Finding) -> None:
    mark, colour = _MARKS[finding.status]
    first = f"{'':4}  {finding.subject:{_SUBJECT_WIDTH}}  "
    click.echo(f"{click.style(f'{mark:4}', fg=colour)}{first[4:]}{hanging(first, plain(finding.text))}")
    if finding.remedy:
        first = f"{'':{_SUBJECT_WIDTH + 8}}to do: "
        click.echo(f"{first}{hanging(first, plain(finding.remedy))}")
