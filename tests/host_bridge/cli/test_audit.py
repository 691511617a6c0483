"""`hermes-runtime audit show`: where a rule asked, who or what answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host_bridge.audit.log import AuditLog
from host_bridge.audit.records import CallDecided, CallSettled, QuestionAnswered
from host_bridge.cli import main


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Two calls that one answer was for, one that nobody could be asked about, one that no rule asked about."""
    path = tmp_path / "s1.jsonl"
    written = AuditLog.open(path)
    written.append(QuestionAnswered(question_id="q1", answer="no", by="somebody \x1b[2J"))
    written.append(QuestionAnswered(question_id="q1", answer="run", by="ann", calls=2))
    for number, (effect, answer, question) in enumerate(
        [("allow", "run", "q1"), ("allow", "run", "q1"), ("deny", "nobody", ""), ("allow", "", "")]
    ):
        call_id = f"s1-{number}"
        written.append(
            CallDecided(
                call_id=call_id,
                session_id="s1",
                principal="default",
                tool="terminal",
                effect=effect,
                rule_id="user:rules.ask[0]",
                arguments={"command": f"echo {number}"},
                answer=answer,
                question_id=question,
            )
        )
        if effect == "allow":
            written.append(CallSettled(call_id=call_id, outcome="ok"))
    written.close()
    return str(path)


def test_each_call_is_shown_with_the_answer_it_was_decided_by(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", log]) == 0

    shown = [line.split("[user:rules.ask[0]]")[1].split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == [", answer run by ann", ", answer run by ann", ", answer nobody", ""]


def test_programs_get_the_answers_record_once_and_before_its_calls(
    log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "show", log, "--tool", "terminal", "--json"]) == 0

    records = json.loads(capsys.readouterr().out)
    assert [record["type"] for record in records] == [
        "question_answered",
        *["call_decided", "call_settled"] * 2,
        "call_decided",
        *["call_decided", "call_settled"],
    ]
    assert (records[0]["fields"]["answer"], records[0]["fields"]["by"]) == ("run", "ann")
    assert [record["fields"]["answer"] for record in records if record["type"] == "call_decided"] == [
        "run",
        "run",
        "nobody",
        "",
    ]
