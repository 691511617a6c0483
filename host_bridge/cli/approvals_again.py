"""Taking a run up again, with the answer to a question that outlived its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.output import print_json, print_note
from host_bridge.cli.run_parameters import Pairs

if TYPE_CHECKING:
    from host_bridge.inbox.folder import Inbox
    from host_bridge.inbox.question import Question


def given_names(typed: Pairs, secrets: Pairs) -> set[str]:
    """Give the names of the parameters that were given."""
    return {name for name, _ in (*typed, *secrets)}


def run_again(
    inbox: Inbox,
    question: Question,
    typed: Pairs,
    secrets: Pairs,
    as_json: bool,
) -> None:
    """Run the notebook of an orphaned question with its answer, and say what came of it as `run` does.

    Raises:
        QuestionError: It can't be run again.
        Exit: The run did not succeed.
    """
    from host_bridge.cli.progress import choose, waiting_notes
    from host_bridge.cli.prompter import TerminalQuestions, is_attended
    from host_bridge.cli.run import exit_code, summary
    from host_bridge.cli.run_parameters import gather
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.parking import check_resumable, resume, tape_left_by

    facts = check_resumable(question, given_names(typed, secrets))
    declared = NotebookExecutor().inspect_parameters(facts.input_path)
    given = gather(declared, typed=typed, secrets=secrets)
    calls = "calls that were made are answered from its tape" if tape_left_by(facts) else "all calls are made again"
    print_note(f"taking up run {facts.run_id} of {facts.input_path}: its cells run again, and {calls}")
    progress = choose(True)
    try:
        result = resume(
            inbox,
            question,
            given,
            prompter=TerminalQuestions(progress.paused) if is_attended() else None,
            on_waiting=waiting_notes(progress),
            progress=progress,
        )
    finally:
        progress.close()
    outcome = inbox.get(question.id).outcome
    if outcome is not None and outcome.taken_at is None:
        print_note("the answer was not used: the run did not ask about that very call")
    if as_json:
        print_json(result)
    else:
        click.echo(summary(result))
    if (code := exit_code(result)) != ExitCode.SUCCESS:
        raise Exit(code)
