"""Where exceptions become exit codes and one clear line: the command line's only `except`."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from host_bridge.cli.output import plain, print_json
from host_bridge.errors import (
    AuditError,
    CallError,
    ConfigurationError,
    DeclarationError,
    DeniedError,
    HostBridgeError,
    KernelChoiceError,
    KernelStartError,
    ProposalCancelledError,
    ProposalError,
    QuestionSettledError,
    SandboxError,
    SessionError,
)
from host_bridge.signals import EndedBySignal, signals_raise
from host_bridge.signals import exit_code as signal_exit_code

PROGRAM = "hermes-runtime"
COMPLETION_VARIABLE = "_HERMES_RUNTIME_COMPLETE"
"""Set by the completion scripts: what to complete stands in further variables."""


class ExitCode(enum.IntEnum):
    """What the process's exit says."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2  # click's own, and the shells'
    DENIED = 3
    TIMED_OUT = 4
    KERNEL_DIED = 5
    UNUSABLE = 6
    INTERNAL = 70  # sysexits.h: EX_SOFTWARE
    CANCELLED = 130  # 128 + SIGINT, what a shell reports for Ctrl-C
    BROKEN_PIPE = 141  # 128 + SIGPIPE: the reader of a pipe went away


MEANINGS = {
    ExitCode.SUCCESS: "success",
    ExitCode.FAILED: "a cell failed, or a check found something",
    ExitCode.USAGE: "bad usage or input; nothing ran",
    ExitCode.DENIED: "the policy denied a call, and the cell didn't handle it; or nobody accepted what the notebook declares",
    ExitCode.TIMED_OUT: "timed out",
    ExitCode.KERNEL_DIED: "the kernel died",
    ExitCode.UNUSABLE: "the runtime can't work here: `hermes-runtime doctor` says why",
    ExitCode.INTERNAL: "an internal error, a defect to report",
    ExitCode.CANCELLED: "cancelled by Ctrl-C, or by a person's answer `stop`; by another signal, 128 + its number",
    ExitCode.BROKEN_PIPE: "whoever read the output went away",
}
"""The codes for people: `--help` and the README have this table."""

# The first class that fits decides; everything else of the host's is bad input.
_CODES: tuple[tuple[type[HostBridgeError], ExitCode], ...] = (
    (DeniedError, ExitCode.DENIED),
    (DeclarationError, ExitCode.DENIED),
    (ConfigurationError, ExitCode.USAGE),
    (SessionError, ExitCode.UNUSABLE),
    (SandboxError, ExitCode.UNUSABLE),
    (AuditError, ExitCode.UNUSABLE),
    (KernelChoiceError, ExitCode.USAGE),
    (KernelStartError, ExitCode.UNUSABLE),
    (QuestionSettledError, ExitCode.FAILED),
    (CallError, ExitCode.FAILED),
    (ProposalCancelledError, ExitCode.CANCELLED),
    (ProposalError, ExitCode.FAILED),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Invocation:
    """How one start of the program was asked to speak.

    Attributes:
        json: Whether results and errors are JSON on standard output.
        debug: Whether an error shows its traceback.
    """

    json: bool
    debug: bool

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Invocation:
        """Read it off the arguments as they are: an error in the others must not get in the way of how it is told."""
        options = list(itertools.takewhile(lambda argument: argument != "--", arguments))
        return cls(json="--json" in options, debug="--debug" in options or bool(os.environ.get("HERMES_RUNTIME_DEBUG")))


class Exit(Exception):  # noqa: N818 - not an error: a command's chosen exit code
    """Ends the command with an exit code, its output being written already."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def exit_code(error: HostBridgeError) -> int:
    """Give an error's exit code."""
    if isinstance(error, ProposalCancelledError) and error.signal_number:
        return signal_exit_code(error.signal_number)
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.USAGE)


def run_command(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command; whatever happens is told in one line (or JSON) and an exit code."""
    _open_closed_streams()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(command, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    invocation = Invocation.of(arguments)
    _set_up_logging(invocation.debug)
    try:
        with signals_raise():
            code = _run(command, arguments, invocation)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_output()
        code = ExitCode.BROKEN_PIPE
    return int(code)


def _set_up_logging(debug: bool) -> None:
    """What the parts below log is said again by the errors they raise; the log is for who looks for a defect."""
    if debug:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    else:
        logging.getLogger("host_bridge").addHandler(logging.NullHandler())


def _run(command: click.Command, arguments: list[str], invocation: Invocation) -> int:
    try:
        # Not `command.main`, which ends the process itself when a pipe is closed, with the code of a failed cell.
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
    except Exit as error:
        return error.code
    except click.exceptions.Exit as error:  # --help, --version
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        _report(invocation, error, type(error).__name__, error.format_message(), _usage_hint(error))
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt) as error:
        _report(invocation, error, "Cancelled", f"cancelled: {error}" if str(error) else "cancelled")
        return ExitCode.CANCELLED
    except EndedBySignal as error:
        _report(invocation, error, "Cancelled", f"cancelled: {error.reason}")
        return signal_exit_code(error.signal_number)
    except HostBridgeError as error:
        _report(invocation, error, type(error).__name__, str(error), **_details(error))
        return exit_code(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        _report(invocation, error, type(error).__name__, _os_message(error))
        return ExitCode.USAGE
    except Exception as error:
        # A defect of ours: say so instead of blaming the input.
        text = f"internal error: {type(error).__name__}: {error}. Run it again with --debug for the traceback."
        _report(invocation, error, "InternalError", text)
        return ExitCode.INTERNAL
    return ExitCode.SUCCESS


def _report(
    invocation: Invocation, error: BaseException, kind: str, message: str, hint: str = "", **details: Any
) -> None:
    if invocation.debug:
        traceback.print_exception(error, file=sys.stderr)
    if invocation.json:
        print_json({"status": "error", "error": {"type": kind, "message": message, **details}})
    else:
        click.echo(f"{hint}{PROGRAM}: {plain(message)}", err=True)


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    return f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n"


def _details(error: HostBridgeError) -> dict[str, Any]:
    names = ("path", "key", "rule_id", "remedy", "cell_index", "step", "branch", "saved")
    return {name: value for name in names if (value := getattr(error, name, None))}


def _os_message(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def _open_closed_streams() -> None:
    """Give standard streams that somebody closed (`>&-`) somewhere to lead; the next file opened would take their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: the stream's own
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


def _silence_output() -> None:
    # The interpreter flushes standard output once more while it ends; give it somewhere to write.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Print the distribution's version, for `--version`."""
    if value:
        import importlib.metadata  # half of what --help would cost

        click.echo(f"{PROGRAM} {importlib.metadata.version(PROGRAM)}")
        context.exit()
