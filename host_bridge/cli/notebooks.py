"""`inspect`, `collect`, `validate` and `diff`: what can be said about notebooks without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import debug_option, json_option
from host_bridge.cli.output import print_json, table
from host_bridge.policy.display import one_line


@click.command("inspect")
@click.argument("notebook")
@json_option
@debug_option
def inspect_command(notebook: str, as_json: bool) -> None:
    """Show the parameters that NOTEBOOK declares, with their types and defaults."""
    from host_bridge.executor import NotebookExecutor

    parameters = NotebookExecutor().inspect_parameters(notebook)
    if as_json:
        print_json(parameters)
    elif not parameters:
        click.echo("no parameters: no cell is tagged `parameters`")
    else:
        click.echo(table(_parameter_rows(parameters)))


def _parameter_rows(parameters: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [
        (name, one.get("inferred_type_name") or "Any", str(one.get("default", "")), one.get("help", ""))
        for name, one in parameters.items()
    ]


@click.command("collect")
@click.argument("path")
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
        click.echo(indented(table((key, str(value)) for key, value in scraps.items()) or "no scraps"))


def indented(text: str) -> str:
    """Give text two spaces in."""
    return "\n".join(f"  {line}" for line in text.splitlines())


@click.command("validate")
@click.argument("notebook")
@click.option(
    "--run", "run_lax", is_flag=True, help="Also run it with nbval, comparing cells marked NBVAL_CHECK_OUTPUT."
)
@json_option
@debug_option
def validate_command(notebook: str, run_lax: bool, as_json: bool) -> None:
    """Check that NOTEBOOK is a valid notebook file. Exits with 1 if it isn't."""
    from host_bridge.executor import NotebookExecutor

    problems = NotebookExecutor().validate(notebook, nbval=run_lax)
    if as_json:
        print_json({"valid": not problems, "problems": problems})
    else:
        click.echo("\n".join(one_line(problem) for problem in problems) or f"{notebook}: valid")
    if problems:
        raise Exit(ExitCode.FAILED)


@click.command("diff")
@click.argument("before")
@click.argument("after")
@json_option
@debug_option
def diff_command(before: str, after: str, as_json: bool) -> None:
    """Show what changed between two notebooks, cell by cell. Exits with 1 if they differ."""
    from host_bridge.executor import NotebookExecutor

    difference = NotebookExecutor().diff_notebooks(before, after)
    if as_json:
        print_json(difference)
    if difference:
        raise Exit(ExitCode.FAILED)
