"""Questions and folders for tests of the inbox."""

from __future__ import annotations

from typing import Any

from host_bridge.control import Answer, Asked


class Clock:
    """Seconds since 1970, which stand still until told."""

    def __init__(self, seconds: float = 1_800_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def yes(by: str = "ada") -> Answer:
    return Answer(answer="once", by=by)


def no(by: str = "ada") -> Answer:
    return Answer(answer="no", by=by)


def asked(**fields: Any) -> Asked:
    """Give a question as a session asks it; only what matters to the test is spelled out there."""
    usual: dict[str, Any] = {
        "question_id": "20261128T010203-0badcafe-7",
        "tool": "terminal",
        "shown": {"command": "git push origin main", "timeout": 30},
        "rule_id": "user:rules.ask[0]",
        "reason": "",
        "principal": "nightly",
        "cell_index": 3,
        "timeout_seconds": 60.0,
        "session_id": "20261128T010203-0badcafe",
        "digest": "d" * 64,
    }
    return Asked(**{**usual, **fields})
