"""What a person can type at a question, and what it means. Pure; whatever isn't exactly one of the choices is a no."""

from __future__ import annotations

import re

from host_bridge.control import Answer, Asked, Pattern
from host_bridge.policy.display import one_line
from host_bridge.policy.question_text import waiting_calls

BY_TERMINAL = "terminal"
LOOP_SECONDS = 600.0
"""For how long a yes to a loop holds that is typed at a terminal."""

_LOOP = re.compile(r"l(?:oop)? +([1-9][0-9]{0,3})(?: +(\S.*))?")
_WORDS = {
    "y": "y",
    "yes": "y",
    "once": "y",
    "a": "a",
    "all": "a",
    "r": "r",
    "run": "r",
    "b": "b",
    "notebook": "b",
    "w": "w",
    "always": "w",
    "s": "s",
    "stop": "s",
}


def choices(asked: Asked) -> str:
    """Give the choices there are, for the end of a question. The default is always no."""
    offered = ["[y] yes, once"]
    if asked.siblings:
        offered.append(f"[a] yes, once, to all {waiting_calls(asked)} shown")
    offered.append("[r] this very call for the whole run")
    if asked.suggested:
        offered.append(f"[l N] up to N calls of this run like {one_line(asked.suggested)}")
    if asked.notebook_digest:
        offered.append("[b] always in this notebook as it is")
    if asked.remedy:
        offered.append("[w] always: write a rule")
    offered.append("[s] no, and stop the run")
    return "\n".join(f"  {choice}" for choice in offered) + "\n  [N] no > "


def meaning(asked: Asked, typed: str) -> Answer:
    """Give the answer that a line means."""
    typed = typed.strip()
    if (loop := _LOOP.fullmatch(typed)) is not None:
        rule = loop[2] or asked.suggested
        if not rule:
            return _answer("no")
        return _answer("run", pattern=Pattern(rule=rule, calls=int(loop[1]), seconds=LOOP_SECONDS))
    match _WORDS.get(typed.lower()):
        case "y":
            return _answer("once")
        case "a" if asked.siblings:
            return _answer("once", covers=tuple(sibling.digest for sibling in asked.siblings))
        case "r":
            return _answer("run")
        case "b" if asked.notebook_digest:
            return _answer("notebook")
        case "w" if asked.remedy:
            return _answer("always")
        case "s":
            return _answer("stop")
        case _:
            return _answer("no")


def confirmation(answer: Answer) -> str:
    """Give what has to be said yes to once more, because the line typed doesn't show it whole; empty if nothing."""
    pattern = answer.pattern
    if pattern is None:
        return ""
    return (
        f"  up to {pattern.calls} calls, this one included, for {pattern.seconds:g} s, of\n"
        f"  | {one_line(pattern.rule)}\n  [y] yes   [N] no > "
    )


def is_confirmed(typed: str) -> bool:
    """Whether a line confirms."""
    return typed.strip().lower() in ("y", "yes")


def _answer(answer: str, covers: tuple[str, ...] = (), pattern: Pattern | None = None) -> Answer:
    return Answer(answer=answer, covers=covers, pattern=pattern, by=BY_TERMINAL)
