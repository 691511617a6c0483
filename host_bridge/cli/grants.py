"""`grants`: what a person allowed notebooks, and taking it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import plain, print_json, print_note, table

if TYPE_CHECKING:
    from host_bridge.approvals.store import NotebookGrant, NotebookGrants


@click.group("grants")
def grants_command() -> None:
    """Show and take back what notebooks were allowed by the answer `notebook`."""


@grants_command.command("list")
@click.option("--notebook", type=FILE, metavar="FILE", help="Only those that hold for this notebook as it is now.")
@json_option
@debug_option
def list_command(notebook: str | None, as_json: bool) -> None:
    """List the grants, the latest last. Each is for one call of one notebook's source, by one agent in one workspace."""
    import msgspec

    found = _store().all()
    if notebook is not None:
        digest = _digest(notebook)
        found = tuple(grant for grant in found if grant.notebook_digest == digest)
    if as_json:
        print_json([msgspec.to_builtins(grant) for grant in found])
    elif found:
        click.echo(table(map(_row, found)))
    else:
        print_note("no grants")


@grants_command.command("revoke")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--notebook", type=FILE, metavar="FILE", help="All that were given while a notebook lay at this path.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@debug_option
def revoke_command(ids: tuple[str, ...], notebook: str | None, everything: bool, as_json: bool) -> None:
    """Take grants back: by their IDs (any beginning that no other has), by notebook, or all. Running sessions ask again too.

    Exits with 1 if there is no such grant.
    """
    if bool(ids) + (notebook is not None) + everything != 1:
        raise click.UsageError("say which: IDs, --notebook FILE or --all")
    store = _store()
    if ids:
        wanted = {_find(store, name).id for name in ids}
        revoked = store.revoke(lambda grant: grant.id in wanted)
    else:
        path = "" if notebook is None else str(Path(notebook).absolute())
        revoked = store.revoke(lambda grant: everything or grant.notebook == path)
    if as_json:
        print_json({"revoked": revoked})
    else:
        click.echo(f"{revoked} revoked")
    if not (revoked or everything):
        raise Exit(ExitCode.FAILED)


def _store() -> NotebookGrants:
    from host_bridge.approvals.store import NotebookGrants, grants_path

    return NotebookGrants(grants_path(), print_note)


def _find(store: NotebookGrants, name: str) -> NotebookGrant:
    from host_bridge.errors import ConfigurationError

    found = [grant for grant in store.all() if grant.id.startswith(name)]
    if len(found) != 1:
        problem = "there is no grant" if not found else f"{len(found)} grants begin with"
        raise ConfigurationError(f"{problem} {name!r}; `hermes-runtime grants list` shows what there is")
    return found[0]


def _digest(path: str) -> str:
    from host_bridge.provisioning.notebook import read_document, source_digest

    document = read_document(path)
    return "" if document is None else source_digest(document)


def _row(grant: NotebookGrant) -> tuple[str, ...]:
    name = Path(grant.notebook).name or grant.notebook_digest[:12]
    return tuple(map(plain, (grant.id[:12], grant.granted, name, grant.principal, grant.tool, grant.summary)))
