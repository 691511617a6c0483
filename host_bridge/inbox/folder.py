"""The inbox: a folder with one file for each question, for whoever asks, whoever answers, and whoever comes later.

Every change is made under one lock, from what the file says then: so of any two answers exactly one counts, whichever
processes give them and whenever they die. Reading needs no lock, because a file is replaced as a whole.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from host_bridge.config import state_folder
from host_bridge.errors import QuestionError, QuestionNotFoundError, QuestionSettledError
from host_bridge.inbox import files
from host_bridge.inbox import question as rules
from host_bridge.inbox.owner import Owner, lives
from host_bridge.inbox.question import ID_PATTERN, Outcome, Question, QuestionState, RunFacts

if TYPE_CHECKING:
    from host_bridge.control import Answer, Asked

FOLDER = Path("approvals", "questions")
MAX_QUESTION_BYTES = 2**20  # what is shown of a call is bounded: large contents are a digest and a size
MAX_QUESTIONS = 1000
KEPT_SECONDS = 30 * 86_400.0  # how long a settled question can be looked up
_SUFFIX = ".json"
_STRAY_SECONDS = 3600.0
_ID_BYTES = 4
_SHOWN_MATCHES = 5


class Inbox:
    """Questions that processes leave for people.

    Args:
        folder: Where they lie; in the user's state folder by default. It is made when something is asked.
        now: The clock, in seconds since 1970.
    """

    def __init__(self, folder: Path | None = None, *, now: Callable[[], float] = time.time) -> None:
        self.folder = folder if folder is not None else state_folder() / FOLDER
        self.now = now

    # asking --------------------------------------------------------------------------------------------------------------

    def ask(
        self, asked: Asked, owner: Owner, *, seconds: float, parked: bool = False, run: RunFacts | None = None
    ) -> Question:
        """Put a question in.

        Raises:
            QuestionError: It can't be written, is too large, or there are too many.
        """
        files.make_private(self.folder)
        now = self.now()
        with files.locked(self.folder):
            self._tidy(now)
            made = Question(
                id=self._free_id(),
                asked=asked,
                asked_at=now,
                expires_at=now + seconds,
                parked=parked,
                owner=owner,
                run=run,
            )
            self._write(made)
        return made

    def beat(self, question_id: str) -> None:
        """Show that somebody still waits."""
        try:
            os.utime(self._path(question_id))
        except OSError as error:
            raise QuestionError(f"question {question_id} can't be kept: {error.strerror}") from error

    def expire(self, question_id: str) -> Question:
        """Have a question's time be over. Gives it with the outcome it has then, which may be another."""
        return self._change(question_id, lambda question: rules.expired(question, self.now()))

    def withdraw(self, question_id: str, reason: str) -> Question:
        """Say that nobody waits any more. Gives the question with the outcome it has then, which may be another."""
        return self._change(question_id, lambda question: rules.withdrawn(question, reason, self.now()))

    def release(self, question_id: str) -> Question:
        """Stop waiting, and leave the question to be answered later."""
        return self._change(question_id, lambda question: msgspec.structs.replace(question, owner=None))

    def adopt(self, question_id: str, owner: Owner) -> Question:
        """Take over a question that nobody waits for, to have its answer used by another run.

        Raises:
            QuestionSettledError: Somebody waits for it, or there is nothing to wait for.
        """

        def change(question: Question) -> Question:
            if not self.is_orphaned(question):
                raise QuestionSettledError(
                    f"question {question.id} is not orphaned: a run waits for it or works with its answer, or it is settled"
                )
            return msgspec.structs.replace(question, owner=owner)

        return self._change(question_id, change)

    def take(self, question_id: str, *, by: str) -> Question:
        """Make use of an answer.

        Raises:
            QuestionSettledError: There is none, or it was used before.
        """
        return self._change(question_id, lambda question: rules.taken(question, by, self.now()))

    # answering -----------------------------------------------------------------------------------------------------------

    def answer(self, question_id: str, answer: Answer, *, digest: str = "") -> Question:
        """Answer a question.

        Args:
            question_id: Its whole id.
            answer: Whoever gives it, and how, is its `by`.
            digest: Of the call the answer is meant for, if whoever answers knows it.

        Raises:
            QuestionNotFoundError: There is no such question.
            QuestionSettledError: It has an outcome already, or is about another call.
            QuestionError: It is no answer to this question.
        """

        def change(question: Question) -> Question:
            if digest and digest != question.asked.digest:
                raise QuestionSettledError(f"question {question.id} is about another call; look at it again")
            return rules.answered(question, answer, self.now())

        return self._change(question_id, change)

    # reading -------------------------------------------------------------------------------------------------------------

    def get(self, question_id: str) -> Question:
        """Give a question by its whole id.

        Raises:
            QuestionNotFoundError: There is none.
            QuestionError: Its file can't be read.
        """
        question = self._read(question_id)
        if question is None:
            raise QuestionNotFoundError(
                f"there is no question {question_id!r}; `hermes-runtime approvals list --all` shows what there is"
            )
        return question

    def find(self, text: str) -> Question:
        """Give the question whose id begins so.

        Raises:
            QuestionNotFoundError: There is none, or more than one.
        """
        if self._is_id(text):
            matches = [name for name in self.ids() if name.startswith(text)]
            if text in matches or len(matches) == 1:
                return self.get(text if text in matches else matches[0])
            if matches:
                shown = ", ".join(matches[:_SHOWN_MATCHES]) + (", …" if len(matches) > _SHOWN_MATCHES else "")
                raise QuestionNotFoundError(
                    f"{text} is the beginning of {len(matches)} questions: {shown}; give more of it"
                )
        return self.get(text)

    def ids(self) -> list[str]:
        """Give the ids of all questions, in no order."""
        try:
            names = [entry.name for entry in os.scandir(self.folder)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise QuestionError(f"the folder for questions {self.folder} can't be read: {error.strerror}") from error
        return [name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and self._is_id(name[:-5])]

    def questions(self) -> list[Question]:
        """Give all questions that can be read, the oldest first."""
        return sorted(self._readable(), key=lambda question: (question.asked_at, question.id))

    def is_orphaned(self, question: Question) -> bool:
        """Whether nobody waits for the answer that could still be given or taken."""
        outcome = question.outcome
        if outcome is None:
            is_open = self.now() < question.expires_at
        else:
            is_open = outcome.answer is not None and outcome.taken_at is None
        return is_open and not self._owner_lives(question)

    def standing(self, question: Question) -> str:
        """Give what a person is told of a question's state: `orphaned`, or its state."""
        state = question.state(self.now())
        return "orphaned" if state is QuestionState.PENDING and self.is_orphaned(question) else str(state)

    def mark(self, question_id: str) -> object:
        """Give what changes whenever the question's file does."""
        try:
            status = self._path(question_id).stat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    # files ---------------------------------------------------------------------------------------------------------------

    def _owner_lives(self, question: Question) -> bool:
        if question.owner is None:
            return False
        try:
            seen = self._path(question.id).stat().st_mtime
        except OSError:
            return False
        return lives(question.owner, time.time() - seen)

    def _change(self, question_id: str, change: Callable[[Question], Question]) -> Question:
        self.get(question_id)  # before a lock is made in a folder that isn't there
        with files.locked(self.folder):
            question = self.get(question_id)
            changed = change(question)
            if changed != question:
                self._write(changed)
        return changed

    def _readable(self) -> Iterator[Question]:
        for name in self.ids():
            try:
                question = self._read(name)
            except QuestionError:
                continue  # `find` says what is wrong with it
            if question is not None:
                yield question

    def _read(self, question_id: str) -> Question | None:
        if not self._is_id(question_id):
            return None
        path = self._path(question_id)
        data = files.read(path, MAX_QUESTION_BYTES)
        if data is None:
            return None
        try:
            question = msgspec.json.decode(data, type=Question)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise QuestionError(f"{path} is no question of this version: {error}; remove it") from None
        if question.id != question_id:
            raise QuestionError(f"{path} holds question {question.id}, so it was copied there; remove it")
        return question

    def _write(self, question: Question) -> None:
        try:
            data = msgspec.json.encode(question)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise QuestionError(f"a question about {question.asked.tool} can't be written down: {error}") from None
        if len(data) > MAX_QUESTION_BYTES:
            raise QuestionError(
                f"a question of {len(data)} bytes about {question.asked.tool} is over the inbox's limit of "
                f"{MAX_QUESTION_BYTES}; make the call smaller"
            )
        files.write(self._path(question.id), data)

    def _path(self, question_id: str) -> Path:
        return self.folder / f"{question_id}{_SUFFIX}"

    @staticmethod
    def _is_id(text: str) -> bool:
        return re.fullmatch(ID_PATTERN, text) is not None

    def _free_id(self) -> str:
        taken = set(self.ids())
        while (made := secrets.token_hex(_ID_BYTES)) in taken:
            pass
        return made

    def _tidy(self, now: float) -> None:
        """Forget what was settled long ago, and what a crash left half written.

        Raises:
            QuestionError: There are too many questions that are not settled.
        """
        names = self.ids()
        for entry in os.scandir(self.folder):
            if (
                entry.name.endswith(".new")
                and time.time() - entry.stat(follow_symlinks=False).st_mtime > _STRAY_SECONDS
            ):
                Path(entry.path).unlink(missing_ok=True)
        if len(names) < MAX_QUESTIONS and not any(self._is_old(name) for name in names):
            return
        settled = [one for one in self.questions() if one.state(now) is not QuestionState.PENDING]
        settled.sort(key=_ended_at)
        room = MAX_QUESTIONS - len(names)
        for one in settled:
            if now - _ended_at(one) <= KEPT_SECONDS and room > 0:
                break
            self._path(one.id).unlink(missing_ok=True)
            room += 1
        if room <= 0:
            raise QuestionError(
                f"{len(names)} questions wait in {self.folder}, as many as it takes; answer some: "
                "`hermes-runtime approvals list`"
            )

    def _is_old(self, question_id: str) -> bool:
        try:
            return time.time() - self._path(question_id).stat().st_mtime > KEPT_SECONDS
        except OSError:
            return False


def _ended_at(question: Question) -> float:
    outcome: Outcome | None = question.outcome
    return question.expires_at if outcome is None else outcome.at
