"""What a planned run could not see: where its calls may give something else in earnest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from host_bridge.tape.matching import shown_call
from host_bridge.tape.reader import Recorded

MAX_TOLD = 100
_COMMANDS = frozenset({"terminal", "process"})
_SKIPPED = "was not run: the plan goes on as if it gave exit code 0, no output and no files"
_AS_BEFORE = "was run on the real files, without what the plan had only simulated by then"


def unseen(calls: Iterable[Recorded]) -> tuple[str, ...]:
    """Give what a plan can't know, a sentence for each line of a cell: what commands would have put out, and found.

    Args:
        calls: Of the run that only tried, in the order of its tape.
    """
    places: dict[tuple[int | None, int, str], list[Recorded]] = {}
    for call, problem in _problems(calls):
        places.setdefault((call.row.cell_index, call.row.line, problem), []).append(call)
    told = [_sentence(problem, *found) for (_, _, problem), found in places.items()]
    rest = len(told) - MAX_TOLD
    return tuple(told) if rest <= 0 else (*told[:MAX_TOLD], f"{rest} more lines have commands alike")


def _problems(calls: Iterable[Recorded]) -> Iterator[tuple[Recorded, str]]:
    has_acted = False
    for call in calls:
        row = call.row
        is_simulated = row.acts and row.origin == "simulated"
        if row.tool in _COMMANDS and call.outcome is not None and call.outcome.outcome == "ok":
            if is_simulated:
                yield call, _SKIPPED
            elif has_acted and row.origin == "live":
                yield call, _AS_BEFORE
        has_acted = has_acted or is_simulated


def _sentence(problem: str, first: Recorded, *others: Recorded) -> str:
    more = f" (and {len(others)} more from this line)" if others else ""
    return f"{_place(first)}{more} {problem}"


def _place(call: Recorded) -> str:
    row = call.row
    place = "outside of any cell" if row.cell_index is None else f"cell {row.cell_index}"
    return f"{place}{f', line {row.line}' if row.line else ''}: {shown_call(row.tool, row.arguments)}"
