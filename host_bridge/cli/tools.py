"""`tools`: which tools a notebook can call, with their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from host_bridge.cli.options import debug_option, json_option
from host_bridge.cli.output import hanging, print_json

if TYPE_CHECKING:
    from hermes_protocol.messages import Parameter, ToolDescription


@click.command("tools")
@json_option
@debug_option
def tools_command(as_json: bool) -> None:
    """List the tools that notebooks can call, with their parameters.

    Being listed doesn't mean being allowed: the policy decides about each call.
    """
    import msgspec

    from host_bridge.tools.registry import load_tools

    descriptions = load_tools().descriptions()
    if as_json:
        print_json([{"signature": signature(one), **msgspec.to_builtins(one)} for one in descriptions])
        return
    for description in descriptions:
        click.echo(hanging("        ", signature(description)))
        click.echo(f"    {description.summary}")


def signature(description: ToolDescription) -> str:
    """Spell a tool as Python would: `read_file(path: str, limit: int | None = None)`."""
    return f"{description.name}({', '.join(_spelled(parameter) for parameter in description.parameters)})"


def _spelled(parameter: Parameter) -> str:
    default = "" if parameter.required else f" = {parameter.default}"
    return f"{parameter.name}: {parameter.type}{default}"
