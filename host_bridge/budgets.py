"""What a session may use up: the names of the budgets, limits put together from several places, and the exact account.

What can be known before a call is reserved before it is decided; contents (streams, files, pages) are taken from the account as
they pass, so they never exceed it; the rest is settled after the call. All under one lock, so calls at the same time share
the last of a budget and don't each get it.
"""

from __future__ import annotations

import difflib
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hermes_protocol.messages import Budget
from host_bridge.errors import BudgetError, ConfigurationError

MEANINGS = {
    "calls": "calls of any tool",
    "concurrent_calls": "calls that run at the same time",
    "pending_asks": "calls that wait for a person at the same time",
    "bytes": "contents that calls gave back: output, files, pages",
    "bytes_out": "all that calls gave back: their contents and their results",
    "bytes_in": "all that calls were given: their arguments and what is sent along",
    "seconds": "time that calls took, added up",
    "wall_seconds": "time since the session began",
}
"""The budgets there are, besides `calls.TOOL` for one tool's calls."""

TOOL_PREFIX = "calls."
_TOOL = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OUT = ("bytes", "bytes_out")


# limits ----------------------------------------------------------------------------------------------------------------


def check_limits(limits: Mapping[str, Any], *, key: str = "budgets") -> dict[str, float]:
    """Give limits by name as they count; None for a name means no limit and is left out.

    Args:
        limits: As somebody wrote them: `{"calls": 100, "calls.terminal": 5, "bytes_out": 1e9}`.
        key: The dotted place they stand at, for the error.

    Raises:
        ConfigurationError: An unknown name, with the nearest known one; or a limit that is no number from 0 on. `.key` says
            which.
    """
    checked = {}
    for name, limit in limits.items():
        place = f"{key}.{name}"
        if not isinstance(name, str) or not _is_known(name):
            raise ConfigurationError(
                f"no budget is called {str(name)[:100]!r}{_suggestion(str(name))}; there are: {', '.join(MEANINGS)}, and "
                f"{TOOL_PREFIX}TOOL for one tool's calls",
                key=place[:200],
            )
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
            raise ConfigurationError(f"{place}: a limit is a number from 0 on, not {str(limit)[:100]!r}", key=place)
        checked[name] = float(limit)
    return checked


def strictest(*several: Mapping[str, float]) -> dict[str, float]:
    """Put limits from several places together: of each name the lowest."""
    lowest: dict[str, float] = {}
    for limits in several:
        for name, limit in limits.items():
            lowest[name] = min(limit, lowest.get(name, limit))
    return lowest


def check_tools(limits: Mapping[str, float], tools: Collection[str]) -> None:
    """Refuse limits for calls of tools there aren't.

    Raises:
        ConfigurationError: Names the nearest.
    """
    for name in limits:
        tool = name.removeprefix(TOOL_PREFIX)
        if name != tool and tool not in tools:
            near = difflib.get_close_matches(tool, list(tools), n=1)
            hint = f"; did you mean {TOOL_PREFIX}{near[0]}?" if near else ""
            raise ConfigurationError(f"the budget {name} is for a tool there isn't{hint}", key=f"budgets.{name}")


def _is_known(name: str) -> bool:
    tool = name.removeprefix(TOOL_PREFIX)
    return name in MEANINGS or (tool != name and _TOOL.fullmatch(tool) is not None)


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, list(MEANINGS), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


# the account -----------------------------------------------------------------------------------------------------------


class Budgets:
    """What a session may still use. Thread-safe, and exact at its edge.

    Where it is not exact is bounded: a result that is no contents arrives though the last of `bytes_out` is gone by then (at
    most one message of 1 MiB for each call under way), and calls at the same time each get what is left of `seconds`.

    Args:
        limits: By name, as `check_limits` gives them.
        clock: Seconds that only grow.
    """

    def __init__(self, limits: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = dict(limits)
        self._tools = tuple(name for name in limits if name.startswith(TOOL_PREFIX))
        self._used: dict[str, float] = dict.fromkeys((*MEANINGS, *self._tools), 0)
        # Not looked at when a call begins: whoever asks keeps to the one, and a tool's calls concern that tool.
        self._gates = tuple(
            (name, limit) for name, limit in limits.items() if name in MEANINGS and name != "pending_asks"
        )
        self._is_timed = not limits.keys().isdisjoint(("seconds", "wall_seconds"))
        self._is_cut = not limits.keys().isdisjoint(_OUT)
        self._observed: dict[str, Callable[[], float]] = {}
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()

    def reserve(self, tool: str, bytes_in: int = 0) -> None:
        """Take one call of a tool, and what comes with it.

        Raises:
            BudgetError: Nothing is left of something; nothing was taken.
        """
        counted = TOOL_PREFIX + tool
        with self._lock:
            used = self._used
            if self._limits:
                self._require(counted, bytes_in)
            used["calls"] += 1
            used["concurrent_calls"] += 1
            used["bytes_in"] += bytes_in
            if counted in used:
                used[counted] += 1

    def settle(self, seconds: float) -> None:
        """Give back what a finished call held, and count how long it took."""
        with self._lock:
            self._used["concurrent_calls"] -= 1
            self._used["seconds"] += seconds

    def seconds_left(self) -> float:
        """How long a call that begins now may take."""
        if not self._is_timed:
            return math.inf
        with self._lock:
            left = self._limits.get("seconds", math.inf) - self._used["seconds"]
            return max(0.0, min(left, self._limits.get("wall_seconds", math.inf) - (self._clock() - self._began)))

    def take_out(self, size: int) -> int:
        """Take contents that are about to be given: as much of it as is left, which is what may be given."""
        with self._lock:
            allowed = min(size, *(self._left(name) for name in _OUT)) if self._is_cut else size
            self._used["bytes"] += allowed
            self._used["bytes_out"] += allowed
            return allowed

    def take_result(self, contents: int, result: int) -> None:
        """Take contents that can only be given whole, and count the result they come with.

        A result by itself is counted whatever is left: what was done is told.

        Raises:
            BudgetError: The contents are more than is left; nothing was taken.
        """
        with self._lock:
            if contents and self._is_cut:
                name = min(_OUT, key=self._left)
                if contents > self._left(name):
                    raise self._used_up(name, f"this result has {contents} bytes and {self._left(name)} are left")
            self._used["bytes"] += contents
            self._used["bytes_out"] += contents + result

    def take_in(self, size: int) -> None:
        """Take a piece of what is sent along with a call.

        Raises:
            BudgetError: It is more than is left; nothing was taken.
        """
        with self._lock:
            if size > self._left("bytes_in"):
                raise self._used_up("bytes_in")
            self._used["bytes_in"] += size

    def out_error(self) -> BudgetError:
        """Give what ends a stream that was cut."""
        with self._lock:
            return self._used_up(min(_OUT, key=self._left), "the rest was not given")

    def time_error(self) -> BudgetError:
        """Give what ends a call that took all the time that was left."""
        with self._lock:
            name = "seconds" if "wall_seconds" not in self._limits else "wall_seconds"
            return self._used_up(name, "the call was ended")

    def observe(self, name: str, amount: Callable[[], float]) -> None:
        """Have what is used of something be known by somebody else, who keeps its limit too."""
        self._observed[name] = amount

    def snapshot(self) -> tuple[Budget, ...]:
        """All counters as they stand."""
        observed = {
            name: amount() for name, amount in self._observed.items()
        }  # not with our lock held: they have theirs
        with self._lock:
            used = self._used | observed | {"wall_seconds": round(self._clock() - self._began, 3)}
            return tuple(
                Budget(name=name, used=float(amount), limit=self._limits.get(name)) for name, amount in used.items()
            )

    # with the lock held ------------------------------------------------------------------------------------------------

    def _require(self, counted: str, bytes_in: int) -> None:
        for name, limit in self._gates:
            used = self._clock() - self._began if name == "wall_seconds" else self._used[name]
            if used >= limit:
                raise self._used_up(name)
        if bytes_in > self._left("bytes_in"):
            raise self._used_up("bytes_in", f"this call brings {bytes_in} bytes")
        if counted in self._used and self._used[counted] >= self._limits[counted]:
            raise self._used_up(counted)

    def _left(self, name: str) -> int:
        limit = self._limits.get(name)
        return 2**62 if limit is None else max(0, int(limit - self._used[name]))

    def _used_up(self, name: str, detail: str = "") -> BudgetError:
        if name.startswith(TOOL_PREFIX):
            what, place = (
                f"calls of {name.removeprefix(TOOL_PREFIX)}",
                f"[budgets.tools] {name.removeprefix(TOOL_PREFIX)}",
            )
        else:
            what, place = name.replace("_", " "), f"[budgets] {name}"
        return BudgetError(
            f"the session's budget of {self._limits[name]:g} {what} is used up{f': {detail}' if detail else ''}; "
            f"a person can raise it in the host's configuration ({place})"
        )
