"""What a session asks of the host application: questions for a person, calls of the tools it provides, values of secrets.

Each runs in a thread of its own, because either may take minutes while others must be served.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from host_bridge import control
from host_bridge.control import (
    ANSWERS,
    Answer,
    Asked,
    ControlMessage,
    HostToolReply,
    HostToolRequest,
    QuestionOver,
    SecretReply,
    SecretRequest,
)
from host_bridge.errors import SessionError
from host_bridge.provisioning.options import HostTool, ListeningPrompter, Prompter
from host_bridge.secrets.sources import SourceError, read_source

MAX_THREADS = 64  # a session has at most a few hundred calls open; a person answers one at a time
APPLICATION = "application"  # who answered, where a prompter doesn't say

_log = logging.getLogger(__name__)


class Callbacks:
    """Runs the host application's functions for one session.

    Args:
        send: Puts a message on the control channel; thread-safe.
        prompter: Asks a person. None answers every question with no.
        tools: What the application provides.
        secrets: Where the values of secrets are, by name.
    """

    def __init__(
        self,
        send: Callable[[ControlMessage], None],
        prompter: Prompter | None,
        tools: Sequence[HostTool],
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._secrets = dict(secrets or {})
        self._send = send
        self._prompter = prompter
        self._tools = {tool.name: tool for tool in tools}
        self._cancelled: dict[str, threading.Event] = {}
        self._asked: set[str] = set()
        self._threads = threading.BoundedSemaphore(MAX_THREADS)

    def ask(self, question: Asked) -> None:
        """Have the question answered."""
        prompter = self._prompter
        self._asked.add(question.question_id)
        if prompter is None or not self._start(lambda: self._answer(question, prompter)):
            self._asked.discard(question.question_id)
            self._reply(Answer(question_id=question.question_id, answer="no"))

    def question_over(self, message: QuestionOver) -> None:
        """Tell the prompter, if it listens, that nobody waits for an answer any more."""
        if message.question_id in self._asked and isinstance(self._prompter, ListeningPrompter):
            self._prompter.withdraw(message.question_id, message.reason)

    def call(self, request: HostToolRequest) -> None:
        """Have a provided tool run."""
        tool = self._tools.get(request.tool)
        if tool is None:
            self._fail(request, f"the host application provides no tool {request.tool}")
            return
        self._cancelled[request.call_id] = threading.Event()
        if not self._start(lambda: self._run(request, tool)):
            self._fail(request, f"the host application runs {MAX_THREADS} calls already; try again later")

    def read_secret(self, request: SecretRequest) -> None:
        """Have a secret's value read; a keyring may want to be unlocked by a person first."""
        if not self._start(lambda: self._reply(self._secret(request.name))):
            self._reply(SecretReply(name=request.name, failure="the host application is busy; try again later"))

    def cancel(self, call_id: str) -> None:
        """Tell a provided tool that nobody waits for it any more."""
        if event := self._cancelled.get(call_id):
            event.set()

    def cancel_all(self) -> None:
        """Tell all provided tools so, and the prompter: the session is over."""
        for event in list(self._cancelled.values()):
            event.set()
        for question_id in list(self._asked):
            self.question_over(QuestionOver(question_id=question_id, reason="the session is over"))

    def _start(self, work: Callable[[], None]) -> bool:
        if not self._threads.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                work()
            finally:
                self._threads.release()

        threading.Thread(target=run, name="hermes-callback", daemon=True).start()
        return True

    def _answer(self, question: Asked, prompter: Prompter) -> None:
        try:
            given = prompter(question)
        except Exception:
            _log.exception("the prompter failed, which counts as a no")
            given = "no"
        finally:
            self._asked.discard(question.question_id)
        if given == "":
            return  # nobody answered: the session says so when the question's time is up
        answer = given if isinstance(given, Answer) else Answer(answer=given if isinstance(given, str) else "no")
        if answer.answer not in ANSWERS:
            # A prompter that answers anything else has not said yes.
            answer = Answer(answer="no", by=answer.by)
        by = answer.by or APPLICATION
        self._reply(msgspec.structs.replace(answer, question_id=question.question_id, by=by))

    def _run(self, request: HostToolRequest, tool: HostTool) -> None:
        cancelled = self._cancelled[request.call_id]
        try:
            value = tool.run(dict(request.arguments), cancelled)
            reply = HostToolReply(call_id=request.call_id, value=value)
            control.encode(reply)  # a value that can't travel is the tool's failure, not the channel's
        except Exception as error:
            _log.debug("the tool %s failed", request.tool, exc_info=True)
            self._fail(request, f"{request.tool}: {error or type(error).__name__}")
        else:
            self._done(reply)

    def _secret(self, name: str) -> SecretReply:
        source = self._secrets.get(name)
        if source is None:
            return SecretReply(name=name, failure="the host application knows no source for it")
        try:
            return SecretReply(name=name, value=read_source(source, os.environ))
        except SourceError as error:
            return SecretReply(name=name, failure=str(error))
        except Exception as error:  # a keyring's backend raises what it likes, and may say what it read
            _log.warning("the source of the secret %s failed: %s", name, type(error).__name__)
            return SecretReply(name=name, failure=f"its source failed ({type(error).__name__})")

    def _fail(self, request: HostToolRequest, text: str) -> None:
        self._done(HostToolReply(call_id=request.call_id, failure=text))

    def _done(self, reply: HostToolReply) -> None:
        self._cancelled.pop(reply.call_id, None)
        self._reply(reply)

    def _reply(self, message: ControlMessage) -> None:
        try:
            self._send(message)
        except SessionError as error:
            _log.debug("nobody waits for this any more: %s", error)


def one_at_a_time(prompter: Prompter) -> Prompter:
    """Give a prompter that has one question on the screen at a time; the others wait their turn, each until its own end."""
    turn = threading.Lock()

    def ask(question: Asked) -> str | Answer:
        deadline = time.monotonic() + question.timeout_seconds
        if not turn.acquire(timeout=question.timeout_seconds):
            return ""
        try:
            left = deadline - time.monotonic()
            return prompter(msgspec.structs.replace(question, timeout_seconds=left)) if left > 0 else ""
        finally:
            turn.release()

    return ask


def describe(tools: Sequence[HostTool]) -> tuple[dict[str, Any], ...]:
    """Give tools as `ProvideTools` carries them."""
    return tuple(
        {
            "name": tool.name,
            "summary": tool.summary,
            **({"gives_untrusted": True} if tool.gives_untrusted else {}),
        }
        for tool in tools
    )
