"""`edit`: change a notebook cell by cell, for scripts and agents."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import plain, print_json, print_note, table

if TYPE_CHECKING:
    from nbformat import NotebookNode

_CELL_TYPE = click.Choice(["code", "markdown", "raw"])


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The notebook that a subcommand changes.

    Attributes:
        path: Its file.
        writes: Whether a change is written; not with `--dry-run`.
    """

    path: str
    writes: bool

    def read(self) -> NotebookNode:
        """Read it, and say what reading changed."""
        from host_bridge.executor import NotebookExecutor

        notebook = NotebookExecutor().read_notebook(self.path)
        from host_bridge.executor.origin import origin_of

        for change in origin_of(notebook).changes:
            print_note(f"note: {plain(self.path)}: {change}")
        return notebook

    def write(self, notebook: NotebookNode) -> None:
        """Write it back, unless it changed on disk meanwhile."""
        from host_bridge.executor import NotebookExecutor

        if self.writes:
            NotebookExecutor().write_notebook(notebook, self.path)

    def finish(self, notebook: NotebookNode, as_json: bool, text: str, **facts: Any) -> None:
        """Write it back and say what was done."""
        self.write(notebook)
        if as_json:
            print_json({"notebook": self.path, "written": self.writes, **facts})
        else:
            click.echo(plain(text) + ("" if self.writes else " (not written)"))


@click.group("edit")
@click.argument("notebook", type=FILE)
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.pass_context
def edit_command(context: click.Context, notebook: str, dry_run: bool) -> None:
    """Change NOTEBOOK cell by cell. Cells are named by their ids, which `cells` lists.

    The notebook is checked and replaced in one step; a change that somebody else made meanwhile is not overwritten. A cell
    whose source changes loses its outputs.

    \b
    hermes-runtime edit report.ipynb cells
    hermes-runtime edit report.ipynb set-parameter threshold 0.8
    """
    context.obj = Target(notebook, not dry_run)


@edit_command.command("cells")
@json_option
@debug_option
@click.pass_obj
def cells_command(target: Target, as_json: bool) -> None:
    """List the cells with their ids, types and first lines."""
    notebook = target.read()
    if as_json:
        print_json(
            [
                {
                    "index": index,
                    "id": cell.id,
                    "type": cell.cell_type,
                    "tags": list(cell.metadata.get("tags", [])),
                    "source": cell.source,
                }
                for index, cell in enumerate(notebook.cells)
            ]
        )
        return
    rows = []
    for cell in notebook.cells:
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        rows.append((cell.id, cell.cell_type, ",".join(map(str, cell.metadata.get("tags", []))), first[:80]))
    click.echo(table(rows) or "no cells")


@edit_command.command("set-parameter")
@click.argument("name")
@click.argument("value")
@json_option
@debug_option
@click.pass_obj
def set_parameter_command(target: Target, name: str, value: str, as_json: bool) -> None:
    """Set the default of the parameter NAME. VALUE is read as the type that the notebook declares.

    For a value that begins with a dash, put `--` before NAME.
    """
    notebook = target.read()
    from host_bridge.executor.editing import set_parameter_from_text

    written = set_parameter_from_text(notebook, name, value)
    target.finish(notebook, as_json, f"{name} = {written}", name=name, source=written)


@edit_command.command("replace")
@click.argument("cell_id", metavar="ID")
@click.option("--source", required=True, type=FILE, metavar="FILE", help="The new source; - for standard input.")
@click.option("--type", "cell_type", type=_CELL_TYPE, help="Another type for the cell.")
@json_option
@debug_option
@click.pass_obj
def replace_command(target: Target, cell_id: str, source: str, cell_type: str | None, as_json: bool) -> None:
    """Replace the source of the cell ID."""
    notebook = target.read()
    from host_bridge.executor.editing import replace_cell

    index = replace_cell(notebook, cell_id, _read_source(source), cell_type=cell_type)
    target.finish(notebook, as_json, f"replaced cell {cell_id}", id=cell_id, index=index)


@edit_command.command("insert")
@click.option("--source", required=True, type=FILE, metavar="FILE", help="The cell's source; - for standard input.")
@click.option("--after", metavar="ID", help="The cell to insert it behind.")
@click.option("--before", metavar="ID", help="The cell to insert it in front of.")
@click.option("--type", "cell_type", type=_CELL_TYPE, default="code", show_default=True, help="The cell's type.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag for the cell, such as parameters.")
@click.option("--id", "cell_id", metavar="ID", help="The new cell's id; by default one made from its source.")
@json_option
@debug_option
@click.pass_obj
def insert_command(
    target: Target,
    source: str,
    after: str | None,
    before: str | None,
    cell_type: str,
    tags: tuple[str, ...],
    cell_id: str | None,
    as_json: bool,
) -> None:
    """Insert a cell, at the end unless --after or --before says where. Prints its id."""
    if after is not None and before is not None:
        raise click.UsageError("--after and --before exclude each other")
    notebook = target.read()
    from host_bridge.executor.editing import find_cell, insert_cell

    made = insert_cell(
        notebook, _read_source(source), after=after, before=before, cell_type=cell_type, tags=tags, cell_id=cell_id
    )
    target.finish(notebook, as_json, f"inserted cell {made}", id=made, index=find_cell(notebook, made))


@edit_command.command("delete")
@click.argument("cell_id", metavar="ID")
@json_option
@debug_option
@click.pass_obj
def delete_command(target: Target, cell_id: str, as_json: bool) -> None:
    """Delete the cell ID."""
    notebook = target.read()
    from host_bridge.executor.editing import delete_cell

    deleted = delete_cell(notebook, cell_id)
    target.finish(notebook, as_json, f"deleted cell {cell_id}", id=cell_id, source=deleted.source)


def _read_source(path: str) -> str:
    """A text file ends with a newline, a cell doesn't."""
    if path == "-":
        text = sys.stdin.read()
    else:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    return text.removesuffix("\n")
