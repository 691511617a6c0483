"""What a person said no to again and again is not asked again for a while: a notebook can't tire a person into a yes.

Noes are counted for the call itself, for its place in the notebook, and for its rule, so that changing an argument or a line
doesn't start anew. A yes forgets them.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable

from host_bridge.approvals.calls import AskedCall

NOES = {"call": 2, "place": 3, "rule": 10}
"""After how many noes in a row there is quiet, by what they have in common."""
FIRST_SECONDS = 60.0
LONGEST_SECONDS = 3600.0  # doubled up to here by every further no
MEMORY_SECONDS = 3600.0  # noes longer ago than that, and their quiet, are forgotten
MAX_ENTRIES = 4096  # each costs a person a no, or a thousandth of one

Key = tuple[object, ...]


@dataclasses.dataclass(slots=True)
class _Noes:
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Cooling:
    """One session's noes. Thread-safe.

    Args:
        now: A clock that never goes backwards.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._noes: collections.OrderedDict[Key, _Noes] = collections.OrderedDict()

    def seconds_left(self, call: AskedCall) -> float:
        """For how long a call isn't asked about; 0 when it is."""
        if not self._noes:
            return 0.0
        now = self._now()
        with self._lock:
            found = [self._noes[key] for key in _keys(call).values() if key in self._noes]
        return max((0.0, *(noes.until - now for noes in found)))

    def denied(self, calls: tuple[AskedCall, ...]) -> None:
        """Count one no to a question about these calls: once for each call that differs, once for what they share."""
        keys: dict[Key, str] = {}
        for call in calls:
            keys.update((key, kind) for kind, key in _keys(call).items())
        now = self._now()
        with self._lock:
            for key, kind in keys.items():
                self._count(key, NOES[kind], now)
            while len(self._noes) > MAX_ENTRIES:
                self._noes.popitem(last=False)

    def allowed(self, call: AskedCall) -> None:
        """Forget the noes that a yes makes old."""
        with self._lock:
            for key in _keys(call).values():
                self._noes.pop(key, None)

    def _count(self, key: Key, limit: int, now: float) -> None:
        noes = self._noes.pop(key, None)
        if noes is None or now - max(noes.last, noes.until) > MEMORY_SECONDS:
            noes = _Noes()
        noes.count += 1
        noes.last = now
        if noes.count >= limit:
            noes.until = now + min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(noes.count - limit, 30))
        self._noes[key] = noes  # at the end: the one that is asked about longest ago is forgotten first


def _keys(call: AskedCall) -> dict[str, Key]:
    return {
        "call": ("call", call.digest),
        "place": ("place", call.tool, call.rule_id, call.cell_index, call.line),
        "rule": ("rule", call.tool, call.rule_id),
    }
