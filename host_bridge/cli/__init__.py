"""The command line, `hermes-runtime`: thin edges over the rest of the host, one module per group of commands.

A command's module imports click and the standard library only; what it works with is imported when it runs. So `--help` and
completion stay quick, and `policy check` doesn't load Jupyter.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from host_bridge.cli.boundary import MEANINGS, run_command, show_version
from host_bridge.cli.options import debug_option
from host_bridge.errors import SandboxError

COMMANDS = {
    "run": "run",
    "runs": "runs",
    "undo": "runs",
    "faults": "faults",
    "inspect": "notebooks",
    "collect": "notebooks",
    "validate": "notebooks",
    "edit": "edit",
    "diff": "diffs",
    "patch": "diffs",
    "merge": "diffs",
    "strip": "repository",
    "init-repo": "repository",
    "propose": "proposals",
    "review": "proposals",
    "tools": "tools",
    "doctor": "doctor",
    "kernel": "kernel",
    "bridge": "bridge",
    "policy": "policy",
    "permissions": "permissions",
    "grants": "grants",
    "audit": "audit",
    "approvals": "approvals",
    "completion": "completion",
}
"""Each command's module, in the order of the help: what one does every day first."""


class CommandTable(click.Group):
    """Imports a command's module when the command is looked at, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command: the attribute `<name>_command` of its module, with `_` for `-`."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"host_bridge.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command


@click.command(
    "hermes-runtime",
    cls=CommandTable,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExit codes:\n" + "\n".join(f"{code.value:5}  {meaning}" for code, meaning in MEANINGS.items()),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version, help="Show the version."
)
@debug_option
def hermes_runtime() -> None:
    """Run notebooks whose cells call tools through a host that decides, runs and records every call.

    \b
    hermes-runtime run report.ipynb out.ipynb -p days 7    execute a notebook
    hermes-runtime doctor                                  see whether this machine can
    """
    if sys.platform == "win32":
        # Before a command imports what it works with, of which Windows lacks parts.
        from host_bridge.sandbox.probing import UNSUPPORTED

        raise SandboxError(UNSUPPORTED[sys.platform])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; None takes the process's own.

    Returns:
        The exit code, one of `boundary.ExitCode`.
    """
    return run_command(hermes_runtime, arguments)
