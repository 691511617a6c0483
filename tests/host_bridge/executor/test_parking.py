"""What a question keeps of its run, and that every option of a run is thought of."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from inboxes import asked

from host_bridge.control import Asked
from host_bridge.errors import QuestionError
from host_bridge.executor import parking
from host_bridge.executor.executor import RunOptions
from host_bridge.executor.parking import check_resumable, facts_of, open_questions
from host_bridge.executor.stopping import StopRequest
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.owner import this_process
from host_bridge.inbox.question import RunFacts
from host_bridge.provisioning.notebook import source_digest
from host_bridge.provisioning.options import HostTool, Prompter

OF_THE_PROCESS = {
    "prepare_only",  # asks nothing
    "replay",  # asks nothing: calls are answered from a tape
    "on_miss",
    "fault",  # of a replay
    "plan",  # an obstacle, as is
    "apply",
    "resume",  # of the run that is taken up, not of the one it had taken up
    "on_unknown",
    "grant",
    "park",
    "principal",  # the question has it
    "limits",
    "prompter",
    "on_waiting",
    "on_call",
    "tools",  # an obstacle
    "progress",
    "log_output",
    "stdout_file",
    "stderr_file",
    "handle_signals",
}


def facts(options: RunOptions | None = None, **changes: Any) -> RunFacts:
    given = {"parameters": {}, "secrets": {}, **changes}
    return facts_of("r1", ("in.ipynb", "out.ipynb"), 60.0, options or RunOptions(), **given)


def test_every_option_of_a_run_is_kept_or_the_processs_own_business() -> None:
    kept = {*parking.KEPT_OPTIONS, *parking.KEPT_PATHS, "cwd", "policy_files"}

    assert kept | OF_THE_PROCESS == {field.name for field in dataclasses.fields(RunOptions)}
    assert not kept & OF_THE_PROCESS
    assert facts(RunOptions(workspace="w", audit_path="a", tape="t")).options.keys() == kept


def test_what_is_kept_can_be_written_down_and_means_the_same_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = RunOptions(workspace="w", policy_files=(Path("p.toml"),), budgets={"calls": 3.0}, cell_timeout=5)

    kept = msgspec.json.decode(msgspec.json.encode(facts(options)), type=RunFacts)

    assert (kept.input_path, kept.output_path) == (f"{tmp_path}/in.ipynb", f"{tmp_path}/out.ipynb")
    assert kept.options["cwd"] == str(tmp_path)
    assert kept.options["policy_files"] == [f"{tmp_path}/p.toml"]
    assert (kept.options["budgets"], kept.options["cell_timeout"], kept.timeout) == ({"calls": 3.0}, 5, 60.0)
    assert RunOptions(**kept.options).workspace == f"{tmp_path}/w"


def test_secrets_and_values_that_would_come_back_as_others_are_only_named() -> None:
    parameters = {
        "days": 7,
        "rows": [{"a": 1.5}],
        "when": datetime.date(2026, 1, 2),
        "pair": (1, 2),
        "some": {1, 2},
        "by_number": {1: 2},
    }

    kept = facts(parameters=parameters, secrets={"token": "open-sesame"})

    assert kept.parameters == {"days": 7, "rows": [{"a": 1.5}]}
    assert kept.missing == ("by_number", "pair", "some", "token", "when")
    assert b"open-sesame" not in msgspec.json.encode(kept)


def test_parameters_too_large_to_keep_have_to_be_given_again() -> None:
    kept = facts(parameters={"text": "x" * 1_000_000, "days": 7})

    assert (kept.parameters, kept.missing) == ({}, ("days", "text"))


@pytest.mark.parametrize(
    ("change", "options", "given", "told"),
    [
        ({}, RunOptions(tools=(HostTool("add", lambda arguments, over: 1),)), (), "provided tools (add)"),
        ({}, RunOptions(plan="p.json"), (), "made or applied a plan"),
        ({}, RunOptions(apply="p.json"), (), "made or applied a plan"),
        ({"secrets": {"token": "x"}}, RunOptions(), (), "not written down: token"),
        ({"secrets": {"token": "x"}}, RunOptions(), ("token",), ""),
        ({}, RunOptions(), (), ""),
    ],
)
def test_a_run_can_be_taken_up_when_all_it_needs_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    options: RunOptions,
    given: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
    Path("in.ipynb").write_text(json.dumps(document))
    question = Inbox(tmp_path / "approvals").ask(
        asked(notebook_digest=source_digest(document)), this_process(), seconds=60, run=facts(options, **change)
    )

    if not told:
        assert check_resumable(question, given).run_id == "r1"
        return
    with pytest.raises(QuestionError) as error:
        check_resumable(question, given)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("headless", "park", "attended", "asks", "seconds"),
    [
        ("deny", None, False, "nobody", None),
        ("deny", True, False, "the inbox", 600.0),
        ("deny", None, True, "both", None),
        ("deny", True, True, "both", 600.0),
        ("park", None, False, "the inbox", 600.0),
        ("park", False, False, "nobody", None),
        ("park", None, True, "both", None),
        ("park", False, True, "the person", None),
    ],
)
def test_who_is_asked_follows_from_who_is_there_and_what_is_configured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    headless: str,
    park: bool | None,
    attended: bool,
    asks: str,
    seconds: float | None,
) -> None:
    (tmp_path / "config.toml").write_text(f'[approvals]\nheadless = "{headless}"\npark_seconds = 600\n')
    monkeypatch.setenv("HERMES_RUNTIME_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    person: list[str] = []

    def prompter(question: Asked) -> str:
        person.append(question.question_id)
        return "once"

    given: Prompter | None = prompter if attended else None
    stop = StopRequest()
    questions = open_questions(RunOptions(park=park, prompter=given), facts(), (), stop)
    if questions.prompter is not None:
        questions.prompter(asked(timeout_seconds=0.4))
    questions.close("over")
    stop.close()

    kept = bool(Inbox().questions()) if os.path.exists(Inbox().folder) else False  # noqa: PTH110
    found = {(False, False): "nobody", (True, False): "the person", (False, True): "the inbox", (True, True): "both"}
    assert (found[bool(person), kept], questions.seconds) == (asks, seconds)


@pytest.mark.parametrize(
    ("number", "state"),
    [(signal.SIGTERM, "orphaned"), (signal.SIGHUP, "orphaned"), (signal.SIGINT, "withdrawn"), (None, "withdrawn")],
)
def test_what_restarts_a_service_leaves_a_parked_question_and_a_person_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, state: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    stop = StopRequest()
    told: list[str] = []
    questions = open_questions(RunOptions(park=True, on_waiting=told.append), facts(), (), stop)
    prompter = questions.prompter
    assert prompter is not None
    asking = threading.Thread(target=lambda: prompter(asked()))
    asking.start()
    while not told:  # said once it waits
        assert asking.is_alive()
    stop.request("cancelled", number)
    questions.close("the run has ended")
    asking.join(10)
    stop.close()

    [question] = Inbox().questions()
    assert Inbox().standing(question) == state
    assert ("the question stays" in told[-1]) == (state == "orphaned")
