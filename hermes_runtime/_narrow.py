"""`hermes.narrow(…)`: a block of code that may do less than its notebook."""

from __future__ import annotations

from types import TracebackType

from hermes_protocol.messages import (
    MAX_NARROWING_LEVELS,
    MAX_NARROWING_RULES,
    MAX_RULE_CHARACTERS,
    StatusReply,
    Welcome,
)
from hermes_runtime._calls import StatusOperation
from hermes_runtime._client import current
from hermes_runtime._errors import InvalidToolRequestError
from hermes_runtime._narrowing import ACTIVE, Levels, hand_on_to_threads
from hermes_runtime._running import run
from hermes_runtime._session_tools import STATUS_SECONDS

MAX_REMEMBERED = 256  # a loop narrows itself alike again and again


class narrow:  # noqa: N801 - a verb to who writes `with hermes.narrow(…)`
    """Allow the calls of a block only what these rules allow, of what they were allowed anyway.

        with hermes.narrow("read_file(data/**)", "terminal(git status *)"):
            summarise("data/sales.csv")

    The host keeps to it, also for threads and tasks started inside, and for forked processes. A block inside a block only takes
    away further; without rules, nothing is allowed. Leaving the block restores what was.

    It guards against mistakes, not against malice: the code inside runs in the same process and could call tools past it.

    Args:
        rules: As in a policy's `allow`: `read_file`, `read_file(./data/**)`, `terminal(git status *)`, `web_extract(domain:…)`.

    Raises:
        InvalidToolRequestError: A rule can't be meant. Said when the block is entered.
        ToolNotConfiguredError: The host is of an older release that can't narrow.
    """

    def __init__(self, *rules: str) -> None:
        for rule in rules:
            if not isinstance(rule, str):
                raise InvalidToolRequestError(
                    f"a rule is text such as 'read_file(./data/**)', not {type(rule).__name__}"
                )
            if not 0 < len(rule) <= MAX_RULE_CHARACTERS:
                raise InvalidToolRequestError(f"a rule has 1 to {MAX_RULE_CHARACTERS} characters, this one {len(rule)}")
        if len(rules) > MAX_NARROWING_RULES:
            raise InvalidToolRequestError(
                f"a block is narrowed by at most {MAX_NARROWING_RULES} rules, not {len(rules)}; use wider ones"
            )
        self.rules = rules
        self._before: Levels = ()
        self._inside: Levels | None = None

    def __enter__(self) -> narrow:
        if self._inside is not None:
            raise RuntimeError("this narrowing is in use: make another with hermes.narrow(…)")
        before = ACTIVE.get()
        inside = (*before, self.rules)
        if len(inside) > MAX_NARROWING_LEVELS:
            raise InvalidToolRequestError(f"blocks are narrowed at most {MAX_NARROWING_LEVELS} deep")
        _check(self.rules)
        hand_on_to_threads()
        self._before, self._inside = before, inside
        ACTIVE.set(inside)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not by a token: a generator may be finished from another context, which then is left as it is.
        if ACTIVE.get() is self._inside:
            ACTIVE.set(self._before)
        self._inside = None

    def __repr__(self) -> str:
        return f"hermes.narrow({', '.join(map(repr, self.rules))})"


def _check(rules: tuple[str, ...]) -> None:
    """Have the bridge say whether rules can be meant, once for each."""
    remembered = current().known_narrowings
    if rules in remembered:
        return
    run(StatusOperation(STATUS_SECONDS, _nothing, narrow=(rules,)))
    if len(remembered) >= MAX_REMEMBERED:
        remembered.clear()
    remembered.add(rules)


def _nothing(_welcome: Welcome, _reply: StatusReply) -> None:
    return None
