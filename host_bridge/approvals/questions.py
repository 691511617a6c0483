"""Which calls share a question: a state machine. No clock, no thread, no socket; the desk has them.

    call joins -> its loop gathers -> the question is shown -> answered, expired, or everybody left

A loop is calls of one tool by one rule from one place in the notebook. While calls of it arrive, it gathers for a moment, so
that a person sees all of them at once. A shown question never changes: calls that join later gather for the next one, which is
asked when this one is answered and its answer does not cover them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import msgspec

from host_bridge.approvals.calls import AskedCall, LoopKey

MAX_WAITING = 512  # calls; budgets may say otherwise
MAX_OPEN = 16  # questions a person has before them; the others wait for their turn
MAX_SIBLINGS = 64  # different calls shown in one question…
MAX_SIBLING_BYTES = 2**20  # …and what their arguments may come to
QUIET_SECONDS = 0.1  # since the last call that joined
LONE_SECONDS = 0.03  # the same while one call is all there is: the first of many is ahead of the others by less
GATHER_SECONDS = 1.0  # since the first: a person doesn't notice


class FullError(Exception):
    """Too many calls wait already."""


@dataclasses.dataclass(slots=True)
class Question:
    """Calls that wait for one answer.

    Attributes:
        asked: The one it is about.
        calls: All that were shown and still wait, in the order they came.
        deadline: When it expires.
        attempt: How often an answer to it could not be used.
    """

    question_id: str
    asked: AskedCall
    calls: dict[str, AskedCall]
    deadline: float
    attempt: int = 0

    @property
    def distinct(self) -> tuple[AskedCall, ...]:
        """One call for each that differs."""
        first: dict[str, AskedCall] = {}
        for call in self.calls.values():
            first.setdefault(call.digest, call)
        return tuple(first.values())

    def waiting(self, digest: str) -> int:
        """How many calls equal to one wait."""
        return sum(call.digest == digest for call in self.calls.values())


@dataclasses.dataclass(slots=True)
class _Gathering:
    calls: dict[str, AskedCall]
    first: float
    last: float
    expires: float
    quiet_seconds: float


class Questions:
    """All questions of a session, shown and to be shown.

    Args:
        prefix: Begins every question's id, so that another session's are known to be foreign.
        seconds: How long a question waits for its answer.
        limit: How many calls may wait.
    """

    def __init__(self, prefix: str, seconds: float, limit: int = MAX_WAITING) -> None:
        self._prefix = prefix
        self._seconds = seconds
        self._limit = limit
        self._numbers = itertools.count(1)
        self._gathering: dict[LoopKey, _Gathering] = {}
        self._open: dict[str, Question] = {}
        self._open_loops: dict[LoopKey, str] = {}

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        gathering = sum(len(loop.calls) for loop in self._gathering.values())
        return gathering + sum(len(question.calls) for question in self._open.values())

    @property
    def turn_seconds(self) -> float:
        """How long a call waits at most until it is asked about."""
        return 2 * self._seconds + GATHER_SECONDS

    def join(self, call: AskedCall, now: float, *, quiet_seconds: float) -> None:
        """Have a call wait.

        Args:
            call: Waits from now on.
            now: The time.
            quiet_seconds: How long nothing may join before its loop is asked about.

        Raises:
            FullError: Too many wait; this one doesn't.
        """
        if self.waiting >= self._limit:
            raise FullError(f"{self._limit} calls wait for a person already")
        self._gather([call], now, quiet_seconds)

    def requeue(self, calls: Iterable[AskedCall], now: float) -> None:
        """Have calls wait again that an answer left open. They were gathered once, so they needn't be again."""
        self._gather(calls, now, 0.0)

    def leave(self, call_id: str) -> tuple[bool, Question | None]:
        """Take out a call that waits no longer by itself.

        Returns:
            Whether it did wait, and the question that nobody waits for any more, if it was the last of it.
        """
        for key, loop in self._gathering.items():
            if loop.calls.pop(call_id, None) is not None:
                if not loop.calls:
                    del self._gathering[key]
                return True, None
        for question in self._open.values():
            if question.calls.pop(call_id, None) is not None:
                return True, None if question.calls else self.close(question.question_id)
        return False, None

    def due(self, now: float) -> list[Question]:
        """Give the questions to be shown now; from here on they are open."""
        shown = []
        for key, loop in list(self._gathering.items()):
            if len(self._open) >= MAX_OPEN:
                break
            if key not in self._open_loops and self._is_gathered(loop, now):
                shown.append(self._freeze(key, loop, now))
        return shown

    def expired(self, now: float) -> tuple[list[Question], list[AskedCall]]:
        """Give, and forget, the questions nobody answered in time and the calls whose turn never came."""
        late = [question for question in self._open.values() if question.deadline <= now]
        for question in late:
            self.close(question.question_id)
        unseen: list[AskedCall] = []
        for key, loop in list(self._gathering.items()):
            if loop.expires <= now:
                unseen += loop.calls.values()
                del self._gathering[key]
        return late, unseen

    def next_time(self, now: float) -> float | None:
        """When to look again; None while nothing waits."""
        times = [question.deadline for question in self._open.values()]
        has_room = len(self._open) < MAX_OPEN
        for key, loop in self._gathering.items():
            times.append(loop.expires)
            if has_room and key not in self._open_loops:
                times.append(now if self._is_gathered(loop, now) else self._gathered_at(loop))
        return min(times, default=None)

    def close(self, question_id: str) -> Question | None:
        """Take out an open question; None if there is none of that id."""
        question = self._open.pop(question_id, None)
        if question is not None:
            self._open_loops.pop(question.asked.loop, None)
        return question

    def reopen(self, question: Question) -> Question:
        """Ask again what was closed by an answer that can't be used: another id, the same calls and time."""
        again = dataclasses.replace(question, question_id=self._new_id(), attempt=question.attempt + 1)
        self._show(again)
        return again

    def take_gathering(self, is_wanted: Callable[[AskedCall], bool]) -> list[AskedCall]:
        """Take out calls that were not shown yet and need not be any more."""
        taken = []
        for key, loop in list(self._gathering.items()):
            for call in list(loop.calls.values()):
                if is_wanted(call):
                    taken.append(loop.calls.pop(call.call_id))
            if not loop.calls:
                del self._gathering[key]
        return taken

    def close_all(self) -> tuple[list[Question], list[AskedCall]]:
        """Take out everything: the open questions, and the calls that were not shown yet."""
        questions = list(self._open.values())
        for question in questions:
            self.close(question.question_id)
        return questions, self.take_gathering(lambda _: True)

    def _gather(self, calls: Iterable[AskedCall], now: float, quiet_seconds: float) -> None:
        for call in calls:
            loop = self._gathering.get(call.loop)
            if loop is None:
                expires = now + self.turn_seconds
                self._gathering[call.loop] = _Gathering({call.call_id: call}, now, now, expires, quiet_seconds)
            else:
                loop.calls[call.call_id] = call
                loop.last = now
                loop.quiet_seconds = max(loop.quiet_seconds, quiet_seconds)

    def _is_gathered(self, loop: _Gathering, now: float) -> bool:
        return now >= self._gathered_at(loop)

    @staticmethod
    def _gathered_at(loop: _Gathering) -> float:
        return min(loop.last + loop.quiet_seconds, loop.first + GATHER_SECONDS)

    def _freeze(self, key: LoopKey, loop: _Gathering, now: float) -> Question:
        first = next(iter(loop.calls.values()))
        chosen = {first.digest}
        size = 0
        for call in loop.calls.values():
            if call.digest in chosen:
                continue
            size += len(msgspec.json.encode(call.shown))
            if len(chosen) > MAX_SIBLINGS or size > MAX_SIBLING_BYTES:
                break
            chosen.add(call.digest)
        calls = {call_id: call for call_id, call in loop.calls.items() if call.digest in chosen}
        for call_id in calls:
            del loop.calls[call_id]
        if not loop.calls:
            del self._gathering[key]
        question = Question(self._new_id(), first, calls, now + self._seconds)
        self._show(question)
        return question

    def _show(self, question: Question) -> None:
        self._open[question.question_id] = question
        self._open_loops[question.asked.loop] = question.question_id

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"
