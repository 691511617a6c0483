"""`init-repo` and `strip`: a git repository that keeps its notebooks clean."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option
from host_bridge.cli.output import plain, print_json, print_note


@click.command("init-repo")
@click.argument("folder", type=FOLDER, default=".")
@click.option(
    "--check", is_flag=True, help="Change nothing; exit with 1 if something is left to do, or a notebook isn't clean."
)
@click.option("--remove", is_flag=True, help="Take back all that this command wrote.")
@json_option
@debug_option
def init_repo_command(folder: str, check: bool, remove: bool, as_json: bool) -> None:
    """Set the git repository of FOLDER up for notebooks.

    Notebooks are committed without outputs (those below a folder `runs` whole), shown and merged cell by cell, and checked
    before each commit. Done twice it does nothing, and it changes nothing that it doesn't know. Each clone needs it once.
    """
    if check and remove:
        raise click.UsageError("--check and --remove exclude each other")
    from host_bridge.repository.checking import check_repository
    from host_bridge.repository.git import Git
    from host_bridge.repository.setup import steps_to_remove, steps_to_set_up

    git = Git.at(folder)
    if check:
        found = check_repository(git)
        if as_json:
            print_json(found.to_dict())
        else:
            for note in found.notes:
                print_note(f"note: {plain(note)}")
            click.echo("\n".join(map(plain, found.problems)) or "clean")
        if not found:
            raise Exit(ExitCode.FAILED)
        return
    steps = steps_to_remove(git) if remove else steps_to_set_up(git)
    for step in steps:
        step.act()
    if as_json:
        print_json({"repository": str(git.folder), "done": [step.what for step in steps]})
    else:
        click.echo("\n".join(plain(step.what) for step in steps) or "nothing to do")
    if not remove:
        for problem in check_repository(git).problems:  # notebooks that were there before
            print_note(f"note: {plain(problem)}")


@click.command("strip")
@click.argument("notebooks", nargs=-1, required=True, type=FILE)
@debug_option
def strip_command(notebooks: tuple[str, ...]) -> None:
    """Take outputs and the records of runs out of NOTEBOOKS, in place.

    With `-` from standard input to standard output, as git's filter does it. Cells that say so (`keep_output`) keep theirs.
    """
    from host_bridge.executor.imports import import_jsonschema_lightly

    import_jsonschema_lightly()
    from host_bridge.executor.stripping import strip_text

    for notebook in notebooks:
        if notebook == "-":
            stripped = strip_text(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"))
            sys.stdout.buffer.write(stripped.encode("utf-8", "surrogateescape"))
            continue
        from host_bridge.executor.saving import LocalFile

        text = Path(notebook).read_text(encoding="utf-8", errors="surrogateescape")
        stripped = strip_text(text, notebook)
        if stripped != text:
            LocalFile(notebook).write([stripped.encode("utf-8", "surrogateescape")], last=True)
