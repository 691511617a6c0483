"""`completion`: the script a shell sources to complete commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from host_bridge.cli.boundary import COMPLETION_VARIABLE, PROGRAM
from host_bridge.cli.options import debug_option

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@debug_option
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash    eval "$(hermes-runtime completion bash)"       in ~/.bashrc
    zsh     eval "$(hermes-runtime completion zsh)"        in ~/.zshrc
    fish    hermes-runtime completion fish | source        in ~/.config/fish/config.fish
    """
    root = context.find_root().command
    click.echo(_SHELLS[shell](root, {}, PROGRAM, COMPLETION_VARIABLE).source())
