"""The taint brake: which calls a session that has read untrusted content doesn't make without a person.

Text from a web page, or from a file that came from elsewhere, can hold instructions. What only looks may go on; what writes,
runs something or reaches the network asks, unless its rule says `allow_after_untrusted`. A tool that isn't in the table acts
as far as anybody here knows.
"""

from __future__ import annotations

from host_bridge.policy.model import Resource, TextResource

BRAKE = "taint:brake"
"""The rule id of an ask that the brake made of an `allow`."""

LOOKING_TOOLS = frozenset(("read_file", "list_files", "search_files"))
LOOKING_ACTIONS = {
    # Ending a process is looking, too: nobody has to ask before they stop something.
    "process": frozenset(("list", "poll", "log", "wait", "kill")),
}


def acts(tool: str, resource: Resource | None) -> bool:
    """Whether a tool does more than look: to one of its resources, or with a call that has none."""
    if tool in LOOKING_TOOLS:
        return False
    return not (isinstance(resource, TextResource) and resource.text in LOOKING_ACTIONS.get(tool, ()))
