"""What an examination says: findings, each with what to do about it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class Status(enum.StrEnum):
    """How a finding bears on the main job, running a notebook whose cells call tools."""

    OK = "ok"
    WARNING = "warning"
    """The main job works; something beside it doesn't, or should be known."""
    FAILURE = "failure"
    """The main job would not work."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What was looked at, in a word or two.
        text: What was found.
        remedy: What to do; empty where nothing need be.
        facts: The same for programs: versions, paths, times.
    """

    subject: str
    status: Status
    text: str
    remedy: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def ok(subject: str, text: str, **facts: Any) -> Finding:
    """Note that something is as it should be."""
    return Finding(subject, Status.OK, text, facts=facts)


def warning(subject: str, text: str, remedy: str, **facts: Any) -> Finding:
    """Note what the main job can do without."""
    return Finding(subject, Status.WARNING, text, remedy, facts)


def failure(subject: str, text: str, remedy: str, **facts: Any) -> Finding:
    """Note what the main job can't do without."""
    return Finding(subject, Status.FAILURE, text, remedy, facts)
