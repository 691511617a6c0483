"""Questions of a run that may outlive it: who is asked, what is kept of the run, and how it is run again with the answer."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from host_bridge.config import load_config
from host_bridge.control import Answer, Asked
from host_bridge.errors import QuestionError
from host_bridge.executor.clock import RunClock
from host_bridge.executor.reading import glance, is_remote, read_text
from host_bridge.executor.stopping import StopRequest
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.owner import this_process
from host_bridge.inbox.question import NOES, Question, RunFacts
from host_bridge.inbox.waiting import InboxPrompter
from host_bridge.provisioning.notebook import source_digest
from host_bridge.provisioning.options import LaunchOptions, ListeningPrompter, Prompter
from host_bridge.runs import index

if TYPE_CHECKING:
    from host_bridge.executor.executor import RunOptions

KEPT_OPTIONS = (
    "cell_timeout",
    "start_timeout",
    "grace_seconds",
    "kernel_name",
    "allow_unknown_parameters",
    "allow_errors",
    "report_mode",
    "profile",
    "policy_rules",
    "budgets",
    "accepted_digest",
    "record_tape",
)
"""The options that a run made again has from the one that asked, as they are."""
KEPT_PATHS = ("workspace", "audit_path", "tape")
"""The same, made absolute. `cwd` and `policy_files` are treated by themselves."""
MAX_FACTS_BYTES = 256 * 2**10
RESTARTS = (signal.SIGTERM, signal.SIGHUP)
"""What ends a process that is to be started again: the machine going down, a service that is restarted, a lost connection."""


@dataclasses.dataclass(frozen=True, slots=True)
class Questions:
    """How a run asks.

    Attributes:
        prompter: Asks; None where nobody can be asked.
        seconds: How long a question waits; None for as long as is configured.
        close: Takes back what is still asked.
    """

    prompter: Prompter | None = None
    seconds: float | None = None
    close: Callable[[str], None] = lambda reason: None

    def added_to(self, launch: LaunchOptions, clock: RunClock) -> LaunchOptions:
        """Give the options of a launch whose session asks so; its run's clock stands still meanwhile."""
        if self.prompter is None:
            return launch
        patient = PatientPrompter(self.prompter, clock)
        return dataclasses.replace(launch, prompter=patient, ask_timeout_seconds=self.seconds)


def open_questions(options: RunOptions, facts: RunFacts, secrets: Sequence[str], stop: StopRequest) -> Questions:
    """Give how a run asks: by its prompter, by the inbox, by both, or not at all.

    Raises:
        ConfigurationError: The configuration can't be used.
    """
    parks, seconds = options.park, None
    if parks or (parks is None and options.prompter is None):
        settings = load_config().approvals
        parks = settings.headless == "park" if parks is None else parks
        seconds = settings.park_seconds if parks else None
    if not parks and (options.prompter is None or options.park is False) and not options.grant:
        return Questions(options.prompter)
    inbox = InboxPrompter(
        Inbox(),
        beside=options.prompter,
        parked=bool(parks),
        run=facts,
        secrets=secrets,
        grant=options.grant,
        keeps=lambda: stop.signal_number in RESTARTS,
        tell=options.on_waiting or (lambda text: None),
    )
    return Questions(inbox, seconds, inbox.close)


def papermill_questions(launch: LaunchOptions, stop: StopRequest, tell: Callable[[str], None]) -> Questions:
    """Give how a run of papermill's asks: by the inbox, if runs without a terminal shall wait there.

    Raises:
        ConfigurationError: The configuration can't be used.
    """
    from host_bridge.executor.executor import RunOptions

    facts = RunFacts(run_id=launch.run_id, input_path=launch.notebook, obstacle=papermill_obstacle(launch))
    return open_questions(RunOptions(on_waiting=tell), facts, launch.secrets, stop)


def papermill_obstacle(launch: LaunchOptions) -> str:
    """Say why no answer takes a run of papermill's up again, and what does."""
    again = f"hermes-runtime run {shlex.quote(launch.notebook)} OUTPUT --resume {launch.run_id}"
    return (
        f"papermill ran it; go on with it by `{again}` and the same parameters, or start papermill again; it asks anew"
    )


class PatientPrompter:
    """Stops the run's clock while a person thinks. A `ListeningPrompter`."""

    def __init__(self, prompter: Prompter, clock: RunClock) -> None:
        self._prompter = prompter
        self._clock = clock
        self._pauses: dict[str, contextlib.ExitStack] = {}

    def __call__(self, asked: Asked) -> str | Answer:
        """Ask."""
        with contextlib.ExitStack() as pause:
            pause.enter_context(self._clock.paused())
            self._pauses[asked.question_id] = pause
            try:
                return self._prompter(asked)
            finally:
                self._pauses.pop(asked.question_id, None)

    def withdraw(self, question_id: str, reason: str) -> None:
        """Let the clock go on, and pass it on to a prompter that listens; one that doesn't may take as long as it likes."""
        if (pause := self._pauses.pop(question_id, None)) is not None:
            pause.close()
        if isinstance(self._prompter, ListeningPrompter):
            self._prompter.withdraw(question_id, reason)


def facts_of(
    run_id: str,
    paths: tuple[str, str | None],
    timeout: float | None,
    options: RunOptions,
    *,
    parameters: Mapping[str, Any],
    secrets: Mapping[str, Any],
) -> RunFacts:
    """Give what it takes to run a notebook again, without anything secret.

    Args:
        run_id: The run's.
        paths: The notebook's, and the output's.
        timeout: Of the whole run.
        options: How it is run.
        parameters: Those that may be written down.
        secrets: Those that may not; only their names are used.
    """
    input_path, output_path = paths
    plain = {name: value for name, value in parameters.items() if _survives(value)}
    kept: dict[str, Any] = {name: getattr(options, name) for name in KEPT_OPTIONS}
    kept |= {name: _absolute(path) for name in KEPT_PATHS if (path := getattr(options, name))}
    kept["cwd"] = _absolute(options.cwd or ".")
    kept["policy_files"] = [_absolute(path) for path in options.policy_files]
    kept["budgets"] = dict(options.budgets)
    facts = RunFacts(
        run_id=run_id,
        input_path=input_path if is_remote(input_path) else _absolute(input_path),
        output_path=output_path or "" if output_path is None or is_remote(output_path) else _absolute(output_path),
        timeout=timeout,
        parameters=plain,
        missing=tuple(sorted({*secrets, *(parameters.keys() - plain.keys())})),
        options=kept,
        obstacle=_obstacle(input_path, options),
    )
    if len(msgspec.json.encode(facts)) <= MAX_FACTS_BYTES:
        return facts
    return msgspec.structs.replace(facts, parameters={}, missing=tuple(sorted({*secrets, *parameters})))


def check_resumable(question: Question, given: Collection[str] = ()) -> RunFacts:
    """Give what a question keeps of its run, if the run can be made again.

    Args:
        question: Whose run.
        given: Names of the parameters that will be given.

    Raises:
        QuestionError: It can't be; the text says why.
    """
    facts = question.run
    if facts is None:
        raise QuestionError(f"question {question.id} doesn't say how its run was started; start that again yourself")
    if facts.obstacle:
        raise QuestionError(f"the run of question {question.id} can't be made again from here: {facts.obstacle}")
    if missing := sorted(set(facts.missing).difference(given)):
        raise QuestionError(
            f"the run of question {question.id} had parameters that were not written down: {', '.join(missing)}; give them "
            "again: --secret NAME VARIABLE, or -p NAME VALUE"
        )
    document = glance(read_text(facts.input_path))
    if document is None or source_digest(document) != question.asked.notebook_digest:
        raise QuestionError(
            f"{facts.input_path} is not the notebook any more that question {question.id} is about: its source has changed, "
            "so a yes to it is worth nothing; run it anew"
        )
    return facts


def resume(inbox: Inbox, question: Question, given: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Take a run up again, with the answer its orphaned question was given: from its tape, or from nothing.

    Args:
        inbox: Where the question lies.
        question: Orphaned, and answered with a yes.
        given: Parameters that were not kept, or that shall be others.
        **options: Of `RunOptions`: what is this process's business, such as `prompter` and `progress`.

    Returns:
        What `NotebookExecutor.execute` gives.

    Raises:
        QuestionError: It can't be run again, or with this answer.
    """
    from host_bridge.executor.executor import NotebookExecutor

    facts = check_resumable(question, given)
    outcome = question.outcome
    if outcome is None or outcome.answer is None or outcome.answer.answer in NOES:
        raise QuestionError(f"question {question.id} has no yes to run with; answer it first")
    inbox.adopt(question.id, this_process())
    known = (*KEPT_OPTIONS, *KEPT_PATHS, "cwd", "policy_files")
    kept = {name: value for name, value in facts.options.items() if name in known}
    # Whoever resumes a run is there for its further questions, or wants them to wait.
    parks = question.parked or options.get("prompter") is None or None
    return NotebookExecutor().execute(
        facts.input_path,
        facts.output_path or None,
        {**facts.parameters, **given},
        facts.timeout,
        **{
            **kept,
            "principal": question.asked.principal,
            "grant": question.id,
            "park": parks,
            "resume": tape_left_by(facts),
            "on_unknown": "ask",
            **options,
        },
    )


def tape_left_by(facts: RunFacts) -> str:
    """Name the run, as `RunOptions.resume` takes it, if it left a tape to go on from; else give nothing."""
    try:
        entry = index.find(facts.run_id)
    except index.RunsError:
        return ""
    return facts.run_id if entry.tape and Path(entry.tape).is_file() else ""


def _obstacle(input_path: str, options: RunOptions) -> str:
    if input_path == "-":
        return "its notebook came from standard input"
    if options.tools:
        return f"the program that ran it provided tools ({', '.join(tool.name for tool in options.tools)})"
    if (
        options.plan or options.apply
    ):  # made again as any other run, it would do what it only tried, or what no plan says
        return "it made or applied a plan; start it again"
    return ""


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)  # noqa: PTH100


def _survives(value: Any) -> bool:
    """Whether a parameter is the same after it was written down as JSON."""
    try:
        found = msgspec.json.decode(msgspec.json.encode(value))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return False
    return bool(found == value) and type(found) is type(value)
