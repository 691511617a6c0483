"""What a yes left behind in this session: for this very call, or for so many calls of a pattern.

A yes is bound to the rule that asked, and one given before untrusted content was read does not hold afterwards. Nothing here
outlives the session, and a pattern's time is looked at with every use.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable

from host_bridge.approvals.calls import AskedCall
from host_bridge.approvals.patterns import LoopPattern

MAX_GRANTS = 10_000  # of single calls; a person has no time for more, and the oldest is asked about again
MAX_PATTERNS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Permission:
    """One use of a yes.

    Attributes:
        scope: `run`, `pattern`, `notebook` or `always`.
        question_id: The question it was the answer to.
        reason: For the record.
    """

    scope: str
    question_id: str
    reason: str


@dataclasses.dataclass(slots=True)
class _Bounded:
    pattern: LoopPattern
    question_id: str
    left: int
    expires: float


class Grants:
    """A session's grants. Thread-safe, and exact: each use of a pattern is counted once.

    Args:
        now: A clock that never goes backwards.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._calls: collections.OrderedDict[tuple[str, str, bool], Permission] = collections.OrderedDict()
        self._patterns: list[_Bounded] = []

    def remember(self, call: AskedCall, scope: str, question_id: str) -> None:
        """Remember a yes to this very call until the session ends."""
        permission = Permission(scope, question_id, f"a person allowed this call: {scope}")
        with self._lock:
            self._calls[call.digest, call.rule_id, bool(call.untrusted)] = permission
            if len(self._calls) > MAX_GRANTS:
                self._calls.popitem(last=False)

    def remember_pattern(self, pattern: LoopPattern, question_id: str) -> None:
        """Remember a yes to a loop: its calls and its time begin now."""
        bounds = pattern.bounds
        with self._lock:
            self._forget_spent()
            del self._patterns[: max(0, len(self._patterns) - MAX_PATTERNS + 1)]
            self._patterns.append(_Bounded(pattern, question_id, bounds.calls, self._now() + bounds.seconds))

    def take(self, call: AskedCall) -> Permission | None:
        """Use a yes that covers a call; None if there is none."""
        with self._lock:
            # A yes given in spite of untrusted content covers the call without it too; not the other way round.
            found = self._calls.get((call.digest, call.rule_id, True))
            if found is None and not call.untrusted:
                found = self._calls.get((call.digest, call.rule_id, False))
            return found or self._take_of_pattern(call)

    def _take_of_pattern(self, call: AskedCall) -> Permission | None:
        if not self._patterns:
            return None
        self._forget_spent()
        for bounded in self._patterns:
            if bounded.pattern.covers(call):
                bounded.left -= 1
                bounds = bounded.pattern.bounds
                use = f"call {bounds.calls - bounded.left} of {bounds.calls}"
                return Permission("pattern", bounded.question_id, f"a person allowed such calls: {bounds.rule}, {use}")
        return None

    def _forget_spent(self) -> None:
        now = self._now()
        self._patterns = [bounded for bounded in self._patterns if bounded.left > 0 and now < bounded.expires]
