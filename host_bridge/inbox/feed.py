"""What changes in the inbox, as events: for who wants to be told instead of asking again and again."""

from __future__ import annotations

import collections
import dataclasses
import secrets
import time
from typing import Any

from host_bridge.errors import QuestionError
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.question import Question
from host_bridge.inbox.views import as_data, is_open

KEPT_EVENTS = 512  # a client that was away for longer gets a snapshot
FRESH_SECONDS = 1.0  # file systems tell time in steps: a folder changed so recently may change again unseen
FULL_LOOK_SECONDS = 2.0  # what no file tells: time is over, a process is gone
EVENT_NAMES = {
    "pending": "question",
    "orphaned": "orphaned",
    "answered": "answered",
    "expired": "expired",
    "withdrawn": "withdrawn",
}
"""What a question's new standing is called as an event."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One change. `id` is this server's, and increases."""

    id: str
    name: str
    data: dict[str, Any]


class Feed:
    """Watches an inbox by looking at it. Not thread-safe."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._generation = secrets.token_hex(4)
        self._count = 0
        self._events: collections.deque[Event] = collections.deque(maxlen=KEPT_EVENTS)
        self._marks: dict[str, object] = {}
        self._questions: dict[str, Question] = {}
        self._told: dict[str, str] = {}
        self._folder_mark = 0
        self._looked = -FULL_LOOK_SECONDS
        self._look_at_files()
        self._told = {name: inbox.standing(question) for name, question in self._questions.items()}

    @property
    def last_id(self) -> str:
        """The latest event's id."""
        return f"{self._generation}-{self._count}"

    def look(self) -> list[Event]:
        """Give what has changed since the last look."""
        now = time.monotonic()
        if not self._folder_may_have_changed() and now - self._looked < FULL_LOOK_SECONDS:
            return []
        self._looked = now
        self._look_at_files()
        return [self._event(question) for question in self._questions.values() if self._is_news(question)]

    def since(self, last_id: str) -> list[Event] | None:
        """Give the events after the one named; None where that isn't known, and a snapshot has to do."""
        if last_id == self.last_id:
            return []
        for index, event in enumerate(self._events):
            if event.id == last_id:
                return list(self._events)[index + 1 :]
        return None

    def snapshot(self) -> Event:
        """Give all questions somebody has to do something about, as one event that belongs after the latest."""
        found = sorted(self._questions.values(), key=lambda question: (question.asked_at, question.id))
        shown = [as_data(self._inbox, question) for question in found if is_open(self._inbox, question)]
        return Event(self.last_id, "snapshot", {"questions": shown})

    def _folder_may_have_changed(self) -> bool:
        try:
            changed = self._inbox.folder.stat().st_mtime_ns
        except OSError:
            changed = 0
        fresh = time.time_ns() - changed < FRESH_SECONDS * 1e9
        different, self._folder_mark = changed != self._folder_mark, changed
        return different or fresh

    def _look_at_files(self) -> None:
        try:
            ids = set(self._inbox.ids())
        except QuestionError:  # the next look tells
            return
        for gone in self._questions.keys() - ids:
            del self._questions[gone]
            self._told.pop(gone, None)
        self._marks = {name: mark for name, mark in self._marks.items() if name in ids}
        for name in ids:
            mark = self._inbox.mark(name)
            if self._marks.get(name) == mark:
                continue
            try:
                self._questions[name] = self._inbox.get(name)
            except QuestionError:  # no question, or gone meanwhile: `approvals show` says what is wrong with it
                self._questions.pop(name, None)
            self._marks[name] = mark

    def _is_news(self, question: Question) -> bool:
        if question.outcome is not None and self._told.get(question.id) == str(question.outcome.state):
            return False  # settled and told: nothing more can become of it
        return self._told.get(question.id) != self._inbox.standing(question)

    def _event(self, question: Question) -> Event:
        self._told[question.id] = standing = self._inbox.standing(question)
        self._count += 1
        name = EVENT_NAMES[standing]
        event = Event(self.last_id, name, as_data(self._inbox, question))
        self._events.append(event)
        return event
