"""The magics: `%%terminal` runs a cell's body as a command, `%hermes` shows what this session is.

In the kernel `hermes` they are there from the start; elsewhere `%load_ext hermes_runtime._magics` loads them.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
# IPython's decorators for magics are not annotated.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from hermes_runtime import _commands, _tools
from hermes_runtime._errors import ToolTimeoutError

_TERMINAL_OPTIONS = ("--timeout", "--workdir", "--quiet", "--no-check", "--out")


@magics_class
class HermesMagics(Magics):
    """The magics of this package."""

    @magic_arguments()
    @argument(
        "--timeout",
        type=float,
        default=_commands.DEFAULT_SECONDS,
        metavar="SECONDS",
        help="How long the command may run before it is ended (%(default)g s if not given).",
    )
    @argument("--workdir", metavar="FOLDER", help="The folder to run in; the workspace if not given.")
    @argument("--quiet", action="store_true", help="Don't show what the command writes; take it with --out.")
    @argument("--no-check", action="store_true", help="Go on after a command that ends with another exit code than 0.")
    @argument("--out", metavar="NAME", help="A variable to assign the TerminalResult to, also when the command fails.")
    @cell_magic
    def terminal(self, line: str, cell: str) -> None:
        """Run the cell's body as a command line on the host.

        Its output appears while it runs, and interrupting the cell ends it. A command that fails fails the cell, so that a
        notebook doesn't go on as if it had worked. The body is passed on as it is: `{name}` and `$name` are the shell's
        business there (in the line of options, they stand for the notebook's variables).

        Example:
            %%terminal --timeout 20 --out result
            df -h /
        """
        __tracebackhide__ = True
        options = parse_argstring(self.terminal, line)
        command = cell.strip("\n")
        if not command.strip():
            raise UsageError("%%terminal: the body of the cell is the command, and there is none")
        if options.out is not None and not options.out.isidentifier():
            raise UsageError(f"%%terminal: --out takes the name of a variable, not {options.out!r}")
        result: Any = None
        try:
            result = _tools.terminal(
                command, timeout=options.timeout, workdir=options.workdir, stream=not options.quiet
            )
        except ToolTimeoutError as error:
            result = error.result
            raise
        finally:
            if options.out is not None and self.shell is not None:
                self.shell.user_ns[options.out] = result
        if not options.no_check:
            result.check()

    @line_magic
    def hermes(self, line: str) -> Any:
        """Show what this session is.

        %hermes status    for whom, under which policy, in which workspace
        %hermes tools     the tools the host has, with their parameters
        %hermes budget    what was used and what is left
        %hermes help      this
        """
        __tracebackhide__ = True
        words = line.split() or ["status"]
        if len(words) > 1 or words[0] not in _SUBCOMMANDS:
            raise UsageError(f"%hermes: no {line.strip()!r}; use one of {', '.join(_SUBCOMMANDS)}")
        return _SUBCOMMANDS[words[0]]()


def _help() -> None:
    print(
        "%hermes status   for whom, under which policy, in which workspace\n"
        "%hermes tools    the tools the host has, with their parameters\n"
        "%hermes budget   what was used and what is left\n"
        "%%terminal       run the cell's body as a command; %%terminal? explains its options\n"
        "help(hermes)     the tools as Python functions"
    )


_SUBCOMMANDS: dict[str, Callable[[], Any]] = {
    "status": lambda: _tools.status(),
    "tools": lambda: _tools.tools(),
    "budget": lambda: _tools.budget(),
    "help": _help,
}


def _complete_hermes(shell: InteractiveShell, event: Any) -> list[str]:
    return list(_SUBCOMMANDS) if len(event.line.split()) <= 1 + bool(event.symbol) else []


def _complete_terminal(shell: InteractiveShell, event: Any) -> list[str]:
    if "\n" in event.line or not (event.symbol.startswith("-") or event.line.endswith(" ")):
        return []
    given = event.line.split()
    return [option for option in _TERMINAL_OPTIONS if option not in given]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics and what completes their arguments."""
    shell.register_magics(HermesMagics)
    shell.set_hook("complete_command", _complete_hermes, str_key="%hermes")
    shell.set_hook("complete_command", _complete_terminal, str_key="%%terminal")
