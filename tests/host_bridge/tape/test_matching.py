"""Which recorded call a call of a replay is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.tape.format import canonical_json, sha256
from host_bridge.tape.matching import Divergence, Matcher, Question, shown_call
from host_bridge.tape.reader import CellMark, OutcomeRow, Recorded
from host_bridge.tape.recorder import CallRow


def question(path: str, *, cell: int = 1, line: int = 1, tool: str = "read_file", cell_id: str = "") -> Question:
    arguments = canonical_json({"path": path}).decode()
    return Question(tool, cell, cell_id, line, arguments, sha256(f"{tool}\n{arguments}".encode()))


def recorded(seq: int, asked: Question, occurrence: int = 0, replaces: int | None = None) -> Recorded:
    row = CallRow(
        seq=seq,
        call_id=str(seq),
        tool=asked.tool,
        cell_index=asked.cell_index,
        cell_id=asked.cell_id,
        line=asked.line,
        occurrence=occurrence,
        arguments=asked.arguments,
        arguments_digest=asked.arguments_digest,
        canonical="{}",
        canonical_digest="",
        effect="allow",
        rule_id="",
        reason="",
        acts=False,
        origin="live",
        untrusted="",
        replaces=replaces,
        time=0.0,
    )
    return Recorded(row, OutcomeRow("ok", str(seq), "", "", "", 0.0))


def number(found: Recorded | Divergence) -> int:
    assert isinstance(found, Recorded)
    return found.row.seq


def test_two_hundred_concurrent_calls_find_theirs_in_fifty_shuffles() -> None:
    questions = [question(f"{name}.txt", line=name % 3) for name in range(200)]
    for seed in range(50):
        chance = random.Random(seed)
        written = [recorded(seq, asked) for seq, asked in enumerate(questions)]
        chance.shuffle(written)
        matcher = Matcher(written)
        order = list(enumerate(questions))
        chance.shuffle(order)
        assert all(number(matcher.take(asked)) == seq for seq, asked in order)
        assert not list(matcher.left())


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from("abc")), max_size=40),
    st.randoms(use_true_random=False),
)
def test_every_call_is_found_once_and_equals_in_the_order_they_were_made(calls, chance) -> None:
    asked = [question(path, cell=cell, line=line) for cell, line, path in calls]
    counts: dict[Question, int] = {}
    written = []
    for seq, one in enumerate(asked):
        written.append(recorded(seq, one, counts.setdefault(one, 0)))
        counts[one] += 1
    shuffled = list(written)
    chance.shuffle(shuffled)
    matcher = Matcher(shuffled)
    order = list(asked)
    chance.shuffle(order)
    found = [(one, number(matcher.take(one))) for one in order]
    assert sorted(seq for _, seq in found) == list(range(len(asked)))
    for one in counts:
        mine = [seq for asked_again, seq in found if asked_again == one]
        assert mine == sorted(mine)
    assert all(isinstance(matcher.take(one), Divergence) for one in asked)


def test_a_divergence_names_the_nearest_call_of_the_cell() -> None:
    matcher = Matcher([recorded(0, question("a", line=1)), recorded(1, question("b", line=2))])
    text = str(matcher.take(question("c", line=2)))
    assert "cell 1, line 2" in text
    assert "expected read_file(path='b'), got read_file(path='c')" in text


def test_a_cell_that_moved_is_found_by_its_id() -> None:
    matcher = Matcher([recorded(0, question("a", cell=1, cell_id="x"))], [CellMark(0, "started", 1, "x", "", 0.0)])
    assert number(matcher.take(question("a", cell=5, cell_id="x"))) == 0


def test_a_call_that_was_made_again_is_found_as_it_was_made_last() -> None:
    matcher = Matcher([recorded(0, question("a")), recorded(1, question("a"), replaces=0)])
    assert number(matcher.take(question("a"))) == 1
    assert isinstance(matcher.take(question("a")), Divergence)


def test_an_edited_cell_finds_its_calls_in_other_lines_only_when_asked_to() -> None:
    matcher = Matcher([recorded(0, question("a", line=4))])
    assert isinstance(matcher.take(question("a", line=5)), Divergence)
    assert number(matcher.take(question("a", line=5), any_line=True)) == 0


@pytest.mark.parametrize("arguments", ['{"command":"a\\u0007\\n\\u202eb"}', "not json", '["list"]'])
def test_a_shown_call_is_one_harmless_line(arguments: str) -> None:
    shown = shown_call("terminal", arguments)
    assert shown.isprintable()
    assert len(shown) < 250
