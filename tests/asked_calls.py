"""Calls that need a person's word, for tests of what is asked and of what a yes covers."""

from __future__ import annotations

import itertools
from typing import Any

from host_bridge.approvals.calls import AskedCall
from host_bridge.policy.model import CommandResource
from host_bridge.sessions import call_digest

_numbers = itertools.count(1)


def asked_call(command: str = "git push origin main", **fields: Any) -> AskedCall:
    """Give a call of `terminal` whose rule asks; each has an id of its own, and equal commands have equal digests."""
    shown = {"command": command}
    return AskedCall(
        **{
            "call_id": f"c{next(_numbers)}",
            "principal": "default",
            "tool": "terminal",
            "digest": call_digest("terminal", shown),
            "shown": shown,
            "resources": (CommandResource(tuple(command.split()), command, "/workspace"),),
            "rule_id": "user:rules.ask[0]",
            "cell_index": 2,
            "line": 3,
            **fields,
        }
    )
