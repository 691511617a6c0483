"""`inspect`, `collect` and `validate`: what can be said about notebooks without running them."""

from __future__ import annotations

from pathlib import Path

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, SECONDS, allow_option, cell_timeout_option, debug_option, json_option
from host_bridge.cli.output import indented, plain, print_json, short, table
from host_bridge.cli.rules import rules_text
from host_bridge.cli.run_parameters import show_parameters
from host_bridge.policy.display import one_line
from host_bridge.signals import heed_cancellation


@click.command("inspect")
@click.argument("notebook", type=FILE)
@json_option
@debug_option
def inspect_command(notebook: str, as_json: bool) -> None:
    """Show the parameters that NOTEBOOK declares, with their types and defaults."""
    from host_bridge.executor import NotebookExecutor

    show_parameters(NotebookExecutor().inspect_parameters(notebook), as_json)


@click.command("collect")
@click.argument("path", type=FILE)
@json_option
@debug_option
def collect_command(path: str, as_json: bool) -> None:
    """Show the scraps of an executed notebook, or of every notebook in a folder.

    PATH is a notebook or a folder.
    """
    from host_bridge.executor import NotebookExecutor

    executor = NotebookExecutor()
    folder = Path(path)
    if folder.is_dir():
        collected = {one.name: executor.collect_outputs(str(one)) for one in sorted(folder.glob("*.ipynb"))}
        if not collected:
            raise click.UsageError(f"no notebook (*.ipynb) in {path}")
    else:
        collected = {folder.name: executor.collect_outputs(path)}
    if as_json:
        print_json(collected if folder.is_dir() else collected[folder.name])
        return
    for name, scraps in collected.items():
        click.echo(f"{one_line(name)}:")
        click.echo(indented(table((key, short(value)) for key, value in scraps.items()) or "no scraps"))


@click.command("validate")
@click.argument("notebook", type=FILE)
@click.option(
    "--nbval",
    type=click.Choice(["off", "lax", "strict"]),
    default="off",
    show_default=True,
    help="Also run it and compare outputs: of cells marked NBVAL_CHECK_OUTPUT (lax), or of all (strict).",
)
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, metavar="SECONDS", help="For the run.")
@cell_timeout_option
@click.option(
    "--sanitize", default="", type=FILE, metavar="FILE", help="What to replace before comparing, as nbval has it."
)
@click.option("--tape", default="", type=FILE, metavar="FILE", help="Answer tool calls from a run's tape.")
@click.option("--profile", default="", metavar="NAME", help="The policy to run under: read-only, workspace or full.")
@allow_option
@click.option("--junit", type=FILE, metavar="FILE", help="Write the outcome as JUnit XML too.")
@json_option
@debug_option
def validate_command(
    notebook: str,
    nbval: str,
    timeout: float,
    cell_timeout: float | None,
    sanitize: str,
    tape: str,
    profile: str,
    allow: tuple[str, ...],
    junit: str | None,
    as_json: bool,
) -> None:
    """Check that NOTEBOOK is a valid notebook, and on request that running it gives the outputs it has.

    Looks at its format, its parameters, the permissions it declares, and conflicts left from a merge. With --nbval or --tape it
    is run, confined as any run, and its cells are compared by nbval's rules. Exits with 1 if something is wrong.
    """
    from host_bridge.executor import NotebookExecutor

    found = NotebookExecutor().validate(
        notebook,
        "lax" if tape and nbval == "off" else nbval,
        timeout or None,
        cell_timeout=cell_timeout,
        sanitizers=sanitize,
        tape=tape,
        profile=profile,
        policy_rules=rules_text(allow=allow, deny=()),
    )
    heed_cancellation(found.run, what="the notebook was not checked to its end, and nothing was written")
    if junit is not None:
        from host_bridge.executor.junit import junit_xml

        Path(junit).write_bytes(junit_xml(found, notebook))
    if as_json:
        print_json(found.to_dict())
    elif found:
        passed = sum(cell.outcome == "passed" for cell in found.cells)
        click.echo(f"{notebook}: valid" + (f", {passed} cells passed" if found.cells else ""))
    else:
        click.echo("\n".join(plain(problem) for problem in found.problems))
        for cell in found.cells:
            if cell.difference:
                click.echo(indented(plain(cell.difference)))
    if not found:
        raise Exit(ExitCode.FAILED)
