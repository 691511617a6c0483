"""`hermes-runtime approvals`, in this process: what it says, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from inboxes import asked, no

from host_bridge.cli import main
from host_bridge.cli.approvals_shown import ANSWERS
from host_bridge.control import ANSWERS as ALL_ANSWERS
from host_bridge.control import Sibling
from host_bridge.executor.parking import papermill_obstacle
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.owner import this_process
from host_bridge.inbox.question import Question, RunFacts
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.rundirs.processes import ProcessIdentity


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Inbox()


def ask(inbox: Inbox, **fields: object) -> Question:
    return inbox.ask(asked(**fields), this_process(), seconds=90, parked=True)


def ask_and_die(inbox: Inbox, run: RunFacts | None = None, **fields: object) -> Question:
    gone = msgspec.structs.replace(this_process(), process=ProcessIdentity(1, "1"))
    return inbox.ask(asked(**fields), gone, seconds=90, parked=True, run=run)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["approvals", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_where_nothing_waits_that_is_said(inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list") == (0, "", "no question waits; --all shows those that are settled\n")
    assert run(capsys, "list", "--all") == (0, "", "no questions\n")
    assert run(capsys, "list", "--json") == (0, "[]\n", "")
    assert not inbox.folder.exists()


def test_what_waits_is_listed_in_a_line_that_cannot_act_on_the_terminal(
    inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = ask(inbox, shown={"command": "echo \x1b[2J\nforged"}, notebook="/w/a\x1b.ipynb", principal="night\x07ly")
    settled = ask(inbox)
    inbox.answer(settled.id, no())

    code, out, _ = run(capsys, "list")
    everything = run(capsys, "list", "--all")[1]

    [line] = out.splitlines()
    assert code == 0
    assert line.isprintable()
    assert line.startswith(f"{waits.id}  pending  ")
    assert "terminal(echo \\u{1b}[2J" in line
    assert [line.split()[1] for line in everything.splitlines()] == ["pending", "answered"]


def test_a_question_is_shown_whole_and_harmless(inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    question = ask(inbox, shown={"command": "git push\x1b[2J"}, reason="\u202eevil")

    code, out, _ = run(capsys, "show", question.id[:6])
    data = json.loads(run(capsys, "show", question.id, "--json")[1])

    assert code == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert "  | git push\\u{1b}[2J" in out
    assert f"approvals answer {question.id} once|run|notebook|always|no|stop" in out
    assert (data["shown"], data["state"], data["digest"]) == ({"command": "git push\x1b[2J"}, "pending", "d" * 64)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("show", "ffff"), 2, "there is no question 'ffff'"),
        (("answer", "../../x", "yes"), 2, "there is no question"),
        (("answer", "{id}", "maybe"), 2, "'maybe' is not one of"),
        (("answer", "{id}", "yes", "--pattern", "terminal(git *)"), 2, "goes with `run`"),
        (("answer", "{id}", "run", "--calls", "3"), 2, "--calls and --seconds bound a --pattern"),
        (("answer", "{id}", "notebook"), 2, "comes from no notebook"),
        (("resume", "{id}"), 2, "doesn't say how its run was started"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    inbox: Inbox, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, told: str
) -> None:
    question = ask(inbox)

    got, out, err = run(capsys, *(argument.replace("{id}", question.id) for argument in arguments))

    assert (got, out) == (code, "")
    assert told in err.splitlines()[-1]
    assert inbox.standing(inbox.get(question.id)) == "pending"


def test_an_answer_says_all_it_can(
    inbox: Inbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host_bridge.cli.approvals._FETCH_SECONDS", 0.1)
    question = ask(inbox, siblings=(Sibling(digest="s" * 64, shown={}),))

    code, out, _ = run(
        capsys, "answer", question.id, "run", "--pattern", "terminal(git *)", "--calls", "3", "--siblings", "--json"
    )

    outcome = json.loads(out)["outcome"]
    assert code == 0
    assert (outcome["answer"], outcome["covers"]) == ("run", ["s" * 64])
    assert outcome["pattern"] == {"rule": "terminal(git *)", "calls": 3, "seconds": 600.0}
    assert outcome["by"].endswith("(command line)")
    again = run(capsys, "answer", question.id, "no", "--json")
    assert (again[0], json.loads(again[1])["error"]["type"]) == (1, "QuestionSettledError")


def test_a_question_nobody_waits_for_can_be_answered_without_a_run(
    inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    question, other = ask_and_die(inbox), ask_and_die(inbox)

    code, out, _ = run(capsys, "answer", question.id, "yes", "--no-resume")
    refused = run(capsys, "answer", other.id, "no")

    assert code == 0
    assert f"hermes-runtime approvals resume {question.id}" in out
    assert refused[0] == 0
    assert [line.split()[0] for line in run(capsys, "list")[1].splitlines()] == [question.id], "the yes is still of use"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"obstacle": "its notebook came from standard input"}, "came from standard input"),
        ({"missing": ("token",)}, "not written down: token"),
        ({"input_path": "/nowhere/in.ipynb"}, "/nowhere/in.ipynb"),
        ({}, "its source has changed"),
    ],
)
def test_a_run_that_cannot_be_made_again_says_so_before_the_answer_is_used_up(
    inbox: Inbox, capsys: pytest.CaptureFixture[str], tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    notebook = tmp_path / "in.ipynb"
    notebook.write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}')
    facts = msgspec.structs.replace(RunFacts(run_id="r", input_path=str(notebook)), **changes)
    question = ask_and_die(inbox, facts, notebook_digest="n" * 64)

    code, out, err = run(capsys, "answer", question.id, "yes")

    assert (code, out) == (2, "")
    assert told in err
    assert inbox.standing(inbox.get(question.id)) == "orphaned"


def test_a_run_that_no_answer_can_take_up_is_shown_with_the_way_there_is(
    inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = LaunchOptions(notebook="/my work/in.ipynb", run_id="abcd1234")
    facts = RunFacts(run_id="abcd1234", input_path=launch.notebook, obstacle=papermill_obstacle(launch))
    question = ask_and_die(inbox, facts)

    shown = run(capsys, "show", question.id)[1]
    refused = run(capsys, "answer", question.id, "yes")[2]

    for text in (shown, refused):
        assert "papermill ran it" in text
        assert "hermes-runtime run '/my work/in.ipynb' OUTPUT --resume abcd1234" in text
    assert "takes its run up again" not in shown
    run(capsys, "answer", question.id, "yes", "--no-resume")
    assert json.loads(run(capsys, "show", question.id, "--json")[1])["resume"] == ""


def test_a_shell_completes_the_ids_of_what_waits(
    inbox: Inbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, settled = ask(inbox), ask(inbox)
    inbox.answer(settled.id, no())
    monkeypatch.setenv("_HERMES_RUNTIME_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "hermes-runtime approvals answer ")
    monkeypatch.setenv("COMP_CWORD", "3")

    main([])

    assert capsys.readouterr().out.split() == [f"plain,{waits.id}"]


def test_every_answer_there_is_can_be_given() -> None:
    assert set(ANSWERS) == ALL_ANSWERS
