"""A question to a person, as text. Nothing the kernel wrote can move the cursor, reorder a line, pass for one of the question's
own lines or push its end out of sight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from host_bridge.policy.display import collapsed, escaped, one_line

if TYPE_CHECKING:
    from host_bridge.control import Asked, Sibling

_MARK = "  | "  # before every line that somebody else wrote


def describe(asked: Asked) -> str:
    """Give the question, without the choices: every argument in full."""
    lines = [f"{one_line(asked.principal)} asks{_where(asked)}: may {one_line(asked.tool)} be called with"]
    lines += _arguments(asked.shown)
    if asked.targets:
        lines.append("  it would touch:")
        lines += [line for target in asked.targets for line in _shown_value(target)]
    for sibling in asked.siblings:
        lines.append(f"  {_more(sibling.waiting)} from the same place, with")
        lines += _arguments(_differing(asked, sibling))
    if asked.notebook:
        lines.append(f"  notebook: {one_line(asked.notebook)}")
    if asked.source_line:
        lines.append(f"  line {asked.line} of the cell:")
        lines += [_MARK + one_line(asked.source_line)]
    if asked.untrusted:
        lines.append(f"  this session has read untrusted content: {one_line(asked.untrusted)}")
    lines.append(f"  because: {one_line(asked.reason)}" if asked.reason else "  because a rule asks")
    if asked.problem:
        lines.append(f"  the answer before could not be used: {one_line(asked.problem)}")
    if asked.waiting > 1:
        lines.append(f"  {asked.waiting} calls exactly like this wait; a yes is for all of them")
    # Last, next to the choices: what stands far above may have scrolled away.
    lines.append(f"  tool: {one_line(asked.tool)}   rule: {one_line(asked.rule_id)}")
    return "\n".join(lines)


def waiting_calls(asked: Asked) -> int:
    """How many calls wait on a question, those with other arguments included."""
    return asked.waiting + sum(sibling.waiting for sibling in asked.siblings)


def _where(asked: Asked) -> str:
    return "" if asked.cell_index is None else f", cell {asked.cell_index}"


def _more(number: int) -> str:
    return "1 more call waits" if number == 1 else f"{number} more calls wait"


def _differing(asked: Asked, sibling: Sibling) -> dict[str, Any]:
    names = [*sibling.shown, *(name for name in asked.shown if name not in sibling.shown)]
    missing = "(not given)"
    return {
        name: sibling.shown.get(name, missing)
        for name in names
        if sibling.shown.get(name, missing) != asked.shown.get(name, missing)
    }


def _arguments(shown: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in shown.items():
        lines.append(f"  {one_line(name)}:")
        lines += _shown_value(value)
    return lines


def _shown_value(value: Any) -> list[str]:
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=repr)
    # By \n only: other line separators are escaped as the invisible characters they are.
    return [_MARK + escaped(line) for line in collapsed(value).split("\n")]
