"""A tape's calls, for trying a policy on them: `host_bridge.policy.rehearsal`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from host_bridge.audit.recorded_calls import UnreadableCallError, recorded_resources
from host_bridge.policy.model import Resource
from host_bridge.policy.patterns import KINDS_BY_TOOL
from host_bridge.policy.rehearsal import PastCall
from host_bridge.tape.reader import Recorded, TapeReader

_PROCESS = "process"


def past_calls(tape: TapeReader) -> Iterator[PastCall]:
    """Give the calls of a tape that were made, not those that an earlier tape answered.

    Raises:
        TapeError: It can't be read.
    """
    facts = tape.facts()
    workspace = _fact(facts, "workspace")
    untrusted = ""
    for call in tape.calls():
        row = call.row
        if row.origin == "live":
            resources, problem = _about(call, workspace)
            yield PastCall(
                principal=_fact(facts, "principal"),
                tool=row.tool,
                resources=resources,
                effect=row.effect,
                rule_id=row.rule_id,
                untrusted=untrusted,
                problem=problem,
                profile=_fact(facts, "profile"),
                workspace=workspace,
                place=f"{tape.path}:{row.seq}",
            )
        # Known from when it was given on, which a later call of the same moment may have been decided before: the stricter way.
        untrusted = untrusted or row.untrusted


def _about(call: Recorded, workspace: str) -> tuple[tuple[Resource, ...], str]:
    tool = call.row.tool
    if tool not in KINDS_BY_TOOL and tool != _PROCESS:
        return (), f"a tape doesn't say what calls of {tool} are about; an audit log does"
    if not workspace:
        return (), "the tape doesn't say in which workspace it was recorded"
    try:
        return recorded_resources(tool, msgspec.json.decode(call.row.canonical), workspace), ""
    except (UnreadableCallError, msgspec.DecodeError) as error:
        return (), str(error)


def _fact(facts: dict[str, Any], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""
