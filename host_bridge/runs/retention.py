"""Which runs the index may forget."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from host_bridge.runs.index import RUNNING, UNKNOWN, RunEntry


def expired(
    entries: Iterable[RunEntry], now: datetime.datetime, *, older_than_days: float | None, keep: int | None
) -> list[RunEntry]:
    """Give the runs to forget. Pure; what still runs is never among them, and what may still run elsewhere only for its age.

    Args:
        entries: All runs.
        now: With a time zone.
        older_than_days: Only those that started longer ago; None for whenever they did.
        keep: Not the latest so many; None for none in particular.
    """
    latest_first = sorted(entries, key=lambda entry: entry.started, reverse=True)
    over = [entry for entry in latest_first if entry.shown_state != RUNNING]
    candidates = over if keep is None else over[keep:]
    if older_than_days is None:
        return [entry for entry in candidates if entry.shown_state != UNKNOWN]
    limit = now - datetime.timedelta(days=older_than_days)
    return [entry for entry in candidates if _started(entry, now) < limit]


def _started(entry: RunEntry, now: datetime.datetime) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(entry.started)
    except ValueError:
        return now
