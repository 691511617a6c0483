"""What a host application may say about the kernel it starts: `start_kernel(hermes=LaunchOptions(...))`.

Everything is optional. An application that knows nothing of this product says nothing and gets the user's configuration.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from host_bridge.control import Answer, Asked, CallSettled, TapeOrders

Prompter = Callable[[Asked], str | Answer]
"""Asks a person. Called in a thread of its own.

Gives one of `control.ANSWERS`, or an `Answer` where a word doesn't say it all. The empty text means that nobody answered: the
question then expires by itself, which the audit log tells from a no. An exception is a no."""


@runtime_checkable
class ListeningPrompter(Protocol):
    """A prompter that wants to know when nobody waits for an answer any more."""

    def __call__(self, asked: Asked, /) -> str | Answer:
        """Ask a person, as every prompter does."""

    def withdraw(self, question_id: str, reason: str) -> None:
        """Stop asking. Called in the thread that reads the control channel, so it must be quick; may come after the answer."""


CallListener = Callable[[CallSettled], None]
"""Hears of every settled call. Called in the thread that reads the control channel, so it must be quick."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostTool:
    """A tool that the host application itself provides.

    Attributes:
        name: As the kernel calls it.
        run: Takes the call's arguments by name and an event that is set when nobody waits for the result any more; returns
            plain data. Called in a thread of its own. The text of an exception it raises reaches the kernel.
        summary: One line for people.
        gives_untrusted: Whether what it gives may have been written by anybody; see `host_bridge.tools.interface.Tool`.
    """

    name: str
    run: Callable[[dict[str, Any], threading.Event], Any]
    summary: str = ""
    gives_untrusted: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What is known about one kernel beyond the user's configuration. Spoken by the host application, so it is trusted.

    Attributes:
        workspace: The folder the session works in; the kernel's working directory when empty.
        principal: Whom the session acts for.
        profile: The policy profile. A kernel spec that names a narrower one still narrows.
        notebook: Absolute path of the notebook, for the record and to protect it.
        notebook_permissions: `metadata.hermes.permissions` of the notebook; None when it declares nothing.
        notebook_digest: `provisioning.notebook.source_digest` of it, which a person's answers for a notebook belong to.
        accepted_digest: The source whose declaration the person accepted for this kernel alone.
        policy_files: Further policy files.
        policy_rules: Further rules as TOML text.
        run_id: Names the run in the audit log.
        audit_path: The audit log; one of its own in the configured folder when empty.
        secrets: Values that must never be written down.
        prompter: Asks a person. None means nobody can be asked.
        ask_timeout_seconds: How long a question waits, over that of the configuration.
        marks_cells: Whether the application says which cell runs (`cell_started`, `cell_settled` of the session).
        budgets: Limits by name, over those of the configuration.
        on_call: Hears of every settled call.
        on_spawned: Called whenever a process of the kernel has been started, while it still gets ready. Must return soon.
        tools: Tools the application provides.
        confinement: The backend to confine the kernel by, over that of the configuration.
        limits: Of the kernel, over those of the configuration and by their names (`host_bridge.config.LimitSettings`).
        tape: What the session records, and what it answers from an earlier tape.
        network: `"none"` or `"full"`, over that of the configuration.
    """

    workspace: str = ""
    principal: str = ""
    profile: str = ""
    notebook: str = ""
    notebook_permissions: Mapping[str, Any] | None = None
    notebook_digest: str = ""
    accepted_digest: str = ""
    policy_files: tuple[str, ...] = ()
    policy_rules: str = ""
    run_id: str = ""
    audit_path: str = ""
    secrets: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    prompter: Prompter | None = None
    ask_timeout_seconds: float | None = None
    marks_cells: bool = False
    budgets: Mapping[str, float] = dataclasses.field(default_factory=dict)
    on_call: CallListener | None = None
    on_spawned: Callable[[], None] | None = None
    tools: tuple[HostTool, ...] = ()
    confinement: str = ""
    limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""
    tape: TapeOrders = dataclasses.field(default_factory=TapeOrders)
