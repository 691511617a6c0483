from __future__ import annotations

import re
from pathlib import Path

import pytest

from host_bridge.control import ANSWERS, Answer, Asked, Pattern, Sibling
from host_bridge.policy.choices import choices
from host_bridge.policy.question_text import describe

PAGE = (Path(__file__).parents[3] / "docs" / "asking.md").read_text()


def question() -> Asked:
    command = "git push origin release-7"
    return Asked(
        question_id="q",
        tool="terminal",
        shown={"command": command, "timeout": 180},
        targets=(f"run in /home/me/work: {command}",),
        rule_id="user:rules.ask[0]",
        reason=f"the command `{command}` needs a person's yes by the rule terminal(git push *) (user)",
        remedy='allow = ["terminal(git push *)"]',
        suggested="terminal(git push *)",
        principal="nightly",
        notebook="/home/me/work/release.ipynb",
        notebook_digest="d",
        cell_index=3,
        line=2,
        source_line='hermes.terminal(f"git push origin {branch}")',
        siblings=(Sibling(digest="s", shown={"command": "git push origin release-8", "timeout": 180}, waiting=2),),
    )


def test_the_question_on_the_page_is_the_one_at_the_terminal():
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1].rstrip("\n") == f"{describe(question())}\n{choices(question())}".rstrip(" ")


def test_every_answer_is_on_the_page():
    assert [answer for answer in ANSWERS if f"| `{answer}` |" not in PAGE] == []


@pytest.mark.parametrize(
    ("choice", "answer"),
    [
        ("allow", "once"),
        ("allow all shown", Answer(answer="once", covers=("s",), by="chat")),
        (
            "allow the loop",
            Answer(answer="run", pattern=Pattern(rule="terminal(git push *)", calls=20, seconds=600), by="chat"),
        ),
        ("stop", "stop"),
        ("deny", "no"),
    ],
)
def test_the_example_of_a_prompter_works(choice, answer):
    example = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    names = {"show_to_person": lambda asked: choice}
    exec(compile(example[1], "asking.md", "exec"), names)
    assert names["ask_in_chat"](question()) == answer
