"""What the executor adds to a question, because it has the notebook: the line of the cell that the call comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from host_bridge.control import Answer, Asked, CallSettled
from host_bridge.executor.stopping import BY_PERSON, StopRequest
from host_bridge.policy.display import one_line
from host_bridge.provisioning.options import CallListener, LaunchOptions, ListeningPrompter, Prompter

STOPPED = "session:stopped"
"""The rule id of a call that was denied because a person stopped the run (`approvals.desk`)."""


class NotebookPrompter:
    """Shows a question with its line. A `ListeningPrompter`.

    Args:
        prompter: Asks.
        source: Gives a cell's source; the index is the host's own, not the kernel's.
    """

    def __init__(self, prompter: Prompter, source: Callable[[int], str]) -> None:
        self._prompter = prompter
        self._source = source

    def __call__(self, asked: Asked) -> str | Answer:
        """Ask."""
        return self._prompter(msgspec.structs.replace(asked, source_line=self._line(asked)))

    def withdraw(self, question_id: str, reason: str) -> None:
        """Pass it on to a prompter that listens."""
        if isinstance(self._prompter, ListeningPrompter):
            self._prompter.withdraw(question_id, reason)

    def _line(self, asked: Asked) -> str:
        """Give the line, escaped. Which one it is the kernel says, so it is a hint and no more."""
        if asked.cell_index is None or asked.line < 1:
            return ""
        lines = self._source(asked.cell_index).split("\n")
        return one_line(lines[asked.line - 1].strip()) if asked.line <= len(lines) else ""


def at_the_notebook(launch: LaunchOptions, stop: StopRequest, sources: Sequence[str]) -> LaunchOptions:
    """Give a launch whose questions show their lines, and whose run ends when a person says so."""

    def source(index: int) -> str:
        return sources[index] if 0 <= index < len(sources) else ""

    prompter = None if launch.prompter is None else NotebookPrompter(launch.prompter, source)
    return dataclasses.replace(launch, prompter=prompter, on_call=stopping_listener(stop, launch.on_call))


def stopping_listener(stop: StopRequest, further: CallListener | None) -> CallListener:
    """Give a listener for settled calls that ends the run when a person said so."""

    def hear(call: CallSettled) -> None:
        if call.rule_id == STOPPED and not stop:
            stop.request(BY_PERSON)
        if further is not None:
            further(call)

    return hear
