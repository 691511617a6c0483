"""`approvals`: the questions that wait for a person, and answering them from anywhere."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from host_bridge.cli.approvals_shown import ANSWERS, row, standing
from host_bridge.cli.options import FILE, debug_option, json_option
from host_bridge.cli.output import print_json, print_note, table
from host_bridge.cli.run_parameters import Pairs

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from host_bridge.control import Answer
    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.question import Question

_YES = "yes"
_FETCH_SECONDS = 3.0  # whoever waits looks several times a second
_FETCH_POLL_SECONDS = 0.05


def _complete_id(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.views import about, is_open
    from host_bridge.policy.display import one_line

    inbox = Inbox()
    return [
        CompletionItem(question.id, help=one_line(about(question.asked)))
        for question in inbox.questions()
        if question.id.startswith(begun) and is_open(inbox, question)
    ]


_id_argument = click.argument("question_id", metavar="ID", shell_complete=_complete_id)
_given_options = (
    click.option(
        "-p",
        "--parameter",
        "typed",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="For a run taken up again: a parameter.",
    ),
    click.option(
        "--secret",
        "secrets",
        nargs=2,
        multiple=True,
        metavar="NAME VARIABLE",
        help="For a run taken up again: a secret parameter, which was not written down, from an environment variable.",
    ),
)


def _with_given(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_given_options):
        function = option(function)
    return function


@click.group("approvals")
def approvals_command() -> None:
    """See and answer the questions that wait for a person.

    A rule that says `ask` asks at the terminal of the run, and here at the same time. With `run --park`, or headless =
    "park" under [approvals] in the configuration, a run without a terminal waits here, and outlives its process.
    """


@approvals_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that are settled too.")
@json_option
@debug_option
def list_command(everything: bool, as_json: bool) -> None:
    """List the questions that wait, the oldest first."""
    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.views import as_data, is_open

    inbox = Inbox()
    found = [question for question in inbox.questions() if everything or is_open(inbox, question)]
    if as_json:
        print_json([as_data(inbox, question) for question in found])
    elif found:
        click.echo(table(row(inbox, question) for question in found))
    else:
        print_note("no questions" if everything else "no question waits; --all shows those that are settled")


@approvals_command.command("show")
@_id_argument
@json_option
@debug_option
def show_command(question_id: str, as_json: bool) -> None:
    """Show one question whole. ID may be any beginning of its id that no other has."""
    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.views import as_data
    from host_bridge.policy.question_text import describe

    inbox = Inbox()
    question = inbox.find(question_id)
    if as_json:
        print_json(as_data(inbox, question))
        return
    click.echo(describe(question.asked))
    click.echo(f"\n{standing(inbox, question)}")


@approvals_command.command("answer")
@_id_argument
@click.argument("answer", type=click.Choice((_YES, *ANSWERS)))
@click.option("--pattern", "rule", default="", metavar="RULE", help="With `run`: allow all calls that match this rule.")
@click.option("--calls", type=int, metavar="N", help="With --pattern: so many calls.  [default: 10]")
@click.option("--seconds", type=float, metavar="S", help="With --pattern: for so long.  [default: 600]")
@click.option("--siblings", is_flag=True, help="A yes is also for the other calls that the question shows.")
@click.option("--resume/--no-resume", default=True, help="Whether to take up the run of an orphaned question.")
@_with_given
@json_option
@debug_option
def answer_command(
    question_id: str,
    answer: str,
    rule: str,
    calls: int | None,
    seconds: float | None,
    siblings: bool,
    resume: bool,
    typed: Pairs,
    secrets: Pairs,
    as_json: bool,
) -> None:
    """Answer a question, once and for all.

    \b
    yes, once   this call
    run         this very call until the run ends; with --pattern, the calls it bounds
    notebook    this very call of this notebook, until its source changes
    always      a rule for it in your policy file
    no          not this call
    stop        no, and the run stops

    The process that asked goes on with the answer. If it is gone (the question is orphaned), a yes takes its run up again, and
    the exit code is that run's. Exits with 1 if the question is settled already.
    """
    from host_bridge.cli.approvals_again import given_names, run_again
    from host_bridge.executor.parking import check_resumable
    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.question import NOES
    from host_bridge.inbox.views import as_data

    inbox = Inbox()
    question = inbox.find(question_id)
    said = _said(question, answer, rule, calls, seconds, siblings)
    runs_again = resume and said.answer not in NOES and inbox.is_orphaned(question)
    if runs_again:  # say what is missing before the answer is used up
        check_resumable(question, given_names(typed, secrets))
    question = inbox.answer(question.id, said)
    if runs_again:
        run_again(inbox, question, typed, secrets, as_json)
        return
    question = _wait_until_fetched(inbox, question)
    if as_json:
        print_json(as_data(inbox, question))
    else:
        click.echo(standing(inbox, question))


@approvals_command.command("resume")
@_id_argument
@_with_given
@json_option
@debug_option
def resume_command(
    question_id: str,
    typed: Pairs,
    secrets: Pairs,
    as_json: bool,
) -> None:
    """Take up the run of an orphaned question, with the yes it was given.

    Cells run again from the first; calls that were made are answered from the run's tape. The yes is for the one call it was
    given for, once; what else a rule asks about is asked. Prints what `run` prints, and has its exit codes.
    """
    from host_bridge.cli.approvals_again import run_again
    from host_bridge.inbox.folder import Inbox

    inbox = Inbox()
    run_again(inbox, inbox.find(question_id), typed, secrets, as_json)


@approvals_command.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="By default any that is free.")
@click.option("--socket", "socket_path", default="", type=FILE, metavar="PATH", help="A private Unix socket instead.")
@click.option(
    "--token-file",
    default="",
    type=FILE,
    metavar="FILE",
    help="Take the token from this file (0600), which is made if it is missing. By default a new one is printed.",
)
@json_option
@debug_option
def serve_command(host: str, port: int, socket_path: str, token_file: str, as_json: bool) -> None:
    """Serve the questions over HTTP, on this machine only, until Ctrl-C or TERM.

    Prints the address with its token, once: whoever has it can answer. docs/approvals.md describes the requests.
    """
    from pathlib import Path

    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.serving import new_token, read_token, serve

    token = read_token(Path(token_file)) if token_file else new_token()

    def ready(address: str) -> None:
        told = "" if token_file else token
        if as_json:
            print_json({"address": address, "token": told, "token_file": token_file})
        elif token_file:
            click.echo(f"{address}/api/questions  (the token is in {token_file})")
        elif socket_path:
            click.echo(f"curl --unix-socket {shlex.quote(socket_path)} 'http://localhost/api/questions?token={token}'")
        else:
            click.echo(f"{address}/api/questions?token={token}")
        sys.stdout.flush()

    serve(Inbox(), host=host, port=port, socket_path=socket_path, token=token, ready=ready)


def _said(question: Question, word: str, rule: str, calls: int | None, seconds: float | None, siblings: bool) -> Answer:
    from host_bridge.control import Answer, Pattern
    from host_bridge.inbox.views import user_name

    if not rule and (calls is not None or seconds is not None):
        raise click.UsageError("--calls and --seconds bound a --pattern; give one")
    pattern = None
    if rule:
        pattern = Pattern(
            rule=rule, calls=10 if calls is None else calls, seconds=600.0 if seconds is None else seconds
        )
    covers = tuple(sibling.digest for sibling in question.asked.siblings) if siblings else ()
    return Answer(
        answer="once" if word == _YES else word, pattern=pattern, covers=covers, by=f"{user_name()} (command line)"
    )


def _wait_until_fetched(inbox: Inbox, question: Question) -> Question:
    """Give whoever asked a moment to take the answer, so that what is said about it is so."""
    deadline = time.monotonic() + _FETCH_SECONDS
    while time.monotonic() < deadline:
        if question.outcome is None or question.outcome.taken_at is not None or inbox.is_orphaned(question):
            break
        time.sleep(_FETCH_POLL_SECONDS)
        question = inbox.get(question.id)
    return question
