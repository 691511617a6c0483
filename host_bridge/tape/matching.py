"""Finds, for a call of a replay, the recorded call that it is. Pure: no file, no clock, no order of arrival.

A call is known by its cell, its call site (the line), its tool and its arguments; among equals by its occurrence, the how
manieth it is. So calls of threads and of `gather` find theirs in whatever order they come, and a loop that asks the same thing
ten times gets the ten answers in their order.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from host_bridge.tape.reader import CellMark, Recorded

MAX_SHOWN_CHARACTERS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A call of a replay.

    Attributes:
        cell_index: Where it is made; None outside of any cell.
        cell_id: The cell's id, empty where it has none.
        line: The line in the cell; 0 where unknown.
        arguments: As canonical JSON.
        arguments_digest: SHA-256 over tool and arguments.
    """

    tool: str
    cell_index: int | None
    cell_id: str
    line: int
    arguments: str
    arguments_digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """A call that isn't on the tape.

    Attributes:
        question: The call.
        expected: What the tape has at its place, the nearest first; None where it has nothing more in that cell.
    """

    question: Question
    expected: Recorded | None

    def __str__(self) -> str:
        asked = self.question
        place = "outside of any cell" if asked.cell_index is None else f"cell {asked.cell_index}"
        place += f" ({asked.cell_id})" if asked.cell_id and asked.cell_index is not None else ""
        place += f", line {asked.line}" if asked.line else ""
        got = shown_call(asked.tool, asked.arguments)
        if self.expected is None:
            return f"the tape has no more calls here: {place}: expected none, got {got}"
        row = self.expected.row
        expected = shown_call(row.tool, row.arguments)
        line = f" in line {row.line}" if row.line and row.line != asked.line else ""
        return f"the replay differs from the tape: {place}: expected {expected}{line}, got {got}"


class Matcher:
    """The calls of a tape that are still to be found. Not thread-safe.

    Args:
        calls: In the order of the tape.
        cells: The tape's cells, by which a cell that has moved is found again.
    """

    def __init__(self, calls: Iterable[Recorded], cells: Iterable[CellMark] = ()) -> None:
        calls = list(calls)
        replaced = {call.row.replaces for call in calls}
        self._cell_of_id = {mark.cell_id: mark.cell_index for mark in cells if mark.cell_id}
        self._exact: dict[tuple[int | None, int, str], collections.deque[Recorded]] = {}
        self._cells: dict[int | None, dict[int, Recorded]] = {}
        for call in sorted(calls, key=lambda call: (call.row.occurrence, call.row.seq)):
            if call.row.seq in replaced:
                continue
            key = (call.row.cell_index, call.row.line, call.row.arguments_digest)
            self._exact.setdefault(key, collections.deque()).append(call)
        for call in calls:
            if call.row.seq not in replaced:
                self._cells.setdefault(call.row.cell_index, {})[call.row.seq] = call

    def take(self, question: Question, *, any_line: bool = False) -> Recorded | Divergence:
        """Find a call, and have it found.

        Args:
            question: The call.
            any_line: Whether it may have been made in another line: of a cell that was edited since.
        """
        cell = self._cell(question)
        found = self._pop((cell, question.line, question.arguments_digest))
        if found is None and any_line:
            lines = sorted({call.row.line for call in self._cells.get(cell, {}).values()})
            found = next(filter(None, (self._pop((cell, line, question.arguments_digest)) for line in lines)), None)
        if found is None:
            return Divergence(question, self._nearest(cell, question))
        del self._cells[cell][found.row.seq]
        return found

    def put_back(self, found: Recorded) -> None:
        """Have a call be found once more."""
        row = found.row
        self._exact.setdefault((row.cell_index, row.line, row.arguments_digest), collections.deque()).appendleft(found)
        self._cells.setdefault(row.cell_index, {})[row.seq] = found

    def left(self) -> Iterator[Recorded]:
        """Give the calls that were not found, in the order of the tape."""
        yield from sorted(
            (call for calls in self._cells.values() for call in calls.values()), key=lambda call: call.row.seq
        )

    def left_in(self, index: int, cell_id: str) -> list[Recorded]:
        """Give the calls of a cell that were not found, in the order of the tape."""
        calls = self._cells.get(self._cell_of_id.get(cell_id, index), {})
        return [calls[seq] for seq in sorted(calls)]

    def _cell(self, question: Question) -> int | None:
        """Give the cell's place in the earlier run: by its id, which stays when cells move, else by its place."""
        if question.cell_index is None:
            return None
        return self._cell_of_id.get(question.cell_id, question.cell_index)

    def _pop(self, key: tuple[int | None, int, str]) -> Recorded | None:
        waiting = self._exact.get(key)
        return waiting.popleft() if waiting else None

    def _nearest(self, cell: int | None, question: Question) -> Recorded | None:
        here = list(self._cells.get(cell, {}).values())

        def distance(call: Recorded) -> tuple[Any, ...]:
            return (call.row.line != question.line, call.row.tool != question.tool, call.row.seq)

        return min(here, key=distance, default=None)


def shown_call(tool: str, arguments: str) -> str:
    """Show a call to people, short."""
    try:
        given = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        given = None
    text = ", ".join(f"{name}={value!r}" for name, value in given.items()) if isinstance(given, dict) else arguments
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return f"{tool}({text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + '…'})"
