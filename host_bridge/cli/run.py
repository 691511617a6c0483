"""`run`: execute a notebook and say truthfully what came of it."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import (
    FILE,
    FOLDER,
    SECONDS,
    allow_option,
    cell_timeout_option,
    debug_option,
    json_option,
    policies_option,
)
from host_bridge.cli.output import counted, indented, plain, print_json, short, table
from host_bridge.cli.progress import Progress, choose, waiting_notes
from host_bridge.cli.prompter import TerminalQuestions, is_attended
from host_bridge.cli.rules import rules_text
from host_bridge.cli.run_parameters import gather, parameter_options, show_parameters
from host_bridge.signals import exit_code as signal_exit_code

if TYPE_CHECKING:
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.parameters import Parameter

EXIT_CODES = {
    "succeeded": ExitCode.SUCCESS,
    "not_run": ExitCode.SUCCESS,  # --prepare-only
    "failed": ExitCode.FAILED,
    "denied": ExitCode.DENIED,
    "timed_out": ExitCode.TIMED_OUT,
    "kernel_died": ExitCode.KERNEL_DIED,
    "cancelled": ExitCode.CANCELLED,
}
"""Each state a run can end in (`host_bridge.executor.states.State`) has its exit code."""

UNCONFINED = (
    "warning: the kernel was not confined: its cells could do whatever you can, past the policy and the audit log"
)

_SHOWN_SOURCE_LINES = 12


@click.command("run")
@click.argument("notebook", type=FILE)
@click.argument("output", type=FILE, required=False)
@parameter_options
@click.option(
    "--timeout",
    type=SECONDS,
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="For the whole run; 0 for no limit.",
)
@cell_timeout_option
@click.option(
    "--start-timeout",
    type=SECONDS,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="For the kernel to be ready.",
)
@click.option("-k", "--kernel", metavar="NAME", help="The kernel to use instead of the notebook's.")
@click.option(
    "--cwd",
    type=FOLDER,
    metavar="DIR",
    help="Where the kernel runs; the workspace too, unless that is given.",
)
@click.option("--workspace", type=FOLDER, metavar="DIR", help="The folder that tool calls work in.")
@click.option("--profile", default="", metavar="NAME", help="The policy to start from: read-only, workspace or full.")
@policies_option
@allow_option
@click.option("--deny", multiple=True, metavar="RULE", help="A rule to add that takes away.")
@click.option("--agent", default="", metavar="NAME", help="Whom the run acts for.")
@click.option(
    "--ask/--no-ask",
    "ask",
    default=None,
    help="Whether a rule that says `ask` asks you; by default if this is a terminal.",
)
@click.option(
    "--park/--no-park",
    "park",
    default=None,
    help="Whether an `ask` that nobody hears waits for `approvals answer`; by default as configured.",
)
@click.option(
    "--budget",
    "budgets",
    nargs=2,
    type=(str, float),
    multiple=True,
    metavar="NAME LIMIT",
    help="A limit: calls, calls.TOOL, concurrent_calls, pending_asks, bytes, bytes_in, bytes_out, seconds, wall_seconds.",
)
@click.option("--audit", "audit_path", default="", type=FILE, metavar="FILE", help="The audit log to write.")
@click.option(
    "--tape", default="", type=FILE, metavar="FILE", help="The tape to write; by default beside OUTPUT, as out.tape."
)
@click.option("--no-tape", is_flag=True, help="Write none.")
@click.option(
    "--replay", default="", type=FILE, metavar="TAPE", help="Answer all tool calls from a tape; no tool is used."
)
@click.option(
    "--on-miss",
    type=click.Choice(["error", "live"]),
    default=None,
    help="What a replay does with a call that isn't on the tape.",
)
@click.option("--resume", default="", metavar="RUN", help="Go on with a run: its id, its output notebook or its tape.")
@click.option(
    "--on-unknown",
    type=click.Choice(["ask", "skip", "redo", "fail"]),
    help="What a resumed run does with a call that may have been made; by default ask, or fail where nobody is there.",
)
@click.option(
    "--plan",
    default="",
    type=FILE,
    metavar="FILE",
    help="Try the run and write what it would do; OUTPUT can be left out.",
)
@click.option("--apply", default="", type=FILE, metavar="FILE", help="Do what a plan says, or nothing.")
@click.option("--prepare-only", is_flag=True, help="Write the notebook with its parameters; run nothing.")
@click.option("--report-mode", is_flag=True, help="Hide the code in the output notebook.")
@click.option("--allow-errors", is_flag=True, help="Go on after a cell that failed; the run has failed all the same.")
@click.option("--log-output", is_flag=True, help="Show what cells print, on standard error.")
@click.option("--stdout-file", type=click.File("w"), metavar="FILE", help="Write what cells print to a file.")
@click.option("--stderr-file", type=click.File("w"), metavar="FILE", help="The same for their standard error.")
@click.option("--progress/--no-progress", default=True, help="Whether to show how the run gets on.")
@click.option("--help-notebook", is_flag=True, help="Show the notebook's parameters; run nothing.")
@json_option
@debug_option
def run_command(
    notebook: str,
    output: str | None,
    given: dict[str, Any],
    help_notebook: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Execute NOTEBOOK and write it, with its outputs, to OUTPUT.

    Prints a summary, or with --json the result. Progress goes to standard error. Both paths may be remote, as papermill
    understands them.

    Exit codes: 0 success, 1 a cell failed, 2 bad usage or input (nothing ran), 3 denied, 4 timed out, 5 the kernel died, 6
    the runtime can't work here, 130 cancelled. `hermes-runtime --help` has them all.
    """
    from host_bridge.executor import NotebookExecutor

    _check_way(choices)
    executor = NotebookExecutor()
    declared = _declared(executor, notebook)
    if help_notebook:
        show_parameters(declared, as_json)
        return
    if output is None and not choices["plan"]:
        raise click.UsageError("Missing argument 'OUTPUT'.")
    if output == "-" and as_json:
        raise click.UsageError("--json and the output '-' both want standard output; choose one")
    parameters = gather(declared, **given)
    if choices["kernel"]:
        from host_bridge.executor.choice import check_installed

        check_installed(choices["kernel"])  # before anybody is asked about anything
    choices["accepted_digest"] = _reviewed(notebook, choices)
    result = _execute(executor, notebook, output, parameters, choices)
    if as_json:
        print_json(result)
    else:
        click.echo(summary(result), err=output == "-")
    if (code := exit_code(result)) != ExitCode.SUCCESS:
        raise Exit(code)


def exit_code(result: Mapping[str, Any]) -> int:
    """Give the exit code of a result."""
    if result["state"] == "cancelled":
        return signal_exit_code(result["signal"])
    return EXIT_CODES[result["state"]]


def summary(result: Mapping[str, Any]) -> str:
    """Tell a person what came of a run."""
    lines = [_headline(result)]
    if result["scraps"]:
        lines.append(indented(table((name, short(value)) for name, value in result["scraps"].items())))
    told = ""
    if result["failed_cell"]:
        lines.append(_failed_cell(result["failed_cell"]))
    elif result["error"]:
        told = result["error"]
        lines.append(indented(plain(told)))
    if result["state"] != "not_run" and result["confinement"] == "none":
        lines.append(UNCONFINED)
    lines += [f"note: {plain(warning)}" for warning in result["warnings"] if warning != told]
    if result["plan"]:
        effects = result["plan"]["effects"]
        lines += [f"would have {counted(len(effects), 'effect')}", *(indented(plain(effect)) for effect in effects)]
        lines += [f"not known: {plain(text)}" for text in result["plan"]["unseen"]]
        lines.append(f"plan {plain(result['plan']['file'])} {result['plan']['hash'][:16]}")
    if result["output_path"] not in (None, "-"):
        outcome = "saved" if result["saved"] else "NOT SAVED; this run's end is not in"
        lines.append(f"{outcome} {plain(result['output_path'])}")
    return "\n".join(lines)


def _headline(result: Mapping[str, Any]) -> str:
    if result["state"] == "not_run":
        return "prepared, not run"
    calls = result["tool_calls"]
    outcomes = [f"{count} {name}" for name, count in calls["by_outcome"].items() if name != "ok"]
    others = f" ({', '.join(outcomes)})" if outcomes else ""
    counts = f"{counted(result['cells_executed'], 'cell')}, {counted(calls['total'], 'tool call')}{others}"
    return f"{result['state'].replace('_', ' ')} in {result['duration_seconds']:.1f} s: {counts}"


def _failed_cell(failed: Mapping[str, Any]) -> str:
    source = failed["source"].splitlines()
    shown = source[:_SHOWN_SOURCE_LINES] + (["…"] if len(source) > _SHOWN_SOURCE_LINES else [])
    code = "\n".join(f"  | {line}" for line in plain("\n".join(shown)).split("\n"))
    return f"cell {failed['index']}:\n{code}\n{indented(plain(failed['ename'] + ': ' + failed['evalue']))}"


def _declared(executor: NotebookExecutor, notebook: str) -> dict[str, Parameter]:
    if notebook == "-":
        return {}  # it can be read only once; the executor checks what it then finds
    return executor.inspect_parameters(executor.read_notebook(notebook) if "://" in notebook else notebook)


def _reviewed(notebook: str, choices: Mapping[str, Any]) -> str:
    """Have whoever sits at the terminal look at what the notebook declares; give the source they accepted."""
    if choices["prepare_only"] or not (is_attended() if choices["ask"] is None else choices["ask"]):
        return ""
    from host_bridge.cli.review import review

    return review(notebook, choices)


def _execute(
    executor: NotebookExecutor, notebook: str, output: str | None, parameters: dict[str, Any], choices: dict[str, Any]
) -> dict[str, Any]:
    if choices["log_output"]:
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    progress = choose(choices.pop("progress") and not choices["log_output"])
    timeout = choices.pop("timeout") or None
    try:
        with _output_path(output) as path:
            result = executor.execute(notebook, path, parameters, timeout, **_run_options(choices, progress))
            return {**result, "output_path": output}
    finally:
        progress.close()


@contextlib.contextmanager
def _output_path(output: str | None) -> Iterator[str | None]:
    """Give the path to write to. A notebook is saved many times while it runs, and standard output wants it once."""
    if output != "-":
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        path = Path(folder, "output.ipynb")
        yield str(path)
        click.echo(path.read_text(encoding="utf-8"), nl=False)


def _check_way(choices: Mapping[str, Any]) -> None:
    """Refuse what would not be done as it is said."""
    if sum(bool(choices[way]) for way in ("replay", "resume", "plan", "apply")) > 1:
        raise click.UsageError("--replay, --resume, --plan and --apply are four ways to run; choose one")
    for option, name, way in (("on_miss", "--on-miss", "replay"), ("on_unknown", "--on-unknown", "resume")):
        if choices[option] and not choices[way]:
            raise click.UsageError(f"{name} says how to {way}; give --{way} too, or leave it out")


def _run_options(choices: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Give the options of `NotebookExecutor.execute` (`RunOptions`)."""
    ask = choices.pop("ask")
    attended = is_attended() if ask is None else ask
    return {
        "record_tape": not choices.pop("no_tape"),
        "on_miss": choices.pop("on_miss") or "error",
        "on_unknown": choices.pop("on_unknown") or ("ask" if attended else "fail"),
        "kernel_name": choices.pop("kernel"),
        "principal": choices.pop("agent"),
        "policy_files": choices.pop("policies"),
        "policy_rules": rules_text(allow=choices.pop("allow"), deny=choices.pop("deny")),
        "budgets": dict(choices.pop("budgets")),
        "prompter": TerminalQuestions(progress.paused) if attended else None,
        "on_waiting": waiting_notes(progress),
        "progress": progress,
        **choices,
    }
